"""DreamerV1 as an algorithm: what it consists of and how it acts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from gymnasium import spaces
from torch import Tensor

from mbrl_agents.algorithms.dreamer_v1.actor import Actor
from mbrl_agents.algorithms.dreamer_v1.actor_critic import Critic
from mbrl_agents.algorithms.dreamer_v1.learning import DreamerV1Phase
from mbrl_agents.algorithms.dreamer_v1.model import DreamerV1Model
from mbrl_agents.algorithms.latent import LatentAlgorithm
from mbrl_agents.policies.rolling import propose_by_rolling
from mbrl_agents.protocols import Proposal, WorldModel


class ActorPrior:
    """The actor rolled through a model: where a planner's search may start.

    Its mean and std of continuous actions are those of the squashed Normal, see `Actor.moments`.

    Args:
        actor: not copied.
    """

    def __init__(self, actor: Actor) -> None:
        self.actor = actor

    def propose(self, model: WorldModel[Any], state: Any, horizon: int) -> Proposal:
        return propose_by_rolling(self.actor.moments, model, state, horizon)


class DreamerV1(LatentAlgorithm):
    """Hafner et al. 2020, "Dream to Control" (arXiv:1912.01603).

    Every training sequence begins from the zero state: nothing is stored beside recorded steps.

    Args:
        sections: "world_model" (`DreamerV1Config`), "actor_critic" (`ActorCriticConfig`) and
            "training" (`DreamerV1TrainingConfig`).
        observation_space: a Box or a Dict of vectors and uint8 images of 64 x 64 or 32 x 32.
        action_space: a Box or a Discrete.
        seed: of weights and training.

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
        config, training = sections["actor_critic"], sections["training"]
        generator = torch.Generator().manual_seed(seed)
        self.model = DreamerV1Model(
            sections["world_model"], observation_space, action_space, generator=generator
        )
        size = self.model.feature_size
        self.actor = Actor(
            config,
            size,
            self.model.action_size,
            discrete=self.model.actions.discrete,
            generator=generator,
        )
        self.critic = Critic(config, size, generator=generator)
        self.modules = {
            "world_model": self.model, "actor": self.actor, "critic": self.critic,
        }  # fmt: skip
        self.world_model = self.model
        self.prior = ActorPrior(self.actor)
        self.value = self.following_return
        self.phases = [
            DreamerV1Phase(self.model, self.actor, self.critic, config, training, seed=seed)
        ]

    def following_return(self, features: Tensor) -> Tensor:
        """``(...)`` discounted return after the states of ``features`` ``(..., F)``.

        The critic counts a state's own reward, which a planner's rollout has already; what
        follows is the rest, without the discount of one step that the critic's target gives it.
        """
        later = self.critic(features) - self.model.scaled_reward(features)
        # A discount near 0 means an end: the rest is then about 0 and must not be blown up.
        discounts = self.model.discounts(features).clamp_min(0.5 * self.model.config.discount)
        return later / discounts / self.model.config.reward_scale

    def choose(self, features: Tensor, explore: bool, generator: torch.Generator | None) -> Tensor:
        if explore and generator is not None:
            return self.actor.explore(features, generator)
        return self.actor.mode(features, generator)


__all__ = ["ActorPrior", "DreamerV1"]
