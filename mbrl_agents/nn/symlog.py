"""Symmetric logarithms and the two-hot regression that is built on them.

Hafner et al. 2023, *Mastering Diverse Domains through World Models* (arXiv:2301.04104),
equations 8 to 10.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

BINS = 255


def symlog(x: Tensor) -> Tensor:
    """``sign(x) log(1 + |x|)``: compresses large values of either sign, identity near 0."""
    return torch.sign(x) * torch.log1p(x.abs())


def symexp(x: Tensor) -> Tensor:
    """The inverse of `symlog`."""
    return torch.sign(x) * torch.expm1(x.abs())


@lru_cache(maxsize=8)
def _bins(count: int, limit: float, device: torch.device) -> Tensor:
    # Kept for the life of the process: must not be an inference tensor, whoever asks first.
    with torch.inference_mode(False):
        half = symexp(torch.linspace(-limit, 0.0, count // 2 + 1))
        return torch.cat([half, -half[:-1].flip(0)]).to(device)


def symexp_bins(
    count: int = BINS, limit: float = 20.0, device: torch.device | str = "cpu"
) -> Tensor:
    """``(count,)`` bin centres: symexp of evenly spaced points, exactly symmetric about 0.

    Raises:
        ValueError: for an even number of bins, which has none at 0.
    """
    if count % 2 == 0:
        raise ValueError(f"need an odd number of bins, one of them at 0; got {count}")
    return _bins(count, float(limit), torch.device(device))


def two_hot(target: Tensor, bins: Tensor) -> Tensor:
    """Weights ``(..., n)`` on the two bins next to ``target`` ``(...)`` whose mean is the target.

    What lies outside the bins counts as the outermost one.
    """
    target = target.detach().clamp(bins[0], bins[-1]).contiguous()
    above = torch.searchsorted(bins, target, right=True).clamp(1, len(bins) - 1)
    low, high = bins[above - 1], bins[above]
    weight = ((target - low) / (high - low))[..., None]
    hot = torch.zeros(*target.shape, len(bins), device=target.device)
    hot.scatter_(-1, above[..., None] - 1, 1.0 - weight)
    return hot.scatter_(-1, above[..., None], weight)


class TwoHot:
    """A categorical over fixed values, fitted to numbers by their two-hot weights.

    The size of a target moves its neighbours' probabilities, never the gradient's scale.

    Args:
        logits: ``(..., n)`` with ``n`` odd.
    """

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits.float()
        self.bins = symexp_bins(logits.shape[-1], device=logits.device)

    @property
    def mean(self) -> Tensor:
        """``(...)`` expected value.

        Probabilities of bins of opposite sign are subtracted from each other first: uniform ones
        then give exactly 0, which a plain sum over values up to 5e8 does not.
        """
        probs = self.logits.softmax(-1)
        half = probs.shape[-1] // 2  # the bin in the middle is 0
        odd = probs[..., half + 1 :] - probs[..., :half].flip(-1)
        return (odd * self.bins[half + 1 :]).sum(-1)

    def loss(self, target: Tensor) -> Tensor:
        """``(...)`` cross entropy to the two-hot weights of ``target`` ``(...)``.

        Only two bins weigh anything, so the cross entropy is read off there; the dense two-hot
        vector is never built.
        """
        bins = self.bins
        target = target.detach().float().clamp(bins[0], bins[-1]).contiguous()
        above = torch.searchsorted(bins, target, right=True).clamp(1, len(bins) - 1)
        low, high = bins[above - 1], bins[above]
        weight = (target - low) / (high - low)
        index = torch.stack([above - 1, above], -1)
        picked = self.logits.gather(-1, index)
        chosen = picked[..., 0] * (1.0 - weight) + picked[..., 1] * weight
        return self.logits.logsumexp(-1) - chosen


def symlog_mse(prediction: Tensor, target: Tensor) -> Tensor:
    """``(..., D)`` squared error in symlog space, summed over ``D``."""
    return F.mse_loss(prediction.float(), symlog(target.float()), reduction="none").sum(-1)


__all__ = [
    "BINS",
    "TwoHot",
    "symexp",
    "symexp_bins",
    "symlog",
    "symlog_mse",
    "two_hot",
]
