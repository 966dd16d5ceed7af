"""DreamerV3: world model, actor and critic learned together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from gymnasium import spaces
from torch import Tensor

from mbrl_agents.algorithms.dreamer_v3.actor_critic import ActorCritic
from mbrl_agents.algorithms.dreamer_v3.learning import DreamerV3Phase, extras_of, extras_spec
from mbrl_agents.algorithms.dreamer_v3.model import DreamerV3Model
from mbrl_agents.algorithms.latent import LatentAlgorithm
from mbrl_agents.protocols import Carry


class DreamerV3(LatentAlgorithm):
    """Hafner et al. 2023 (arXiv:2301.04104), for vectors and images, Box and Discrete actions.

    Args:
        sections: "world_model", "actor_critic" and "training".
        observation_space, action_space: of the environment.
        seed: of weights, batches and latents.

    Raises:
        ValueError: for spaces the world model cannot read.
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
        model = DreamerV3Model(
            sections["world_model"], observation_space, action_space, generator=generator
        )
        self.world_model, self._model = model, model
        self.actor_critic = ActorCritic.fresh(
            sections["actor_critic"], model, discrete=model.actions.discrete, generator=generator
        )
        self.modules = {"world_model": model, "actor_critic": self.actor_critic}
        self.prior, self.value = self.actor_critic.actor, self.actor_critic.value
        self.extras = extras_spec(model)
        self.phases = [DreamerV3Phase(sections["training"], model, self.actor_critic, seed=seed)]

    def choose(self, features: Tensor, explore: bool, generator: torch.Generator | None) -> Tensor:
        with self._model.precision():
            found = self.actor_critic.actor(features)
        return found.mode if generator is None else found.sample(generator)

    def extras_of(self, carry: Carry) -> Mapping[str, Tensor]:
        return extras_of(carry)


__all__ = ["DreamerV3"]
