"""Layers, normaliser and Gaussian head."""

from __future__ import annotations

import pytest
import torch

from mbrl_agents.nn import MLP, GaussianHead, Normaliser


def test_members_are_independent_and_batched():
    net = MLP(5, 2, (8,), members=3)
    x = torch.randn(4, 6, 5)
    out = net(x)
    assert out.shape == (3, 4, 6, 2)
    assert torch.allclose(out, net.each(x.expand(3, 4, 6, 5)), atol=1e-6)
    assert not torch.allclose(out[0], out[1])
    out[0].sum().backward()
    assert net.output.weight.grad[1:].abs().sum() == 0


@pytest.mark.parametrize("wrong", [{"activation": "swish"}, {"members": 0}])
def test_impossible_networks_are_refused(wrong):
    with pytest.raises(ValueError):  # noqa: PT011
        MLP(2, 2, (4,), **wrong)


def test_the_normaliser_floors_clips_and_inverts():
    data = torch.stack([torch.linspace(-1, 1, 50), torch.full((50,), 3.0)], 1)
    normaliser = Normaliser(2, floor=0.1, clip=2.0)
    normaliser.fit(data)
    assert normaliser.std[1].item() == pytest.approx(0.1)
    assert normaliser(torch.tensor([100.0, 3.01])).tolist() == pytest.approx([2.0, 0.1], abs=1e-4)
    inside = torch.tensor([[0.3, 3.0]])
    assert torch.allclose(normaliser.inverse(normaliser(inside)), inside)
    other = Normaliser(2)
    other.load_state_dict(normaliser.state_dict())
    assert torch.equal(other.std, normaliser.std)


@pytest.mark.parametrize("data", [torch.zeros(0, 2), torch.zeros(3), torch.full((3, 2), torch.nan)])
def test_the_normaliser_refuses_unusable_data(data):
    with pytest.raises(ValueError, match="data"):
        Normaliser(2).fit(data)


def test_the_gaussian_head_is_bounded():
    head = GaussianHead(min_std=0.1, max_std=0.7)
    wild = head(torch.tensor([[-100.0, 100.0, -100.0, 100.0]]))
    assert wild.mean.tolist() == [[-1.0, 1.0]]
    assert wild.stddev[0].tolist() == pytest.approx([0.1, 0.7])
    with pytest.raises(ValueError, match="min_std"):
        GaussianHead(min_std=0.5, max_std=0.5)


def test_a_rare_large_number_does_not_drown_the_others():
    data = torch.linspace(-0.02, 0.02, 1001)[:, None]
    data[0] = 10.0
    by_range, by_std = Normaliser(1, floor=1e-3), Normaliser(1, floor=1e-3)
    by_range.fit_range(data)
    by_std.fit(data)
    assert by_std.std.item() > 0.3
    assert by_range.std.item() == pytest.approx(0.018, abs=1e-4)
    sparse = torch.zeros(1001, 1)
    sparse[:3] = 1.0
    by_range.fit_range(sparse)
    by_std.fit(sparse)
    assert by_range.std.item() == by_std.std.item() > 0.05
