"""Images of an environment, cropped and resized: what is learned from them is said by the run."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs
from numpy.typing import NDArray
from PIL import Image


class PreparedFrames(gymnasium.ObservationWrapper, RecordConstructorArgs):
    """Frames ``(height, width, channels)`` uint8, cropped at the bottom and resized.

    Resizing averages over the pixels that become one (Pillow's bilinear filter).

    Args:
        env: shows an image, as a Box.
        size: side of the square frames; None leaves the size.
        rows: of the upper rows, how many are kept; None keeps all.

    Raises:
        ValueError: for other observations, or more rows than there are.
    """

    def __init__(
        self, env: gymnasium.Env, *, size: int | None = None, rows: int | None = None
    ) -> None:
        RecordConstructorArgs.__init__(self, size=size, rows=rows)
        gymnasium.ObservationWrapper.__init__(self, env)
        space = env.observation_space
        if not isinstance(space, spaces.Box) or len(space.shape) != 3 or space.dtype != np.uint8:
            raise ValueError(f"frames are a Box (H, W, C) of uint8; this environment shows {space}")
        height, width, channels = space.shape
        if rows is not None and not 1 <= rows <= height:
            raise ValueError(f"rows must lie in 1..{height}, the height of a frame; got {rows}")
        if size is not None and size < 1:
            raise ValueError(f"size must be at least 1, got {size}")
        self.rows, self.size = rows, size
        shape = (height if rows is None else rows, width) if size is None else (size, size)
        self.observation_space = spaces.Box(0, 255, (*shape, channels), np.uint8)

    def observation(self, observation: NDArray[np.uint8]) -> NDArray[np.uint8]:
        frame = observation[: self.rows]
        if self.size is None:
            return np.ascontiguousarray(frame)
        side = (self.size, self.size)
        if frame.shape[2] in (1, 3, 4):
            image = Image.fromarray(np.ascontiguousarray(frame).squeeze())
            small = np.asarray(image.resize(side, Image.Resampling.BILINEAR))
            return small.reshape(self.observation_space.shape or ())
        channels = [
            Image.fromarray(np.ascontiguousarray(frame[..., number])).resize(
                side, Image.Resampling.BILINEAR
            )
            for number in range(frame.shape[2])
        ]
        return np.stack([np.asarray(channel) for channel in channels], -1)


def prepared(
    env: gymnasium.Env, *, size: int | None = None, rows: int | None = None
) -> gymnasium.Env:
    """``env``, behind `PreparedFrames` where there is anything to do."""
    return env if size is None and rows is None else PreparedFrames(env, size=size, rows=rows)


def make_frames(
    env_id: str, size: int | None = None, rows: int | None = None, **kwargs: Any
) -> gymnasium.Env:
    """Any environment of images with its frames prepared.

    Args:
        env_id: Gymnasium's.
        size, rows: see `PreparedFrames`.
        **kwargs: of that environment.
    """
    env = gymnasium.make(env_id, disable_env_checker=True, **kwargs)
    return prepared(env, size=size, rows=rows)


__all__ = ["PreparedFrames", "make_frames", "prepared"]
