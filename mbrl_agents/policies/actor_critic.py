"""ActorPrior: an actor and its critic, trained in imagination, as an action prior."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Normal

from mbrl_agents.nn.normed import Linear, dense_stack
from mbrl_agents.nn.symlog import TwoHot
from mbrl_agents.policies.actor import Actor, ActorConfig
from mbrl_agents.protocols import WorldModel


class Critic(nn.Module):
    """The distribution of returns at a state, as two-hot logits; predicts 0 at first.

    Args:
        feature_size: ``F``.
        units, layers: of the hidden layers.
        bins: of the two-hot regression; odd.
        generator: source of the initial weights.
    """

    def __init__(
        self, feature_size: int, units: int, layers: int, bins: int, *, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.network = nn.Sequential(
            dense_stack(feature_size, units, layers, generator=generator),
            Linear(units, bins, scale=0.0, generator=generator),
        )

    def forward(self, features: Tensor) -> TwoHot:
        return TwoHot(self.network(features))


@dataclass(frozen=True)
class ActorPriorConfig:
    """Settings of `ActorPrior`.

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


class ActorPrior(nn.Module):
    """An actor for continuous actions and the critic it is trained with.

    The critic is kept because a search over short plans wants to know what follows them: a world
    model that takes one (``attach_value``) puts `value` into its rollouts where the objective
    reads it.

    Args:
        config: settings.
        feature_size, action_size: ``F`` and ``A``.
        generator: source of the initial weights, seeded with 0 when None.
    """

    imagines: ClassVar[bool] = True
    """Tells `training.fit_actor.fit_prior` to train it in imagination instead of by cloning."""

    def __init__(
        self,
        config: ActorPriorConfig,
        feature_size: int,
        action_size: int,
        *,
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
            discrete=False,
            generator=generator,
        )
        self.critic = Critic(
            feature_size, config.units, config.value_layers, config.bins, generator=generator
        )

    @property
    def needs_labels(self) -> bool:
        """Whether it can be trained on steps with a demonstrator's labels only."""
        return self.config.imitation_weight > 0

    def value(self, features: Tensor) -> Tensor:
        """``(...)`` the critic's estimate of the return from ``features`` ``(..., F)`` on."""
        return self.critic(features).mean

    def propose(self, model: WorldModel[Any], state: Any, horizon: int) -> Normal:
        """The actor rolled through ``model``: a Gaussian over plans ``(B, H, A)``."""
        return self.actor.propose(model, state, horizon)


__all__ = ["ActorPrior", "ActorPriorConfig", "Critic"]
