"""Catch: a ball falls, a paddle has to be under it [Mnih et al. 2014, arXiv:1406.6247, section 4].

A grid of 10 x 10 cells.  The ball starts in the topmost row, in a column drawn uniformly, the
paddle, two cells wide, in the middle of the lowest row.  At each step the paddle moves by one cell
to the left, stays, or moves to the right (a wall stops it), and then the ball falls by one row.
The ninth step brings the ball to the paddle's row and ends the episode, with a reward of 1 where
the paddle covers the ball's column and of -1 where it does not; all other rewards are 0.

The paddle covers two of ten equally likely columns wherever it stands.  So whoever does not look at
the ball catches it once in five episodes, whatever he does: a mean return of -0.6.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from numpy.typing import NDArray

from .image_task import BACKGROUND, ImageTask

CELLS = 10
"""Columns of the grid, and rows."""

PADDLE = 2
"""Cells that the paddle is wide."""

LEFT, STAY, RIGHT = 0, 1, 2
BLIND_RETURN = 2 * PADDLE / CELLS - 1
"""Mean return of every policy that does not see the ball, a random one included."""

BALL_COLOUR, PADDLE_COLOUR = (255, 200, 40), (80, 160, 255)


class Catch(ImageTask):
    """Three discrete actions: 0 left, 1 stay, 2 right.  An episode has nine steps.

    Cells are squares of 3 pixels in images of 32, of 6 in images of 64, with an edge of 1 and 2.

    Args:
        size, blank, render_mode: see `ImageTask`.
    """

    def __init__(
        self, size: int = 64, *, blank: bool = False, render_mode: str | None = None
    ) -> None:
        super().__init__(size, blank=blank, render_mode=render_mode)
        self.action_space: spaces.Discrete = spaces.Discrete(3)
        self._edge, self._cell = size // 32, 3 * size // 32
        self._empty = np.empty((size, size, 3), np.uint8)
        self._empty[:] = BACKGROUND
        self._row = CELLS - 1  # nothing falls before a reset
        self._column = self._paddle = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        super().reset(seed=seed)
        self._row = 0
        self._column = int(self.np_random.integers(CELLS))
        self._paddle = (CELLS - PADDLE) // 2
        return self._seen(), {}

    def step(self, action: int) -> tuple[NDArray[np.uint8], float, bool, bool, dict[str, Any]]:
        if self._row == CELLS - 1:
            raise ResetNeeded("the ball has landed: call reset() before step()")
        if action not in (LEFT, STAY, RIGHT):
            raise ValueError(f"action must be 0 (left), 1 (stay) or 2 (right), got {action!r}")
        self._paddle = min(max(self._paddle + int(action) - 1, 0), CELLS - PADDLE)
        self._row += 1
        landed = self._row == CELLS - 1
        caught = self._paddle <= self._column < self._paddle + PADDLE
        reward = (1.0 if caught else -1.0) if landed else 0.0
        return self._seen(), reward, landed, False, {}

    def expert_action(self) -> np.int64:
        """The move that brings the paddle under the ball, which it always reaches in time."""
        if self._column < self._paddle:
            return np.int64(LEFT)
        return np.int64(RIGHT if self._column >= self._paddle + PADDLE else STAY)

    def _drawn(self) -> NDArray[np.uint8]:
        image = self._empty.copy()
        self._fill(image, CELLS - 1, self._paddle, PADDLE, PADDLE_COLOUR)
        self._fill(image, self._row, self._column, 1, BALL_COLOUR)
        return image

    def _fill(
        self,
        image: NDArray[np.uint8],
        row: int,
        column: int,
        cells: int,
        colour: tuple[int, int, int],
    ) -> None:
        edge, cell = self._edge, self._cell
        top, left = edge + row * cell, edge + column * cell
        image[top : top + cell, left : left + cells * cell] = colour


__all__ = ["BLIND_RETURN", "CELLS", "PADDLE", "Catch"]
