"""A point that must reach a goal: LIBERO's interface in a fraction of a millisecond a step.

Made with ``gym.make("toy_reach:ToyReach-v0")``, so that worker processes find it by its id.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np


class ToyReach(gymnasium.Env):
    """Observation ``pose`` (14,): point 3, zeros 4, goal 3, unit quaternion 4.  Action (7,).

    With ``disturbance="stuck"`` the point does not move.
    """

    suite = "toy"
    task_names = ("reach", "reach_far")
    n_init_states = 10
    knows_success = True
    assets_kind = "none"
    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}  # noqa: RUF012

    def __init__(
        self,
        task: int = 0,
        obs: str = "pose",
        reward: str = "dense",
        init: str = "random",
        assets: str = "auto",
        has_expert: bool = True,
        render_mode: str | None = None,
        disturbance: str | None = None,
    ) -> None:
        self._speed = 0.0 if disturbance == "stuck" else 0.05
        self.task_index, self.init, self.has_expert = task, init, has_expert
        self.render_mode = render_mode
        box = gymnasium.spaces.Box(-np.inf, np.inf, (14,), np.float32)
        self.observation_space = gymnasium.spaces.Dict({"pose": box})
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (7,), np.float32)
        self._point, self._goal = np.zeros(3), np.zeros(3)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        super().reset(seed=seed)
        number = (options or {}).get("init_state")
        rng = self.np_random if number is None else np.random.default_rng(number)
        self._point = rng.uniform(-0.2, 0.2, 3)
        self._goal = rng.uniform(-0.2, 0.2, 3) * (1 + self.task_index)
        return self._observe(), {"is_success": False, "init_state": number}

    def step(self, action):
        self._point = self._point + self._speed * np.clip(action[:3], -1, 1)
        distance = float(np.linalg.norm(self._goal - self._point))
        success = distance < 0.05
        return self._observe(), 1.0 - distance + success, success, False, {"is_success": success}

    def render(self):
        return np.full((32, 32, 3), 128, np.uint8)

    def expert_action(self) -> np.ndarray:
        if not self.has_expert:
            raise ValueError("no scripted demonstrator")
        action = np.zeros(7, np.float32)
        action[:3] = np.clip((self._goal - self._point) / 0.05, -1, 1)
        return action

    def _observe(self) -> dict[str, np.ndarray]:
        pose = np.zeros(14, np.float32)
        pose[:3], pose[7:10], pose[13] = self._point, self._goal, 1.0
        return {"pose": pose}


gymnasium.register("ToyReach-v0", entry_point=ToyReach, max_episode_steps=40)
