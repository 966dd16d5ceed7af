"""Dreamer-Lite put together: modules, acting, training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from gymnasium import spaces
from torch import Tensor

from mbrl_agents.algorithms.dreamer_lite.actor_critic import Actor, ActorPrior, Critic
from mbrl_agents.algorithms.dreamer_lite.learning import DreamerLitePhase
from mbrl_agents.algorithms.dreamer_lite.model import DreamerLiteModel
from mbrl_agents.algorithms.latent import LatentAlgorithm
from mbrl_agents.training.model_free import ModelFree


class DreamerLite(LatentAlgorithm):
    """A course's world model of perceptrons, with an actor-critic in imagination and on real data.

    Acting encodes the observation and asks the actor: a draw where a generator is given, the
    likeliest action without.  The replay agent never acts; the actor learns from its values.

    Args:
        sections: "world_model" a `DreamerLiteConfig`, "actor_critic" an `ActorCriticConfig`,
            "model_free" a `ModelFreeConfig` and "training" a `DreamerLiteTrainingConfig`.
        observation_space: a Box or a Dict of vectors.
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
        self.model = DreamerLiteModel(
            sections["world_model"], observation_space, action_space, generator=generator
        )
        latent, actions = self.model.feature_size, self.model.action_size
        discrete = self.model.actions.discrete
        self.actor = Actor(config, latent, actions, discrete=discrete, generator=generator)
        self.critic = Critic(config, latent, generator=generator)
        self.replay = ModelFree(
            sections["model_free"],
            self.model.observation_size,
            actions,
            discrete=discrete,
            generator=generator,
        )
        self.world_model = self.model
        self.modules = {
            "world_model": self.model,
            "actor": self.actor,
            "critic": self.critic,
            "replay": self.replay,
        }
        self.prior = ActorPrior(self.actor)
        # Learning from real data alone does not train it.
        self.value = self.critic if config.real_weight < 1 else None
        self.phases = (
            DreamerLitePhase(
                sections["training"],
                config,
                self.model,
                self.actor,
                self.critic,
                self.replay,
                seed=seed,
            ),
        )

    def choose(self, features: Tensor, explore: bool, generator: torch.Generator | None) -> Tensor:
        return self.actor.act(features, generator)


__all__ = ["DreamerLite"]
