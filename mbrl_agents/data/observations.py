"""Observations of an environment as the vectors and images that everything inside works with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from mbrl_agents.data.episode import Episode

PLAIN = "obs"
"""Key of an observation that is no Dict."""


class ObservationCodec:
    """One-hot vectors in place of Discrete observations; everything else stays as it is.

    Args:
        space: a Box, a Discrete, or a Dict of such.

    Attributes:
        space: what models are built for: each Discrete is a Box ``(n,)`` of 0 and 1.
    """

    def __init__(self, space: spaces.Space) -> None:
        entries = space.spaces if isinstance(space, spaces.Dict) else {PLAIN: space}
        self._discrete = {k: s for k, s in entries.items() if isinstance(s, spaces.Discrete)}
        self.space = space
        if self._discrete:
            shown = {key: _one_hot_space(entry) for key, entry in entries.items()}
            self.space = spaces.Dict(shown) if isinstance(space, spaces.Dict) else shown[PLAIN]

    def arrays(self, observations: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Arrays by key, numbers ``(...)`` of a Discrete as ``(..., n)`` float32.

        Raises:
            ValueError: for a number that the space does not have.
        """
        found = {key: np.asarray(value) for key, value in observations.items()}
        for key, space in self._discrete.items():
            if key in found:
                index = found[key].astype(np.int64) - int(space.start)
                if index.size and not 0 <= index.min() <= index.max() < space.n:
                    raise ValueError(
                        f"observation {key!r} holds numbers from {found[key].min()} to "
                        f"{found[key].max()}, but the environment shows {space}"
                    )
                found[key] = np.eye(int(space.n), dtype=np.float32)[index]
        return found

    def tensors(self, observations: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A batch of tensors by key, numbers ``(B,)`` of a Discrete as ``(B, n)`` float32."""
        found = dict(observations)
        for key, space in self._discrete.items():
            index = found[key].reshape(len(found[key])).long() - int(space.start)
            found[key] = torch.nn.functional.one_hot(index, int(space.n)).float()
        return found

    def episode(self, episode: Episode) -> Episode:
        """A recorded episode as models see it; one that was translated before stays as it is."""
        numbers = {
            key: episode.observations[key].reshape(len(episode) + 1)
            for key in self._discrete
            if key in episode.observations and episode.observations[key].size == len(episode) + 1
        }
        if not numbers:
            return episode
        return replace(episode, observations={**episode.observations, **self.arrays(numbers)})


def _one_hot_space(space: spaces.Space) -> spaces.Space:
    if isinstance(space, spaces.Discrete):
        return spaces.Box(0.0, 1.0, (int(space.n),), np.float32)
    return space


__all__ = ["ObservationCodec"]
