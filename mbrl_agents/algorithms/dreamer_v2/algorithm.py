"""DreamerV2 put together: modules, acting, training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from gymnasium import spaces
from torch import Tensor

from mbrl_agents.algorithms.dreamer_v2.actor import Actor, ActorPrior
from mbrl_agents.algorithms.dreamer_v2.actor_critic import Critic
from mbrl_agents.algorithms.dreamer_v2.learning import DreamerV2Phase
from mbrl_agents.algorithms.dreamer_v2.model import DreamerV2Model
from mbrl_agents.algorithms.latent import LatentAlgorithm


class DreamerV2(LatentAlgorithm):
    """Hafner et al. 2021, *Mastering Atari with Discrete World Models* (arXiv:2010.02193).

    Acting filters the observation into the world model's state and asks the actor: a draw where a
    generator is given, its mode without.  Experience is gathered with such draws alone, without
    noise of its own.  Training begins every sequence from the zero state, so nothing is stored
    beside the recorded steps.

    Args:
        sections: "world_model" a `DreamerV2Config`, "actor_critic" an `ActorCriticConfig` and
            "training" a `DreamerV2TrainingConfig`.
        observation_space: a Box or a Dict of vectors and uint8 images of 64 or 32 pixels.
        action_space: a Box or a Discrete.
        seed: of the initial weights, of batches and of what is drawn in training.

    Raises:
        ValueError: for spaces it cannot read.
    """

    def __init__(
        self,
        sections: Mapping[str, Any],
        observation_space: spaces.Space,
        action_space: spaces.Space,
        *,
        seed: int,
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        config = sections["actor_critic"]
        self.model = DreamerV2Model(
            sections["world_model"], observation_space, action_space, generator=generator
        )
        self.actor = Actor(
            config,
            self.model.feature_size,
            self.model.action_size,
            discrete=self.model.actions.discrete,
            generator=generator,
        )
        self.critic = Critic(config, self.model.feature_size, generator=generator)
        self.world_model = self.model
        self.modules = {"world_model": self.model, "actor": self.actor, "critic": self.critic}
        self.prior = ActorPrior(self.actor)
        self.value = self.value_of
        self.phases = (
            DreamerV2Phase(
                sections["training"], config, self.model, self.actor, self.critic, seed=seed
            ),
        )

    def choose(self, features: Tensor, explore: bool, generator: torch.Generator | None) -> Tensor:
        policy = self.actor(features)
        return policy.mode if generator is None else policy.sample(generator)

    def value_of(self, features: Tensor) -> Tensor:
        """``(...)`` expected return after ``features`` ``(..., F)``, of rewards still to come.

        The critic's return begins with the reward on arrival, which a planner has counted
        already, and discounts the rest.
        """
        rest = self.critic(features) - self.model.rewards(features)
        return rest / self.model.config.discount


__all__ = ["DreamerV2"]
