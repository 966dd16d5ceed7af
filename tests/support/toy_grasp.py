"""Grasp, carry, release: LIBERO's pose task in miniature, 0.05 ms a step, no contacts.

Made with ``gym.make("toy_grasp:ToyGrasp-v0")``, so that worker processes find it by its id.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np


class ToyGrasp(gymnasium.Env):
    """Observation ``pose`` (21,): hand 3, zeros 3, opening 1, then object and plate poses.

    The hand takes the object when it closes within 2.5 cm of it, lets go when it opens, and the
    task is done when the object lies free within 3 cm of the plate.
    """

    knows_success = True
    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012

    def __init__(self, sparse: bool = False, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        self.sparse = sparse
        box = gymnasium.spaces.Box(-np.inf, np.inf, (21,), np.float32)
        self.observation_space = gymnasium.spaces.Dict({"pose": box})
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (7,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        super().reset(seed=seed)
        rng = self.np_random
        self.hand = np.array([0.0, 0.0, 0.25]) + rng.uniform(-0.02, 0.02, 3)
        self.object = np.array([*rng.uniform(-0.15, 0.15, 2), 0.02])
        self.plate = np.array([*rng.uniform(-0.05, 0.05, 2) + [0.0, 0.25], 0.0])
        self.opening, self.held = 0.08, False
        return self._observe(), {"is_success": False}

    def step(self, action):
        move = 0.03 * np.clip(action[:3], -1, 1)
        self.hand = np.maximum(self.hand + move, [-1, -1, 0.02])
        self.opening = float(np.clip(self.opening - 0.02 * np.sign(action[6]), 0.0, 0.08))
        near = np.linalg.norm(self.hand - self.object) < 0.025
        if self.opening < 0.03 and (near or self.held):
            self.held, self.object = True, self.hand.copy()
        else:
            self.held = False
            self.object[2] = max(0.02, self.object[2] - 0.05)
        gap = float(np.linalg.norm((self.object - self.plate)[:2]))
        success = not self.held and gap < 0.03
        reward = 1 - np.linalg.norm(self.hand - self.object)
        if self.held:
            reward = 2 - np.linalg.norm(self.object - self.plate)
        reward = float(success) if self.sparse else float(reward + success)
        return self._observe(), reward, success, False, {"is_success": success}

    def expert_action(self) -> np.ndarray:
        action = np.zeros(7, np.float32)
        if self.held:
            above = self.plate + [0, 0, 0.1]
            far = np.linalg.norm((self.hand - self.plate)[:2]) > 0.02
            action[:3], action[6] = (above - self.hand) / 0.03, 1.0 if far else -1.0
        else:
            gap = self.object - self.hand
            far = np.linalg.norm(gap[:2]) > 0.015
            target = self.object + [0, 0, 0.08] if far else self.object
            action[:3] = (target - self.hand) / 0.03
            action[6] = 1.0 if np.linalg.norm(gap) < 0.015 else -1.0
        return np.clip(action, -1, 1)

    def _observe(self) -> dict[str, np.ndarray]:
        unit = [0.0, 0.0, 0.0, 1.0]
        robot = [*self.hand, 0.0, 0.0, 0.0, self.opening]
        pose = np.array([*robot, *self.object, *unit, *self.plate, *unit], np.float32)
        return {"pose": pose}


def demonstrations(count: int, seed: int = 0, noise: float = 0.3) -> list:
    """Episodes of the expert under noise, labelled with its corrections."""
    from mbrl_agents.data.episode import Episode

    rng = np.random.default_rng(seed)
    env = gymnasium.make("toy_grasp:ToyGrasp-v0")
    episodes = []
    for number in range(count):
        obs, _ = env.reset(seed=seed * 1000 + number)
        seen, actions, labels, rewards = [obs["pose"]], [], [], []
        done = truncated = False
        burst = 0
        while not (done or truncated):
            label = env.unwrapped.expert_action()
            action = np.clip(label + noise * rng.normal(size=7), -1, 1)
            if noise and rng.random() < 0.05:
                burst = 5
            if burst > 0:
                burst, action = burst - 1, rng.uniform(-1, 1, 7)
            else:
                action[6] = label[6]
            obs, reward, done, truncated, _ = env.step(action.astype(np.float32))
            seen.append(obs["pose"])
            actions.append(action)
            labels.append(label)
            rewards.append(reward)
        episodes.append(
            Episode(
                {"pose": np.stack(seen)},
                np.array(actions, np.float32),
                np.array(labels, np.float32),
                np.array(rewards, np.float32),
                bool(done),
                bool(done),
            )
        )
    env.close()
    return episodes


gymnasium.register("ToyGrasp-v0", entry_point=ToyGrasp, max_episode_steps=120)
