"""Shows what a run's world model learned: pictures, films, curves and errors in its folder."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mbrl_agents.data.episode import Episode
from mbrl_agents.data.files import write_text
from mbrl_agents.evaluation.filmstrips import (
    film,
    filmstrip,
    gif,
    panels,
    write_curves,
    write_film,
    write_png,
)
from mbrl_agents.evaluation.imagined import (
    Recording,
    Window,
    describe,
    imagine_windows,
    rank,
    scalars,
    summarise_windows,
)
from mbrl_agents.training.batches import split_episodes

FOLDER = "imagination"
METRICS_FILE = "metrics.json"
EPISODES = 8
"""Episodes looked at by default: a few seconds on one core."""
FPS = 10


def can_show(agent: Any) -> bool:
    """Whether an agent's world model predicts observations."""
    return hasattr(getattr(agent.policy, "world_model", None), "decode")


def show_imagination(
    agent: Any,
    folder: str | os.PathLike[str],
    episodes: Sequence[Episode] = (),
    *,
    unseen: bool = False,
    context: int = 5,
    horizon: int = 45,
    limit: int = EPISODES,
) -> dict[str, Any] | None:
    """Write ``folder/imagination`` and the same pictures for TensorBoard into ``folder``.

    For the windows with the least and the largest open-loop error: ``{best,worst}.png`` and a
    film of truth, imagination and absolute error, ``{best,worst}-reconstruction.*`` likewise of
    what the model makes of frames it has seen, ``{best,worst}-curves.png``; and ``metrics.json``.

    Args:
        agent: a model-based agent.
        folder: of the run.
        episodes: recorded ones, of which those that the agent held out are taken; where there
            are none, what the agent has in its replay.
        unseen: whether the agent was trained on none of ``episodes``.
        context, horizon: see `imagine_windows`.
        limit: episodes to look at, taken evenly from all there are.

    Returns:
        The content of ``metrics.json``; None where there is nothing to show: a world model that
        does not decode, or no episode that is long enough.
    """
    if not can_show(agent):
        return None
    recordings, source = _recordings(agent, episodes, unseen, limit, context)
    model = agent.policy.world_model
    training = model.training
    model.eval()
    windows = imagine_windows(model, recordings, context=context, horizon=horizon)
    model.train(training)
    if not windows:
        return None
    best, worst = rank(windows)
    summary = {
        "source": source,
        "episodes": len(recordings),
        "unit": "mean squared error: pictures in [0, 1], vectors in their own units; "
        "reward and steps to go: mean absolute error",
        **summarise_windows(windows),
        "best": describe(best),
        "worst": describe(worst),
    }
    run = Path(folder)
    out = run / FOLDER
    out.mkdir(parents=True, exist_ok=True)
    for path in [*out.glob("best*"), *out.glob("worst*")]:
        path.unlink()
    pictures: dict[str, tuple[np.ndarray, bytes]] = {}
    for name, window in (("best", best), ("worst", worst)):
        pictures |= _write_window(out, name, window)
    _write_events(run, pictures, scalars(summary), int(agent.num_timesteps))
    write_text(out / METRICS_FILE, json.dumps(summary, indent=2) + "\n")
    return summary


def try_to_show_imagination(
    agent: Any, folder: str | os.PathLike[str], episodes: Sequence[Episode] = ()
) -> None:
    """`show_imagination` after training, which it must not cost: failures become warnings."""
    try:
        show_imagination(agent, folder, episodes)
    except Exception as error:
        warnings.warn(f"no pictures of what the model learned: {error}", stacklevel=2)


def _recordings(
    agent: Any, episodes: Sequence[Episode], unseen: bool, limit: int, context: int
) -> tuple[list[Recording], str]:
    """The episodes to look at and what they are."""
    episodes = list(episodes) or list(getattr(agent, "episodes", ()))
    if not episodes:
        replay = getattr(agent, "replay", None)
        if replay is None:
            return [], ""
        found = replay.episodes(limit, context + 1)
        return [Recording(**entry) for entry in found], "replayed episodes"
    source = "episodes it was not trained on" if unseen else "episodes it was trained on"
    held: list[Episode] = []
    if not unseen:
        share = getattr(agent.config.training, "holdout", 0.0)
        _, held = split_episodes(episodes, share, int(agent.seed or 0))
    if held:
        episodes, source = held, "held-out episodes"
    if len(episodes) > limit:
        places = np.linspace(0, len(episodes) - 1, limit).round().astype(int)
        episodes = [episodes[i] for i in places]
    policy = agent.policy
    return [Recording.of_episode(e, policy.from_env(e.actions)) for e in episodes], source


def _write_window(out: Path, name: str, window: Window) -> dict[str, tuple[np.ndarray, bytes]]:
    """Write the files of a window; returns filmstrips and films by tag, for TensorBoard."""
    write_curves(out / f"{name}-curves.png", window)
    shown: dict[str, tuple[np.ndarray, bytes]] = {}
    if not window.pictures:
        return shown
    for tag, predicted, word, dreamt in (
        (name, window.imagined, "imagined", True),
        (f"{name}-reconstruction", window.reconstructed, "reconstructed", False),
    ):
        columns = panels(window, predicted, imagined=dreamt)
        strip = filmstrip(columns, ["recorded", word, "error"])
        write_png(out / f"{tag}.png", strip)
        frames = film(panels(window, predicted, least=128, imagined=dreamt))
        write_film(out / tag, frames, FPS)
        shown[tag] = strip, gif(film(columns), FPS)
    return shown


def _write_events(
    run: Path,
    pictures: dict[str, tuple[np.ndarray, bytes]],
    numbers: dict[str, float],
    step: int,
) -> None:
    """TensorBoard events.  Films are animated GIFs among the images, which need no encoder."""
    from tensorboard.compat.proto.summary_pb2 import Summary
    from torch.utils.tensorboard import FileWriter
    from torch.utils.tensorboard.summary import image, scalar

    writer = FileWriter(str(run), filename_suffix=f".{FOLDER}")
    for name, value in numbers.items():
        writer.add_summary(scalar(f"{FOLDER}/{name}", value), step)
    for tag, (strip, animation) in pictures.items():
        writer.add_summary(image(f"{FOLDER}/{tag}", strip, dataformats="HWC"), step)
        moving = Summary.Image(
            height=strip.shape[0], width=strip.shape[1], colorspace=3,
            encoded_image_string=animation,
        )  # fmt: skip
        value = Summary.Value(tag=f"{FOLDER}/{tag}-film", image=moving)
        writer.add_summary(Summary(value=[value]), step)
    writer.close()


__all__ = ["FOLDER", "METRICS_FILE", "can_show", "show_imagination", "try_to_show_imagination"]
