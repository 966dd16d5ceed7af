"""Means over steps of which some do not count."""

from __future__ import annotations

from torch import Tensor


def weighted_mean(values: Tensor, weight: Tensor) -> Tensor:
    """Scalar mean of ``values`` ``(...)`` by ``weight`` ``(...)`` in [0, 1].

    A total weight below 1 counts as 1: where nothing counts the mean is 0.
    """
    return (values * weight).sum() / weight.sum().clamp_min(1.0)


__all__ = ["weighted_mean"]
