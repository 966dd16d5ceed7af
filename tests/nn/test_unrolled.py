"""A perceptron in a loop over time, and the products behind it."""

from __future__ import annotations

import pytest
import torch

from mbrl_agents.nn import MLP, EnsembleLinear, Unrolled


@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize("hidden", [(), (8,), (8, 40)])
@pytest.mark.parametrize("outputs", [1, 5, 23])
@pytest.mark.parametrize("norm", [False, True])
def test_a_loop_gives_what_the_perceptron_gives(members, hidden, outputs, norm):
    generator = torch.Generator().manual_seed(0)
    mlp = MLP(outputs + 3, outputs, hidden, members=members, norm=norm, generator=generator)
    known = torch.randn(6, 4, 3, generator=generator)
    start = torch.randn(6, outputs, generator=generator)

    def rolled(step):
        x, found = start, []
        for time in range(known.shape[1]):
            out = step(time, x)
            x = out.mean(0)
            found.append(out)
        return torch.stack(found)

    with torch.no_grad():
        expected = rolled(lambda t, x: mlp(torch.cat([x, known[:, t]], -1)))
        found = rolled(Unrolled(mlp, known))
    assert found.shape == (4, members, 6, outputs)
    assert torch.allclose(found, expected, atol=1e-5)
    assert len({x.data_ptr() for x in found}) == 4, "what is given out is not overwritten"
    recorded = rolled(Unrolled(mlp, known))
    recorded.sum().backward()
    assert torch.allclose(recorded, expected, atol=1e-5)
    assert all(p.grad is not None for p in mlp.parameters())


def test_half_precision_weights_give_single_precision():
    mlp = MLP(5, 3, (8,), members=2).to(torch.bfloat16)
    with torch.no_grad():
        out = Unrolled(mlp, torch.randn(4, 2, 2))(0, torch.randn(4, 3))
    assert out.dtype == torch.float32
    assert out.isfinite().all()


@pytest.mark.parametrize("outputs", [1, 7, 16, 23, 40])
def test_each_member_is_a_linear_layer(outputs):
    """However many columns a product is given for speed."""
    layer = EnsembleLinear(6, outputs, 3)
    with torch.no_grad():
        layer.bias.uniform_(-1, 1)
    x = torch.randn(3, 10, 6)
    out = layer(x)
    for member in range(3):
        expected = x[member] @ layer.weight[member].T + layer.bias[member]
        assert torch.allclose(out[member], expected, atol=1e-5)
    out.sum().backward()
    assert torch.allclose(layer.bias.grad, torch.full((3, 1, outputs), 10.0))


def test_many_rows_are_computed_in_parts_alike():
    mlp = MLP(4, 2, (1024,), members=3)
    x = torch.randn(500, 4)
    with torch.no_grad():
        in_parts = mlp(x)
    assert torch.allclose(in_parts, mlp(x), atol=1e-5)
    assert in_parts.shape == (3, 500, 2)
