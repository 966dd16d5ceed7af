"""MBPO put together: modules, acting, training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from gymnasium import spaces
from torch import Tensor

from mbrl_agents.algorithms.latent import LatentAlgorithm
from mbrl_agents.algorithms.mbpo.learning import ModelPhase, PolicyPhase, RolloutPhase
from mbrl_agents.algorithms.mbpo.model import MBPOModel
from mbrl_agents.policies.rolling import propose_by_rolling
from mbrl_agents.protocols import Phase, Proposal, WorldModel
from mbrl_agents.training.model_free import ModelFree


class MBPO(LatentAlgorithm):
    """Janner et al. 2019, *When to Trust Your Model* (arXiv:1906.08253).

    It acts by the model-free learner: Stable-Baselines3's SAC for a Box, its DQN for a Discrete.
    The world model serves its training, and planners.

    Args:
        sections: "world_model" an `MBPOModelConfig`, "model_free" a `ModelFreeConfig` and
            "training" an `MBPOTrainingConfig`.
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
        config = sections["training"]
        self.model = MBPOModel(
            sections["world_model"], observation_space, action_space, generator=generator
        )
        self.learner = ModelFree(
            sections["model_free"],
            self.model.feature_size,
            self.model.action_size,
            discrete=self.model.actions.discrete,
            generator=generator,
        )
        self.world_model = self.model
        self.modules = {"world_model": self.model, "learner": self.learner}
        self.prior = LearnedPrior(self.learner)
        self.value = self.learner.values
        rollouts, phases = None, list[Phase]()
        if config.real_ratio < 1:
            rollouts = RolloutPhase(config, self.model, self.learner, seed=seed)
            phases = [ModelPhase(config, self.model, seed=seed), rollouts]
        self.phases = [*phases, PolicyPhase(config, self.model, self.learner, rollouts, seed=seed)]

    def choose(self, features: Tensor, explore: bool, generator: torch.Generator | None) -> Tensor:
        return self.learner.act(features, explore=explore, generator=generator)


class LearnedPrior:
    """The model-free policy as the place where a planner's search starts.

    Args:
        learner: trained by somebody else.
    """

    def __init__(self, learner: ModelFree) -> None:
        self.learner = learner

    def propose(self, model: WorldModel[Any], state: Any, horizon: int) -> Proposal:
        """The policy rolled through ``model``; see `mbrl_agents.protocols.ActionPrior`."""
        return propose_by_rolling(self.learner.proposed, model, state, horizon)


__all__ = ["MBPO", "LearnedPrior"]
