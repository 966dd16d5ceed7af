"""Writes an episode as a film.  Needs the extra ``video``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from mbrl_agents.data.collect import Predictor
from mbrl_agents.evaluation.rollouts import EpisodeRecord, run_episode


def record_video(
    path: str | Path,
    env: gymnasium.Env,
    predictor: Predictor,
    *,
    seed: int = 0,
    init_state: int | None = None,
    fps: int = 20,
) -> EpisodeRecord:
    """Run one episode and write it to ``path`` (.mp4 or .gif).

    Args:
        env: made with ``render_mode="rgb_array"``.
        fps: 20 shows LIBERO's control steps in real time.

    Raises:
        ImportError: imageio is missing; the message says how to install it.
        ValueError: the environment does not render.
    """
    try:
        import imageio.v2 as imageio
    except ImportError as error:
        raise ImportError("videos need imageio: pip install 'mbrl-agents[video]'") from error
    if env.render_mode != "rgb_array":
        raise ValueError("videos need an environment made with render_mode='rgb_array'")
    frames: list[Any] = []

    def keep(env: gymnasium.Env) -> None:
        frames.append(np.asarray(env.render()))

    record = run_episode(env, predictor, seed=seed, init_state=init_state, on_step=keep)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    imageio.mimsave(path, frames, fps=fps)
    return record


__all__ = ["record_video"]
