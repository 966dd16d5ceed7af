"""A square that an action moves about a small image; the reward is how far to the right it is."""

from __future__ import annotations

import gymnasium
import numpy as np
from gymnasium import spaces

SIDE = 16


class ToyImages(gymnasium.Env):
    """Images ``(16, 16, 3)``, two continuous actions or four discrete ones.

    Args:
        discrete: whether actions are.
    """

    def __init__(self, discrete: bool = False) -> None:
        self.observation_space = spaces.Box(0, 255, (SIDE, SIDE, 3), np.uint8)
        self.action_space = spaces.Discrete(4) if discrete else spaces.Box(-1, 1, (2,), np.float32)
        self.discrete = discrete

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = self.np_random.uniform(4, 12, 2)
        return self._seen(), {}

    def step(self, action):
        if self.discrete:
            action = np.array([[1, 0], [-1, 0], [0, 1], [0, -1]][int(action)])
        self.place = np.clip(self.place + action, 1, SIDE - 2)
        return self._seen(), float(self.place[0]) / SIDE, False, False, {}

    def _seen(self):
        image = np.zeros((SIDE, SIDE, 3), np.uint8)
        x, y = self.place.astype(int)
        image[y - 1 : y + 2, x - 1 : x + 2] = (255, 200, 40)
        return image


gymnasium.register("ToyImages-v0", "toy_images:ToyImages", max_episode_steps=12)
