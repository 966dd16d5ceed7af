"""What an algorithm stores beside each recorded step, such as the latent state computed there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

KNOWN = "known"
"""Name under which `ExtrasStore.read` says where there is anything."""


class ExtrasStore:
    """Arrays beside recorded steps, by name.

    They stay in memory: training changes them everywhere all the time, and a checkpoint needs all
    of one moment.

    Args:
        spec: shape and dtype of a step's entries, by name.
        n_envs, size: steps are ``(env, index)``.
    """

    def __init__(
        self, spec: Mapping[str, tuple[tuple[int, ...], Any]], n_envs: int, size: int
    ) -> None:
        # calloc'ed: pages nobody wrote take no memory.
        self.arrays = {
            name: np.zeros((n_envs, size, *shape), dtype) for name, (shape, dtype) in spec.items()
        }
        if self.arrays:
            self.arrays[KNOWN] = np.zeros((n_envs, size), bool)

    def write(self, env: Any, index: Any, extras: Mapping[str, Tensor]) -> None:
        """Store entries with leading dimensions like ``env`` and ``index``."""
        for name, value in extras.items():
            self.arrays[name][env, index] = value.cpu().numpy()
        if extras:
            self.arrays[KNOWN][env, index] = True

    def forget(self, env: Any, index: Any) -> None:
        """Mark steps for which nothing was computed."""
        if self.arrays:
            self.arrays[KNOWN][env, index] = False

    def read(self, env: Any, index: Any) -> dict[str, Tensor]:
        """Entries by name, and `KNOWN`, true where there are any; empty without a spec."""
        return {name: torch.from_numpy(x[env, index]) for name, x in self.arrays.items()}

    def copy(
        self, env: Any, index: Any, other: ExtrasStore, other_lane: Any, other_index: Any
    ) -> None:
        """Store what another store of the same spec has for other steps."""
        for name, array in self.arrays.items():
            array[env, index] = other.arrays[name][other_lane, other_index]

    def tensors(self, used: int | None = None) -> dict[str, Tensor]:
        """The first ``used`` steps of every env (None: all), for a checkpoint."""
        return {name: torch.from_numpy(array[:, :used]) for name, array in self.arrays.items()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take back what `tensors` gave."""
        for name, value in tensors.items():
            self.arrays[name][:, : value.shape[1]] = value.numpy()


__all__ = ["KNOWN", "ExtrasStore"]
