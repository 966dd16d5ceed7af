"""Reach: move a point to a target in the plane, seen from above.

The plane is the square [-1, 1] x [-1, 1].  Point and target are drawn uniformly from the square
[-0.9, 0.9] x [-0.9, 0.9], again and again until they lie at least 0.5 apart.  An action moves the
point by 0.15 times its two numbers, to the right and up; the edge stops it.  The target stays.

The episode ends with success when the point has been within 0.2 of the target after each of five
steps in a row, and is cut off after 40 steps.  The reward of a step is 5 times the distance that
the point came nearer to the target (negative where it moved away), and 5 more on success.  So a
return is 5 times the way made good, 2.5 to 13, and 5: rewards add up to nothing on a way there and
back, and waiting pays nothing.

A random policy succeeds in about one episode of forty.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from numpy.typing import NDArray

from .image_task import BACKGROUND, ImageTask

STEP = 0.15
"""Distance that an action of 1 moves the point."""

NEAR, HOLD = 0.2, 5
"""Success is `HOLD` steps in a row that end within `NEAR` of the target."""

STEPS = 40
"""After so many steps an episode is cut off."""

START, APART = 0.9, 0.5
"""Largest coordinate of point and target at a reset, and their least distance."""

PER_DISTANCE, ON_SUCCESS = 5.0, 5.0
"""Rewards."""

SHOWN = 0.9
"""Share of the image's side that the plane takes; the rest is its edge."""

POINT = 0.15
"""Radius of the disc that is drawn for the point; the target's is `NEAR`."""

POINT_COLOUR, TARGET_COLOUR = (255, 90, 60), (60, 200, 90)


class Reach(ImageTask):
    """Actions are a Box ``(2,)`` in [-1, 1]; ``info["is_success"]`` is always there.

    Points are drawn as discs with smooth edges: where they are shows in fractions of a pixel.

    Args:
        size, blank, render_mode: see `ImageTask`.
    """

    knows_success = True

    def __init__(
        self, size: int = 64, *, blank: bool = False, render_mode: str | None = None
    ) -> None:
        super().__init__(size, blank=blank, render_mode=render_mode)
        self.action_space: spaces.Box = spaces.Box(-1.0, 1.0, (2,), np.float32)
        self._centres = np.arange(size, dtype=np.float32) + 0.5
        self._empty = np.empty((size, size, 3), np.float32)
        self._empty[:] = BACKGROUND
        self._point = self._target = np.zeros(2)
        self._near = HOLD  # no episode before a reset
        self._scene = self._empty

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        super().reset(seed=seed)
        while True:
            self._point, self._target = self.np_random.uniform(-START, START, (2, 2))
            if self._distance() >= APART:
                break
        self._near = 0
        self._scene = self._empty.copy()
        self._disc(self._scene, self._target, NEAR, TARGET_COLOUR)
        return self._seen(), {"is_success": False}

    def step(
        self, action: NDArray[np.float32]
    ) -> tuple[NDArray[np.uint8], float, bool, bool, dict[str, Any]]:
        if self._near == HOLD:
            raise ResetNeeded("the episode is over: call reset() before step()")
        move = np.asarray(action, np.float64)
        if move.shape != (2,) or not np.isfinite(move).all():
            raise ValueError(f"action must be two finite numbers in [-1, 1], got {action!r}")
        before = self._distance()
        self._point = np.clip(self._point + STEP * np.clip(move, -1.0, 1.0), -1.0, 1.0)
        after = self._distance()
        self._near = self._near + 1 if after <= NEAR else 0
        success = self._near == HOLD
        reward = PER_DISTANCE * (before - after) + (ON_SUCCESS if success else 0.0)
        return self._seen(), reward, success, False, {"is_success": success}

    def expert_action(self) -> NDArray[np.float32]:
        """``(2,)``: straight to the target in each coordinate, as fast as it goes."""
        return np.clip((self._target - self._point) / STEP, -1.0, 1.0).astype(np.float32)

    def _distance(self) -> float:
        return math.dist(self._point, self._target)

    def _drawn(self) -> NDArray[np.uint8]:
        image = self._scene.copy()
        self._disc(image, self._point, POINT, POINT_COLOUR)
        return image.astype(np.uint8)

    def _disc(
        self,
        image: NDArray[np.float32],
        place: NDArray[np.float64],
        radius: float,
        colour: tuple[int, int, int],
    ) -> None:
        """Cover pixels as far as the disc does, by the distance of their centres from its edge."""
        pixels = 0.5 * SHOWN * self.size  # of a length of 1
        column = 0.5 * self.size + pixels * place[0]
        row = 0.5 * self.size - pixels * place[1]
        reach = pixels * radius + 1.0
        rows = slice(max(int(row - reach), 0), int(row + reach) + 1)
        columns = slice(max(int(column - reach), 0), int(column + reach) + 1)
        down = self._centres[rows, None] - np.float32(row)
        across = self._centres[None, columns] - np.float32(column)
        away = np.sqrt(down * down + across * across)
        covered = np.clip(pixels * radius + 0.5 - away, 0.0, 1.0).astype(np.float32)[..., None]
        part = image[rows, columns]
        part += covered * (np.asarray(colour, np.float32) - part)


__all__ = ["HOLD", "NEAR", "STEP", "STEPS", "Reach"]
