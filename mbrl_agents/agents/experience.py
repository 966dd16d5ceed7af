"""Own experience: acting in environments, recorded into a sequence buffer and its folder."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.vec_env import VecEnv

from mbrl_agents.agents.policy import ActingState, AgentPolicy
from mbrl_agents.data.buffer import SequenceBuffer

FOLDER = "replay"


class Collector:
    """Acts in a number of environments and records every observation.

    Args:
        policy: chooses the actions.
        buffer: records them.
        n_envs: environments.
    """

    def __init__(self, policy: AgentPolicy, buffer: SequenceBuffer, n_envs: int) -> None:
        self.policy, self.buffer, self.n_envs = policy, buffer, n_envs
        self.begin()

    def begin(self) -> None:
        """All environments were reset."""
        self.state: ActingState | None = None
        self.action = np.zeros((self.n_envs, self.policy.codec.size), np.float32)
        self.reward = np.zeros(self.n_envs, np.float32)
        self.starts = np.ones(self.n_envs, bool)

    def step(
        self, env: VecEnv, last_obs: Any, generator: torch.Generator, *, random: bool
    ) -> tuple[Any, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """One step in every environment; what ``env.step`` gave.

        Args:
            last_obs: what the environments show.
            generator: of everything that is drawn.
            random: act at random instead of by the policy.
        """
        extras: dict[str, torch.Tensor] = {}
        if random:
            self.state = None
            action = self.policy.random(self.n_envs, generator).numpy()
        else:
            obs, _ = self.policy.to_tensors(last_obs)
            self.state = self.policy.step(
                obs, self.state, self.starts, explore=True, generator=generator
            )
            action = self.state.action.float().cpu().numpy()
            extras = dict(self.policy.algorithm.extras_of(self.state.carry))
        entries = self._entries(last_obs)
        for i in range(self.n_envs):
            self.buffer.own.add(
                i,
                {key: value[i] for key, value in entries.items()},
                self.action[i],
                float(self.reward[i]),
                is_first=bool(self.starts[i]),
                extras={key: value[i] for key, value in extras.items()},
            )
        new_obs, rewards, dones, infos = env.step(self.policy.codec.decode(action))
        for i in np.flatnonzero(dones).tolist():
            self.buffer.own.add(
                i,
                self._entries(infos[i]["terminal_observation"]),
                action[i],
                float(rewards[i]),
                is_first=False,
                is_last=True,
                # A time-out cuts an episode off, it does not end the task.
                terminal=not infos[i].get("TimeLimit.truncated", False),
                success=bool(infos[i].get("is_success", False)),
            )
        self.action = action
        self.reward = np.where(dones, 0.0, rewards).astype(np.float32)
        self.starts = dones.copy()
        return new_obs, rewards, dones, infos

    def _entries(self, obs: Any) -> dict[str, np.ndarray]:
        return self.buffer.observed.arrays(obs if isinstance(obs, dict) else {"obs": obs})


def experience_folder(run: Path, n_envs: int) -> Path:
    """Where the steps of ``n_envs`` environments lie in a run folder."""
    return run / (FOLDER if n_envs == 1 else f"{FOLDER}-{n_envs}")


def remove_experience(run: Path) -> None:
    """Remove the recorded steps of a run folder."""
    for folder in run.glob(f"{FOLDER}*"):
        if folder.is_dir():
            shutil.rmtree(folder)


__all__ = ["Collector", "experience_folder", "remove_experience"]
