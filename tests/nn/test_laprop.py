"""The optimiser's steps, worked out by hand."""

from __future__ import annotations

import copy

import pytest
import torch

from mbrl_agents.nn.laprop import LaProp
from mbrl_agents.training.checkpoints import (
    load_tensors,
    pack_optimizer,
    save_tensors,
    unpack_optimizer,
)


def steps(weight, grads, **settings):
    parameter = torch.nn.Parameter(torch.tensor(weight))
    optimizer = LaProp([parameter], **settings)
    found = []
    for grad in grads:
        parameter.grad = torch.tensor(grad)
        optimizer.step()
        found.append(parameter.detach().clone())
    return found


def test_three_steps_by_hand():
    # Weight norm 5, so gradients up to norm 1.5 pass.  Step 1: RMS 1, momentum corrected to 1:
    # the step is the learning rate.  Step 2, gradient 0.5 after 1: corrected mean square
    # (0.000999 * 1 + 0.001 * 0.25) / 0.001999 = 0.624812, normalised 0.5 / 0.790450 = 0.632551;
    # momentum (0.09 + 0.0632551) / 0.19 = 0.806606.  Step 3, gradient -1: mean square
    # (0.000998001 + 0.00024975 + 0.001) / 0.002997001 = 0.750000, normalised -1.154700;
    # momentum (0.9 * 0.1532551 - 0.1154700) / 0.271 = 0.082877.
    found = steps([5.0], [[1.0], [0.5], [-1.0]], lr=0.1)
    expected = [4.9, 4.9 - 0.0806606, 4.9 - 0.0806606 - 0.0082877]
    for got, want in zip(found, expected, strict=True):
        assert got.item() == pytest.approx(want, abs=1e-5)


def test_clipping_is_by_each_weights_own_norm():
    # Norm 5 allows 1.5; a gradient of norm 10 counts as (0.9, 1.2), then as (0.9, 1.2) again
    # after one of (0.3, 0.4), which passes: mean squares tell the two apart.
    got = steps([3.0, 4.0], [[0.3, 0.4], [6.0, 8.0]], lr=0.0, betas=(0.0, 0.999))
    assert torch.equal(got[1], torch.tensor([3.0, 4.0]))
    big = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
    small = torch.nn.Parameter(torch.zeros(2))
    optimizer = LaProp([big, small], lr=1e-6)
    big.grad, small.grad = torch.tensor([6.0, 8.0]), torch.tensor([6.0, 8.0])
    optimizer.step()
    expected = 0.001 * torch.tensor([0.9, 1.2]) ** 2
    assert torch.allclose(optimizer.state[big]["square"], expected)
    # A weight at zero counts with norm 1e-3, so its gradient with norm 3e-4.
    expected = 0.001 * torch.tensor([1.8e-4, 2.4e-4]) ** 2
    assert torch.allclose(optimizer.state[small]["square"], expected)
    assert torch.equal(big.grad, torch.tensor([6.0, 8.0]))
    # Whatever its size, the first gradient moves each entry by the learning rate.
    assert torch.allclose(small.detach(), torch.full((2,), -1e-6))


def test_tiny_gradients_are_not_drowned_by_epsilon():
    got = steps([1.0], [[1e-15]], lr=0.1)
    assert got[0].item() == pytest.approx(0.9, abs=1e-3)
    assert steps([1.0], [[0.0]], lr=0.1)[0].item() == 1.0


def test_warm_up_starts_at_zero():
    found = steps([1.0], [[1.0]] * 6, lr=0.1, warmup=4, agc=0.0)
    moved = [1.0 - float(x) for x in found]
    assert moved[0] == 0
    sizes = [b - a for a, b in zip([0.0, *moved[:-1]], moved, strict=True)]
    assert sizes == pytest.approx([0.0, 0.025, 0.05, 0.075, 0.1, 0.1], abs=1e-4)


def test_it_resumes_exactly(tmp_path):
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 1))
    data = torch.randn(8, 3)

    def train(module, optimizer, count):
        for _ in range(count):
            optimizer.zero_grad()
            module(data).square().mean().backward()
            optimizer.step()

    optimizer = LaProp(net.parameters(), 1e-2, warmup=3)
    train(net, optimizer, 4)
    other = copy.deepcopy(net)
    resumed = LaProp(other.parameters(), 1e-2, warmup=3)
    save_tensors(tmp_path / "state", *pack_optimizer(optimizer))
    unpack_optimizer(resumed, *load_tensors(tmp_path / "state"))
    train(net, optimizer, 5)
    train(other, resumed, 5)
    for a, b in zip(net.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)


def test_nonsense_is_refused():
    parameter = [torch.nn.Parameter(torch.zeros(1))]
    with pytest.raises(ValueError, match="negative"):
        LaProp(parameter, -1.0)
    with pytest.raises(ValueError, match="betas"):
        LaProp(parameter, betas=(0.9, 1.0))
