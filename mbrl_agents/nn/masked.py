"""Means over steps of which some do not count."""

from __future__ import annotations

from torch import Tensor

from mbrl_agents.nn.sharing import counted


def weighted_mean(values: Tensor, weight: Tensor) -> Tensor:
    """Scalar mean of ``values`` ``(...)`` by ``weight`` ``(...)`` in [0, 1].

    A total weight below 1 counts as 1: where nothing counts the mean is 0.  Of a batch that several
    processes share it is this one's part of the mean, see `mbrl_agents.nn.sharing.counted`.
    """
    return (values * weight).sum() / counted(weight)


__all__ = ["weighted_mean"]
