"""Images and videos as files, and an episode as a video."""

from __future__ import annotations

import io
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from PIL import Image

from mbrl_agents.data.files import atomic
from mbrl_agents.data.rollout import Predictor
from mbrl_agents.evaluation.rollouts import EpisodeRecord, run_episode


def can_write_mp4() -> bool:
    """Whether the extra ``video`` is installed."""
    return find_spec("imageio_ffmpeg") is not None


def check_can_film(path: Path) -> None:
    """Raise ImportError for a kind of video that needs a package which is not installed."""
    if path.suffix != ".gif" and not can_write_mp4():
        raise ImportError("mp4 videos need imageio: pip install 'mbrl-agents[video]'")


def gif(frames: Iterable[np.ndarray], fps: int) -> bytes:
    """Frames ``(height, width, 3)`` uint8 as an animated GIF."""
    first, *others = map(Image.fromarray, frames)
    buffer = io.BytesIO()
    first.save(buffer, "GIF", save_all=True, append_images=others, duration=1000 // fps, loop=0)
    return buffer.getvalue()


def write_video(path: Path, frames: Iterable[np.ndarray], fps: int) -> None:
    """Write frames ``(height, width, 3)`` uint8 to a ``.gif``, or to a ``.mp4`` with the extra."""
    if path.suffix == ".gif":
        encoded = gif(frames, fps)
    else:
        import imageio.v2 as imageio

        images = list[Any](frames)
        encoded = imageio.mimsave("<bytes>", images, format="mp4", fps=fps, macro_block_size=2)
    with atomic(path) as temporary:
        temporary.write_bytes(encoded)


def record_video(
    path: str | Path,
    env: gymnasium.Env,
    predictor: Predictor,
    *,
    seed: int = 0,
    init_state: int | None = None,
    deterministic: bool = True,
    fps: int = 20,
) -> EpisodeRecord:
    """Run one episode and write it to ``path`` (.mp4 or .gif).

    Args:
        env: made with ``render_mode="rgb_array"``.
        seed, init_state, deterministic: see `mbrl_agents.evaluation.rollouts.run_episode`.
        fps: 20 shows LIBERO's control steps in real time.

    Raises:
        ImportError: imageio is missing; the message says how to install it.
        ValueError: the environment does not render.
    """
    path, frames = Path(path), list[np.ndarray]()
    check_can_film(path)
    if env.render_mode != "rgb_array":
        raise ValueError("videos need an environment made with render_mode='rgb_array'")

    def keep(env: gymnasium.Env) -> None:
        frames.append(np.asarray(env.render()))

    record = run_episode(
        env,
        predictor,
        seed=seed,
        init_state=init_state,
        deterministic=deterministic,
        on_step=keep,
    )
    write_video(path, frames, fps)
    return record


__all__ = ["can_write_mp4", "check_can_film", "gif", "record_video", "write_video"]
