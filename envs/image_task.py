"""What the small image tasks share: images in one of two sizes, blank ones, `render`."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

SIZES = (32, 64)
"""Sides of the images in pixels."""

BACKGROUND = (16, 20, 28)
"""Red, green, blue of what is empty."""

RENDER_SIZE = 256
"""Side of the images of `render`, a multiple of both sizes."""


class ImageTask(gymnasium.Env[NDArray[np.uint8], Any]):
    """Shows an image ``(size, size, 3)`` uint8 and nothing else.

    Args:
        size: side of the images in pixels, 32 or 64.
        blank: show images of zeros, whatever happens: what an agent reaches all the same, it
            reaches without seeing.  `render` shows the scene.
        render_mode: None or "rgb_array".

    Raises:
        ValueError: for another size or render mode.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012  Gymnasium declares it so
        "render_modes": ["rgb_array"],
        "render_fps": 10,
    }
    reward_is_change = True
    """Rewards are what a step brings; waiting brings nothing."""

    def __init__(
        self, size: int = 64, *, blank: bool = False, render_mode: str | None = None
    ) -> None:
        if size not in SIZES:
            raise ValueError(f"size must be one of {', '.join(map(str, SIZES))}, got {size!r}")
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode must be None or 'rgb_array', got {render_mode!r}")
        self.size, self.blank, self.render_mode = size, blank, render_mode
        self.observation_space = spaces.Box(0, 255, (size, size, 3), np.uint8)

    @property
    def conditions(self) -> dict[str, Any]:
        """What figures depend on beside the agent."""
        return {"size": self.size, "blank": self.blank}

    def render(self) -> NDArray[np.uint8] | None:  # type: ignore[override]
        """``(256, 256, 3)`` uint8, each pixel of the scene a square; None without a render mode."""
        if self.render_mode is None:
            return None
        scale = RENDER_SIZE // self.size
        return self._drawn().repeat(scale, 0).repeat(scale, 1)

    def _seen(self) -> NDArray[np.uint8]:
        if self.blank:
            return np.zeros((self.size, self.size, 3), np.uint8)
        return self._drawn()

    @abstractmethod
    def _drawn(self) -> NDArray[np.uint8]:
        """The present scene in a new array."""


__all__ = ["BACKGROUND", "SIZES", "ImageTask"]
