"""The SB3 policy of every agent: an algorithm that acts itself, or a planner over its model."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from torch import Tensor

from mbrl_agents.agents.acting import Acting, ActingState, ValuedModel, select, select_plan
from mbrl_agents.data.actions import ActionCodec
from mbrl_agents.data.observations import ObservationCodec
from mbrl_agents.protocols import Algorithm, Objective, Observation, Planner


class AgentPolicy(Acting, BasePolicy):
    """An algorithm's modules, and how it acts.

    Inside, actions are normalised to [-1, 1], discrete ones are one-hot, and so are discrete
    observations.

    Args:
        observation_space: of the environment.
        action_space: a bounded Box, or a Discrete.
        algorithm: whose modules these are.
        planner, objective: to act by searching the algorithm's world model; None to let the
            algorithm act itself.
        explore_std: see `mbrl_agents.training.settings.TrainingSettings`.
        seed: of everything that is drawn while acting.

    Raises:
        ValueError: for other action spaces, or a planner without an objective.
    """

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        algorithm: Algorithm,
        planner: Planner | None = None,
        objective: Objective | None = None,
        *,
        explore_std: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__(observation_space, action_space, normalize_images=False)
        self.codec, self.observed = ActionCodec(action_space), ObservationCodec(observation_space)
        self.algorithm, self.explore_std, self.seed = algorithm, explore_std, seed
        for name, module in algorithm.modules.items():
            self.add_module(name, module)
        self.use(planner, objective)
        self.eval()

    # -- acting -------------------------------------------------------------------------

    def predict(
        self,
        observation: np.ndarray | dict[str, np.ndarray],
        state: Any = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, Any]:
        """Actions for a batch of observations, or for a single one.

        Args:
            observation: of one environment or a batch.
            state: what the previous call returned; None at the very start.
            episode_start: ``(B,)`` true where an episode begins.
            deterministic: act without drawing actions.

        Returns:
            Actions in the environment's range, and the state of the next call.

        Raises:
            ValueError: when ``state`` belongs to another number of environments.
        """
        obs, vectorised = self.to_tensors(observation)
        after = self.step(obs, state, episode_start, deterministic=deterministic)
        result = self.codec.decode(after.action.cpu().numpy())
        return (result if vectorised else result[0]), after

    def _noise(self, calls: Tensor) -> torch.Generator:
        words = np.random.SeedSequence([self.seed, int(calls.max())]).generate_state(1)
        return torch.Generator().manual_seed(int(words[0]))

    # -- SB3 ----------------------------------------------------------------------------

    def to_tensors(
        self, observation: np.ndarray | dict[str, np.ndarray]
    ) -> tuple[Observation, bool]:
        """An observation as a batch of tensors by key, and whether it was a batch."""
        tensors, vectorised = self.obs_to_tensor(observation)
        return self._by_key(tensors), vectorised

    def _by_key(self, tensors: Any) -> Observation:
        return self.observed.tensors(tensors if isinstance(tensors, dict) else {"obs": tensors})

    def _predict(self, observation: Any, deterministic: bool = False) -> Tensor:
        """One memoryless step (SB3's hook); `predict` is what carries state."""
        action = self.step(
            self._by_key(observation), None, None, deterministic=deterministic
        ).action
        return torch.as_tensor(self.codec.decode(action.cpu().numpy()), device=action.device)

    def forward(self, observation: Any, deterministic: bool = False) -> Tensor:
        return self._predict(observation, deterministic)

    def parameter_counts(self) -> dict[str, int]:
        """Trainable parameters by module."""
        return {
            name: count
            for name, module in self.algorithm.modules.items()
            if (count := sum(p.numel() for p in module.parameters() if p.requires_grad))
        }


__all__ = ["ActingState", "AgentPolicy", "ValuedModel", "select", "select_plan"]
