"""A base for algorithms that act on a world model's filtered state."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mbrl_agents.protocols import ActionPrior, Carry, Observation, Phase, WorldModel


class LatentAlgorithm(ABC):
    """Acting carries the world model's state; `choose` turns its features into actions.

    A subclass sets the attributes (see `mbrl_agents.protocols.Algorithm`) in its constructor.
    """

    modules: Mapping[str, nn.Module]
    world_model: WorldModel[Any]
    prior: ActionPrior | None = None
    value: Callable[[Tensor], Tensor] | None = None
    extras: Mapping[str, tuple[tuple[int, ...], Any]] = {}
    phases: Sequence[Phase] = ()

    def initial(self, batch: int) -> Carry:
        return self.world_model.initial(batch)

    def act(
        self,
        carry: Carry,
        obs: Observation,
        prev_action: Tensor,
        is_first: Tensor,
        *,
        explore: bool = False,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Carry]:
        state = self.world_model.observe(carry, obs, prev_action, is_first, generator=generator)
        action = self.choose(self.world_model.features(state), explore, generator)
        # A model reads actions beyond the bounds as at the bounds, which is what is executed.
        return action.float().clamp(-1.0, 1.0), state

    @abstractmethod
    def choose(self, features: Tensor, explore: bool, generator: torch.Generator | None) -> Tensor:
        """Actions ``(B, A)`` at features ``(B, F)``; see `Algorithm.act`."""

    def extras_of(self, carry: Carry) -> Mapping[str, Tensor]:
        return {}


__all__ = ["LatentAlgorithm"]
