"""Means of what a training step reports, since they were last asked for."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


class RunningMeans:
    """Sums scalars by name; they are part of a checkpoint, so that a resumed log goes on."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.count = 0

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Take in one step's scalars."""
        for name, value in values.items():
            # Where the value is: taking it from a GPU would wait for all work given to it.
            self.sums[name] = self.sums.get(name, torch.zeros(())) + value.detach().float()
        self.count += 1

    def take(self) -> dict[str, float]:
        """The means since the last call, empty where there was no step."""
        means = {name: float(value) / self.count for name, value in self.sums.items()}
        self.sums, self.count = {}, 0
        return means

    def restore(self, sums: Mapping[str, Tensor], count: int) -> None:
        """Go on from ``sums`` and ``count`` of another one."""
        self.sums, self.count = dict(sums), count


__all__ = ["RunningMeans"]
