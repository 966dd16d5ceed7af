"""`toy_reach` as a suite of three tasks, which may be learned by one model as LIBERO's may."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np

from toy_reach import ToyReach


class ToyTasks(ToyReach):
    """Observation ``pose``: (14,), of task 2 (21,); padded to 21, and ``task`` (3,), as LIBERO's.

    Task k reaches for a goal at (1 + k) times the distance of the first.
    """

    task_names = ("near", "far", "farthest")

    def __init__(
        self,
        task: int | Sequence[int] | None = 0,
        obs: str = "pose",
        init: str = "random",
        one_hot_task: bool | None = None,
        disturbance: str | None = None,
        render_mode: str | None = None,
    ) -> None:
        several = not isinstance(task, int)
        self._choices = list(range(3)) if task is None else list(task) if several else [task]
        super().__init__(
            task=self._choices[0],
            obs=obs,
            init=init,
            disturbance=disturbance,
            render_mode=render_mode,
        )
        self._one_hot = several if one_hot_task is None else one_hot_task
        alike = several or one_hot_task is not None
        self._size = 21 if alike or task == 2 else 14
        box = gymnasium.spaces.Box(-np.inf, np.inf, (self._size,), np.float32)
        entries = {"pose": box}
        if self._one_hot:
            entries["task"] = gymnasium.spaces.Box(0.0, 1.0, (3,), np.float32)
        self.observation_space = gymnasium.spaces.Dict(entries)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        gymnasium.Env.reset(self, seed=seed)
        self.task_index = self._choices[int(self.np_random.integers(len(self._choices)))]
        return super().reset(options=options)

    def _observe(self) -> dict[str, np.ndarray]:
        seen = super()._observe()
        seen["pose"] = np.pad(seen["pose"], (0, self._size - 14))
        if self.task_index == 2:
            seen["pose"][-1] = 1.0
        if self._one_hot:
            seen["task"] = np.eye(3, dtype=np.float32)[self.task_index]
        return seen


gymnasium.register("ToyTasks-v0", entry_point=ToyTasks, max_episode_steps=40)
