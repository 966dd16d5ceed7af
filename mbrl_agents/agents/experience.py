"""What agents keep while they collect: episodes in the making, and where the environments are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from mbrl_agents.data.episode import Episode


@dataclass
class Collecting:
    """Where an agent that learns step by step stands in its environments.

    Attributes:
        model, action: the model's state and the normalised action ``(B, A)`` of the last step;
            None right after all environments were reset.
        reward: ``(B,)`` of the last step; 0 where an episode begins.
        starts: ``(B,)`` whether an episode begins.
    """

    model: dict[str, Tensor] | None
    action: Tensor | None
    reward: np.ndarray
    starts: np.ndarray

    @classmethod
    def afresh(cls, count: int) -> Collecting:
        """Right after ``count`` environments were reset."""
        return cls(None, None, np.zeros(count, np.float32), np.ones(count, bool))


class Recorder:
    """Collects steps of ``n`` environments and hands out each episode as it ends."""

    def __init__(self, n: int) -> None:
        self._steps: list[list[tuple[dict[str, np.ndarray], np.ndarray, float]]] = [
            [] for _ in range(n)
        ]

    def add(
        self,
        obs: Any,
        actions: np.ndarray,
        rewards: np.ndarray,
        dones: np.ndarray,
        infos: list[dict[str, Any]],
    ) -> list[Episode]:
        """Record one step; returns the episodes that it ended.

        Args:
            obs: what was seen before ``actions`` (an array or a dict of arrays, batch first).
            actions: executed, in the environment's range.
        """
        entries = _as_dict(obs)
        ended = []
        for i, steps in enumerate(self._steps):
            seen = {key: np.array(value[i]) for key, value in entries.items()}
            steps.append((seen, np.array(actions[i], dtype=np.float32), float(rewards[i])))
            if dones[i]:
                ended.append(_episode(steps, infos[i]))
                self._steps[i] = []
        return ended


def _as_dict(obs: Any) -> dict[str, np.ndarray]:
    return obs if isinstance(obs, dict) else {"obs": np.asarray(obs)}


def _episode(
    steps: list[tuple[dict[str, np.ndarray], np.ndarray, float]], info: dict[str, Any]
) -> Episode:
    last = _as_dict(info["terminal_observation"])
    observations = {
        key: np.stack([*(seen[key] for seen, _, _ in steps), np.asarray(last[key])]) for key in last
    }
    actions = np.stack([action for _, action, _ in steps])
    return Episode(
        observations=observations,
        actions=actions,
        labels=np.full_like(actions, np.nan),
        rewards=np.array([reward for _, _, reward in steps], dtype=np.float32),
        terminated=not info.get("TimeLimit.truncated", False),
        success=bool(info.get("is_success", False)),
        info={"source": "agent"},
    )
