"""What every model-based SB3 policy shares: acting with a carried state, and action ranges."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from torch import Tensor, nn


class ActingPolicy(BasePolicy):
    """An SB3 policy whose ``predict`` carries a state of its own.

    Inside, actions are normalised to [-1, 1], discrete ones are one-hot.  A subclass has a
    ``world_model`` and a `step`.

    Args:
        observation_space: of the environment.
        action_space: a bounded Box, or a Discrete.
        seed: of everything that is drawn while acting.

    Raises:
        ValueError: for other action spaces.
    """

    world_model: Any
    kinds: tuple[type[spaces.Space], ...] = (spaces.Box,)

    def __init__(
        self, observation_space: spaces.Space, action_space: spaces.Space, *, seed: int
    ) -> None:
        super().__init__(observation_space, action_space, normalize_images=False)
        bounded = not isinstance(action_space, spaces.Box) or action_space.is_bounded()
        if not isinstance(action_space, self.kinds) or not bounded:
            names = " or a ".join(kind.__name__ for kind in self.kinds)
            raise ValueError(f"need a bounded {names} of actions, got {action_space}")
        self.seed = seed

    def step(
        self, obs: dict[str, Tensor], state: Any, episode_start: Any, deterministic: bool
    ) -> tuple[Tensor, Any]:
        """Normalised actions ``(B, A)`` and the next state."""
        raise NotImplementedError

    def modules_by_name(self) -> dict[str, nn.Module | None]:
        """The trained components by name."""
        raise NotImplementedError

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
            deterministic: act without exploring.

        Returns:
            Actions in the environment's range, and the state of the next call.

        Raises:
            ValueError: when ``state`` belongs to another number of environments.
        """
        obs, vectorised = self.to_tensors(observation)
        with torch.inference_mode():
            actions, after = self.step(obs, state, episode_start, deterministic)
        result = self.to_env(actions)
        return (result if vectorised else result[0]), after

    def to_tensors(
        self, observation: np.ndarray | dict[str, np.ndarray]
    ) -> tuple[dict[str, Tensor], bool]:
        """An observation as a batch of tensors by key, and whether it was a batch."""
        tensors, vectorised = self.obs_to_tensor(observation)
        return (tensors if isinstance(tensors, dict) else {"obs": tensors}), vectorised

    def to_env(self, actions: Tensor) -> np.ndarray:
        """Normalised actions ``(B, A)`` in the environment's range and type."""
        space = self.action_space
        if isinstance(space, spaces.Discrete):
            return actions.argmax(-1).cpu().numpy() + space.start
        assert isinstance(space, spaces.Box)
        low, high = torch.as_tensor(space.low), torch.as_tensor(space.high)
        scaled = low + 0.5 * (actions.cpu() + 1.0) * (high - low)
        return np.clip(scaled.numpy(), space.low, space.high).astype(space.dtype)

    def from_env(self, actions: np.ndarray) -> np.ndarray:
        """Recorded actions ``(N, ...)``, normalised or one-hot, ``(N, A)``; inverse of `to_env`."""
        space = self.action_space
        if isinstance(space, spaces.Discrete):
            chosen = actions.reshape(len(actions)).astype(int) - int(space.start)
            return np.eye(int(space.n), dtype=np.float32)[chosen]
        assert isinstance(space, spaces.Box)
        scaled = 2.0 * (actions - space.low) / (space.high - space.low) - 1.0
        return np.clip(scaled, -1.0, 1.0).astype(np.float32)

    def begin(
        self, obs: dict[str, Tensor], action: Tensor | None, episode_start: Any
    ) -> tuple[Tensor, Tensor]:
        """The previous action ``(B, A)`` and ``is_first`` ``(B,)`` of a step.

        Args:
            obs: the present observations.
            action: the previous action, None at the very start.
            episode_start: as `predict` takes it.
        """
        batch, device = len(next(iter(obs.values()))), self.device
        if action is None:
            nothing = torch.zeros(batch, self.world_model.action_size, device=device)
            return nothing, torch.ones(batch, dtype=torch.bool, device=device)
        if len(action) != batch:
            raise ValueError(
                f"the state belongs to {len(action)} environments, the observation to {batch}"
            )
        starts = np.zeros(batch, bool) if episode_start is None else episode_start
        return action, torch.as_tensor(np.asarray(starts, dtype=bool), device=device)

    def noise(self, calls: Tensor) -> torch.Generator:
        """The generator of a step, fixed by the seed and by how often the state was advanced."""
        words = np.random.SeedSequence([self.seed, int(calls.max())]).generate_state(1)
        return torch.Generator().manual_seed(int(words[0]))

    def _predict(self, observation: Any, deterministic: bool = False) -> Tensor:
        """One memoryless step (SB3's hook); `predict` is what carries state."""
        obs = observation if isinstance(observation, dict) else {"obs": observation}
        action, _ = self.step(obs, None, None, deterministic)
        return torch.as_tensor(self.to_env(action), device=action.device)

    def forward(self, observation: Any, deterministic: bool = False) -> Tensor:
        return self._predict(observation, deterministic)

    def parameter_counts(self) -> dict[str, int]:
        """Trainable parameters by component."""
        return {
            name: sum(p.numel() for p in part.parameters() if p.requires_grad)
            for name, part in self.modules_by_name().items()
            if part is not None
        }
