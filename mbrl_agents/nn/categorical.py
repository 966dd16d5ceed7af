"""Vectors of categorical variables with straight-through gradients."""

from __future__ import annotations

import torch
from torch import Tensor

from mbrl_agents.nn.sharing import mine, whole_shape

FEW_CLASSES = 8


def unimix_log_probs(logits: Tensor, unimix: float) -> Tensor:
    """Log-probabilities of ``(1 - u) softmax(logits) + u / n``, ``(..., n)`` in float32.

    One percent of a uniform distribution keeps every class possible, so that a KL divergence
    between two of them stays finite (arXiv:2301.04104, section "World model learning").
    """
    logits = logits.float()
    if not unimix:
        return logits.log_softmax(-1)
    probs = (1.0 - unimix) * _softmax(logits) + unimix / logits.shape[-1]
    return probs.log()


def _softmax(logits: Tensor) -> Tensor:
    """Softmax over the last dimension.

    On a CPU torch works through the last dimension row by row: with a handful of classes the same
    over the dimension before, where rows lie side by side, takes a ninth of the time.
    """
    if logits.shape[-1] > FEW_CLASSES or logits.ndim < 2 or logits.device.type != "cpu":
        return logits.softmax(-1)
    return logits.transpose(-1, -2).contiguous().softmax(-2).transpose(-1, -2).contiguous()


def gumbel(
    shape: tuple[int, ...] | torch.Size, generator: torch.Generator, device: torch.device | str
) -> Tensor:
    """Standard Gumbel noise: ``argmax(log p + noise)`` is a draw from ``p``."""
    draws = torch.rand(whole_shape(shape), generator=generator, device=generator.device)
    uniform = mine(draws).to(device)
    return -torch.log(-torch.log(uniform.clamp(1e-20, 1.0 - 1e-7)))


def one_hot_sample(log_probs: Tensor, noise: Tensor | None) -> Tensor:
    """A one-hot draw ``(..., n)`` whose gradient is that of the probabilities.

    Args:
        log_probs: ``(..., n)``, normalised.
        noise: Gumbel noise of the same shape; None takes the most likely class.

    The value is ``onehot + p - stop(p)`` (Bengio et al. 2013).
    """
    chosen = (log_probs if noise is None else log_probs + noise).argmax(-1)
    hard = torch.zeros_like(log_probs).scatter_(-1, chosen[..., None], 1.0)
    if not log_probs.requires_grad:
        return hard
    probs = log_probs.exp()
    return hard + (probs - probs.detach())


def kl_divergence(left: Tensor, right: Tensor) -> Tensor:
    """``KL(left || right)`` of log-probabilities ``(..., G, n)``, summed over the ``G``."""
    return (left.exp() * (left - right)).sum((-2, -1))


def entropy(log_probs: Tensor) -> Tensor:
    """Entropy in nats over the last dimension."""
    return -(log_probs.exp() * log_probs).sum(-1)


def latent_use(log_probs: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """How much of the categoricals a batch uses, by its average distribution.

    Args:
        log_probs: ``(..., G, n)``.
        weight: ``(...)`` non-negative, of each entry.

    Returns:
        The effective number of classes ``exp(entropy)`` in 1..n, averaged over the ``G``, and the
        share of the ``G`` that are alive: no class has 95 % of the average distribution.
    """
    share = (weight / weight.sum().clamp_min(1e-8)).flatten()
    mean = torch.einsum("b,bgn->gn", share, log_probs.flatten(0, -3).exp())
    effective = entropy(mean.clamp_min(1e-20).log()).exp()
    return effective.mean(), (mean.amax(-1) < 0.95).float().mean()


__all__ = ["entropy", "gumbel", "kl_divergence", "latent_use", "one_hot_sample", "unimix_log_probs"]
