"""Latent states kept beside recorded steps, so that a sequence can go on from where it begins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor


class LatentStore:
    """The latent state last computed for each recorded step, so that a sequence can go on from it.

    Recurrent states lie in (-1, 1) and are kept in half precision, one-hot latents as class
    numbers: ``2 * deter + stoch + 1`` bytes per step, 1057 at size 1M, about a tenth of what a
    picture of 64 x 64 takes.  They stay in memory: training changes them everywhere all the time,
    and a checkpoint needs all of one moment.

    Args:
        lanes, size: steps are ``(lane, index)``.
        deter, stoch, classes: sizes of the model's state.
    """

    def __init__(self, lanes: int, size: int, deter: int, stoch: int, classes: int) -> None:
        # calloc'ed: pages nobody wrote take no memory.
        self.deter = np.zeros((lanes, size, deter), np.float16)
        self.stoch = np.zeros((lanes, size, stoch), np.uint8)
        self.known = np.zeros((lanes, size), bool)
        self.classes = classes

    def write(self, lane: Any, index: Any, state: Mapping[str, Tensor]) -> None:
        """Store states with leading dimensions like ``lane`` and ``index``."""
        self.deter[lane, index] = state["deter"].cpu().numpy()
        self.stoch[lane, index] = state["stoch"].argmax(-1).cpu().numpy()
        self.known[lane, index] = True

    def forget(self, lane: Any, index: Any) -> None:
        """Mark steps whose latents nobody computed."""
        self.known[lane, index] = False

    def read(self, lane: np.ndarray, index: np.ndarray) -> dict[str, Tensor]:
        """States ``(B, ...)``; zeros where there is none."""
        known = torch.from_numpy(self.known[lane, index])
        deter = torch.from_numpy(self.deter[lane, index]).float() * known[:, None]
        chosen = torch.from_numpy(self.stoch[lane, index]).long()
        stoch = torch.nn.functional.one_hot(chosen, self.classes).float() * known[:, None, None]
        return {"deter": deter, "stoch": stoch}

    def copy(
        self, lane: Any, index: Any, other: LatentStore, other_lane: Any, other_index: Any
    ) -> None:
        """Store what another store of the same sizes has for other steps."""
        for name in ("deter", "stoch", "known"):
            getattr(self, name)[lane, index] = getattr(other, name)[other_lane, other_index]

    def tensors(self, used: int | None = None) -> dict[str, Tensor]:
        """The first ``used`` steps of every lane (None: all), for a checkpoint."""
        return {
            name: torch.from_numpy(getattr(self, name)[:, :used])
            for name in ("deter", "stoch", "known")
        }

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take back what `tensors` gave."""
        for name, value in tensors.items():
            getattr(self, name)[:, : value.shape[1]] = value.numpy()


__all__ = ["LatentStore"]
