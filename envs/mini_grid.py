"""MiniGrid [Chevalier-Boisvert et al. 2023, arXiv:2306.13831] as images and Discrete actions."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs
from numpy.typing import NDArray

from .extras import require
from .frames import prepared

VIEWS = ("agent", "grid")


class GridImages(gymnasium.Wrapper, RecordConstructorArgs):
    """Shows a MiniGrid task as an image of square tiles, and says whether it was solved.

    ``info["is_success"]`` is True where an episode ends with a positive reward: MiniGrid gives one
    for nothing else.  What a mission says in words is not shown.

    Args:
        env: a task of MiniGrid.
        view: "agent": the 7 x 7 cells that the agent sees; "grid": all, what it sees lighter.
        tile: side of a cell in pixels.
    """

    knows_success = True

    def __init__(self, env: gymnasium.Env, *, view: str, tile: int) -> None:
        RecordConstructorArgs.__init__(self, view=view, tile=tile)
        gymnasium.Wrapper.__init__(self, env)
        self._task: Any = env.unwrapped
        self.view, self.tile = view, tile
        rows, columns = _cells(self._task, view)
        self.observation_space = spaces.Box(0, 255, (rows * tile, columns * tile, 3), np.uint8)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        _, info = self.env.reset(seed=seed, options=options)
        return self._image(), {**info, "is_success": False}

    def step(self, action: Any) -> tuple[NDArray[np.uint8], float, bool, bool, dict[str, Any]]:
        _, reward, terminated, truncated, info = self.env.step(action)
        success = bool(terminated and float(reward) > 0)
        return self._image(), float(reward), terminated, truncated, {**info, "is_success": success}

    def _image(self) -> NDArray[np.uint8]:
        image: NDArray[np.uint8] = self._task.get_frame(
            highlight=self._task.highlight, tile_size=self.tile, agent_pov=self.view == "agent"
        )
        return image


def make_mini_grid(
    env_id: str = "MiniGrid-Empty-5x5-v0",
    *,
    size: int = 64,
    view: str = "agent",
    render_mode: str | None = None,
    **kwargs: Any,
) -> gymnasium.Env:
    """A task of MiniGrid, as images ``(size, size, 3)`` uint8 and its seven Discrete actions.

    Cells are drawn as small as they may be without leaving pixels over, and resized from there
    (`PreparedFrames`), so that a grid that is not square is stretched.

    Args:
        env_id: Gymnasium's id of the task.
        size: side of the images in pixels.
        view: "agent" or "grid", see `GridImages`.
        render_mode: None or "rgb_array".
        **kwargs: of the task.

    Raises:
        MissingExtra: minigrid is not installed.
        ValueError: for another view, or an environment that is none of MiniGrid's.
    """
    require("minigrid", extra="minigrid", env_id="mbrl/MiniGrid-v0")
    if view not in VIEWS:
        raise ValueError(f"unknown view {view!r}; valid: {', '.join(VIEWS)}")
    if size < 1:
        raise ValueError(f"size must be at least 1, got {size}")
    import minigrid  # registers its tasks

    # It keeps its own step limit, so what Gymnasium wraps around it is not needed twice.
    env = gymnasium.make(env_id, disable_env_checker=True, render_mode=render_mode, **kwargs)
    task: Any = env.unwrapped
    if not hasattr(task, "get_frame"):
        raise ValueError(f"{env_id} is no task of MiniGrid")
    task.conditions = {
        "minigrid": minigrid.__version__,
        "task": env_id,
        "view": view,
        "size": size,
        **kwargs,
    }
    tile = -(-size // min(_cells(task, view)))
    return prepared(GridImages(task, view=view, tile=tile), size=size)


def _cells(task: Any, view: str) -> tuple[int, int]:
    """Rows and columns that are shown."""
    if view == "agent":
        return task.agent_view_size, task.agent_view_size
    return task.height, task.width


__all__ = ["GridImages", "make_mini_grid"]
