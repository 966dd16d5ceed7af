"""Cross entropies and means of two-hot regression, and their gradients, against plain torch."""

from __future__ import annotations

import pytest
import torch

from mbrl_agents.nn.symlog import TwoHot, symexp_bins, two_hot


def plain(logits, target):
    return -(two_hot(target, symexp_bins()) * logits.log_softmax(-1)).sum(-1)


@pytest.mark.parametrize("shape", [(3,), (2, 5), (700,)])
def test_loss_and_gradient_are_those_of_the_dense_cross_entropy(shape):
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(*shape, 255, generator=draw, requires_grad=True)
    target, other = (50 * torch.randn(shape, generator=draw) for _ in range(2))
    other.flatten()[0] = 1e12  # beyond the bins
    weight = torch.rand(shape, generator=draw)
    expected = plain(logits, target) + 0.7 * plain(logits, other)
    (weight * expected).sum().backward()
    gradient, logits.grad = logits.grad, None
    found = TwoHot(logits).loss(target, (0.7, other))
    assert found.shape == shape
    (weight * found).sum().backward()
    assert torch.allclose(found, expected, rtol=1e-5, atol=1e-4)
    assert torch.allclose(logits.grad, gradient, atol=1e-6)


def test_the_mean_of_many_is_that_of_each():
    logits = torch.randn(4, 200, 255, generator=torch.Generator().manual_seed(0))
    logits.requires_grad_()
    mean = TwoHot(logits).mean
    assert mean.shape == (4, 200)
    probs = logits.softmax(-1).double()
    expected = (probs * symexp_bins().double()).sum(-1)
    assert torch.allclose(mean.double(), expected, rtol=1e-3, atol=1.0)
    mean.sum().backward()
    assert logits.grad.isfinite().all()
    assert TwoHot(torch.zeros(700, 255)).mean.abs().max() == 0.0
