"""Symmetric logarithms and the two-hot regression that is built on them.

Hafner et al. 2023, *Mastering Diverse Domains through World Models* (arXiv:2301.04104),
equations 8 to 10.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

BINS = 255
ROWS = 256
"""Distributions that a CPU's cache keeps."""


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
        half = len(self.bins) // 2  # the bin in the middle is 0
        above = self.bins[half + 1 :]

        def mean(logits: Tensor) -> Tensor:
            probs = logits.softmax(-1)
            return ((probs[:, half + 1 :] - probs[:, :half].flip(-1)) * above).sum(-1)

        return _by_rows(mean, self._rows()).reshape(self.logits.shape[:-1])

    def loss(self, target: Tensor, *others: tuple[float, Tensor]) -> Tensor:
        """``(...)`` cross entropy to the two-hot weights of ``target`` ``(...)``.

        Only two bins weigh anything, so the cross entropy is read off there; the dense two-hot
        vector is never built.

        Args:
            others: weights and further targets whose cross entropy is added.
        """
        bins, indices, weights = self.bins, [], []
        for factor, values in ((1.0, target), *others):
            values = values.detach().float().clamp(bins[0], bins[-1]).contiguous()
            above = torch.searchsorted(bins, values, right=True).clamp(1, len(bins) - 1)
            low, high = bins[above - 1], bins[above]
            share = (values - low) / (high - low)
            indices += [above - 1, above]
            weights += [factor * (1.0 - share), factor * share]
        index = torch.stack(indices, -1).reshape(-1, len(indices))
        weight = torch.stack(weights, -1).reshape(-1, len(weights))
        loss: Tensor = _CrossEntropy.apply(self._rows(), index, weight)
        return loss.reshape(target.shape)

    def _rows(self) -> Tensor:
        return self.logits.reshape(-1, self.logits.shape[-1])


class _CrossEntropy(torch.autograd.Function):
    """``sum_k w_k (logsumexp(l) - l[i_k])`` of logits ``(N, n)``, i and w ``(N, K)``: ``(N,)``.

    Its gradient takes one pass over the logits, a few rows at a time on a CPU; what autograd makes
    of logsumexp and gather takes five.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, index: Tensor, weight: Tensor) -> Tensor:
        total = _by_rows(partial(torch.logsumexp, dim=-1), logits)
        ctx.save_for_backward(logits, index, weight, total)
        return weight.sum(-1) * total - (weight * logits.gather(-1, index)).sum(-1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        logits, index, weight, total = ctx.saved_tensors
        weight = weight * grad[:, None]
        whole = weight.sum(-1)
        out = torch.empty_like(logits)
        for part in _parts(logits):
            inner = torch.sub(logits[part], total[part, None], out=out[part])
            inner.exp_().mul_(whole[part, None]).scatter_add_(-1, index[part], -weight[part])
        return out, None, None


def _parts(logits: Tensor) -> list[slice]:
    """Rows ``(N, n)`` that a processor works on at once."""
    rows = ROWS if logits.device.type == "cpu" else len(logits)
    return [slice(begin, begin + rows) for begin in range(0, len(logits), max(1, rows))]


def _by_rows(function: Callable[[Tensor], Tensor], logits: Tensor) -> Tensor:
    """``function``, from ``(N, n)`` to ``(N,)``, in parts."""
    parts = _parts(logits)
    if len(parts) < 2:
        return function(logits)
    return torch.cat([function(logits[part]) for part in parts])


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
