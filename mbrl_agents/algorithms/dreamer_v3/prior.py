"""ImaginedPrior: an actor and its critic, trained in imagination, as an action prior."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mbrl_agents.algorithms.dreamer_v3.actor import Actor, ActorConfig
from mbrl_agents.algorithms.dreamer_v3.critic import Critic
from mbrl_agents.protocols import Proposal, WorldModel


@dataclass(frozen=True)
class ImaginedPriorConfig:
    """Settings of `ImaginedPrior`.

    Attributes:
        units: width of the hidden layers of both networks.
        layers, value_layers: hidden layers of actor and critic.
        min_std, max_std: bounds on the std, in normalised action units.
        bins: of the critic's two-hot regression; odd.
        imitation_weight: of the negative log-likelihood (nats) of a demonstrator's labels beside
            the loss in imagination; 0 needs no labels.  Above 0 the actor stays where
            demonstrations are, and the model knows its way.
    """

    units: int = 256
    layers: int = 3
    value_layers: int = 3
    min_std: float = 0.1
    max_std: float = 1.0
    bins: int = 255
    imitation_weight: float = 0.0

    def __post_init__(self) -> None:
        if self.bins % 2 == 0:
            raise ValueError(f"bins must be odd, so that one of them is 0; got {self.bins}")
        if self.imitation_weight < 0:
            raise ValueError(f"imitation_weight must not be negative, got {self.imitation_weight}")
        # Checks the bounds on the std.
        _ = self.actor

    @property
    def actor(self) -> ActorConfig:
        """The actor's settings."""
        return ActorConfig(layers=self.layers, min_std=self.min_std, max_std=self.max_std)


class ImaginedPrior(nn.Module):
    """An actor and the critic it is trained with.

    The critic is kept because a search over short plans wants to know what follows them: rollouts
    carry its `value` where the objective reads one.

    Args:
        config: settings.
        feature_size, action_size: ``F`` and ``A``.
        discrete: whether actions are one-hot.
        generator: source of the initial weights, seeded with 0 when None.
    """

    def __init__(
        self,
        config: ImaginedPriorConfig,
        feature_size: int,
        action_size: int,
        *,
        discrete: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        generator = generator or torch.Generator().manual_seed(0)
        self.config, self.feature_size, self.action_size = config, feature_size, action_size
        self.actor = Actor(
            config.actor,
            feature_size,
            action_size,
            units=config.units,
            discrete=discrete,
            generator=generator,
        )
        self.critic = Critic(
            feature_size, config.units, config.value_layers, config.bins, generator=generator
        )

    def value(self, features: Tensor) -> Tensor:
        """``(...)`` the critic's estimate of the return from ``features`` ``(..., F)`` on."""
        return self.critic(features).mean

    def propose(self, model: WorldModel[Any], state: Any, horizon: int) -> Proposal:
        """The actor rolled through ``model``."""
        return self.actor.propose(model, state, horizon)


__all__ = ["ImaginedPrior", "ImaginedPriorConfig"]
