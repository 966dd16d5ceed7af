"""Shows what an agent's world model learned: images, videos, curves and errors in a folder."""

from __future__ import annotations

import contextlib
import json
import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from mbrl_agents.data.episode import Episode
from mbrl_agents.data.files import atomic, write_text
from mbrl_agents.data.recorded import split_episodes
from mbrl_agents.evaluation.filmstrips import filmstrip, panels, side_by_side, write_curves
from mbrl_agents.evaluation.illustrations import write_illustrations
from mbrl_agents.evaluation.imagined import (
    Windows,
    describe,
    evenly,
    imagine_windows,
    scalars,
    summarise_windows,
)
from mbrl_agents.evaluation.video import can_write_mp4, gif, write_video
from mbrl_agents.protocols import Illustration

Shown = dict[str, tuple[np.ndarray, bytes | None]]
"""An image and, where there is a video, an animated GIF by tag."""

FOLDER = "imagination"
METRICS_FILE = "metrics.json"
EPISODES = 8
"""Episodes looked at by default: a few seconds on one core."""
FPS = 10
UNIT = """mean squared error: images in [0, 1], vectors in their own units; \
reward and steps to go: mean absolute error"""


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
    """Write ``folder/imagination`` and the same images for TensorBoard into ``folder``.

    For the windows with the least and the largest open-loop error: ``{best,worst}.png`` and a
    video of truth, imagined observations and absolute error, ``{best,worst}-reconstruction.*``
    likewise of what the model decodes of observations it has seen, ``{best,worst}-curves.png``;
    and ``metrics.json``.  What the algorithm shows of itself beside that
    (`mbrl_agents.protocols.Illustration`) is written likewise.

    Args:
        agent: one with a world model.
        folder: of the run.
        episodes: recorded ones, of which those that the agent held out are taken; where there
            are none, the agent's own experience.
        unseen: whether the agent was trained on none of ``episodes``.
        context, horizon: see `imagine_windows`.
        limit: episodes to look at, taken evenly from all there are.

    Returns:
        The content of ``metrics.json``; None where no episode is long enough.
    """
    chosen, source = _choose(agent, episodes, unseen, limit)
    recordings = agent.recordings(chosen, count=limit)
    with evaluating(agent.algorithm.modules.values()):
        windows = imagine_windows(
            agent.algorithm.world_model, recordings, context=context, horizon=horizon
        )
        illustrate = getattr(agent.algorithm, "illustrate", None)
        illustrations: list[Illustration] = []
        if illustrate is not None and windows is not None:
            generator = torch.Generator(agent.device).manual_seed(int(agent.seed or 0))
            illustrations = illustrate(recordings, generator=generator)
    if windows is None:
        return None
    order = windows.rank()
    rows = {"best": order[0], "worst": order[-1]}
    summary = {
        "source": source,
        "episodes": len(recordings),
        "unit": UNIT,
        **summarise_windows(windows),
        **{name: describe(windows, row) for name, row in rows.items()},
    }
    run, shown = Path(folder), Shown()
    out = run / FOLDER
    for name, row in rows.items():
        for path in out.glob(f"{name}*"):
            path.unlink()
        shown |= _write_window(out, name, windows, row)
    pictures, numbers = write_illustrations(out, illustrations, FPS)
    if numbers:
        summary["illustrations"] = numbers
    found = scalars(summary) | numbers
    _write_events(run, {**shown, **pictures}, found, int(agent.num_timesteps))
    write_text(out / METRICS_FILE, json.dumps(summary, indent=2) + "\n")
    return summary


def try_to_show_imagination(
    agent: Any, folder: str | os.PathLike[str], episodes: Sequence[Episode] = ()
) -> None:
    """`show_imagination` after training, which it must not cost: failures become warnings."""
    try:
        show_imagination(agent, folder, episodes)
    except Exception as error:
        warnings.warn(f"could not show what the model imagines: {error}", stacklevel=2)


def _choose(
    agent: Any, episodes: Sequence[Episode], unseen: bool, limit: int
) -> tuple[list[Episode], str]:
    """The episodes to look at and what they are; none of them stands for own experience."""
    if not episodes:
        return [], "replayed episodes"
    chosen, source = list(episodes), "episodes it was not trained on"
    if not unseen:
        source = "episodes it was trained on"
        _, held = split_episodes(chosen, agent.config.training.holdout, int(agent.seed or 0))
        if held:
            chosen, source = held, "held-out episodes"
    return [chosen[i] for i in evenly(len(chosen), limit)], source


@contextlib.contextmanager
def evaluating(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Modules in evaluation mode, without dropout; afterwards as they were."""
    before = {module: module.training for module in modules}
    for module in before:
        module.eval()
    try:
        yield
    finally:
        for module, training in before.items():
            module.train(training)


def _write_window(out: Path, name: str, windows: Windows, row: int) -> Shown:
    """Write the files of a window; returns those that TensorBoard shows."""
    curves = out / f"{name}-curves.png"
    write_curves(curves, windows, row)
    with Image.open(curves) as drawn:
        shown = Shown({f"{name}-curves": (np.asarray(drawn.convert("RGB")), None)})
    if not windows.images:
        return shown
    for tag, word in ((name, "imagined"), (f"{name}-reconstruction", "reconstructed")):
        columns = panels(windows, row, imagined=word == "imagined")
        strip = filmstrip(columns, ["recorded", word, "error"], context=windows.context)
        frames = side_by_side(columns)
        with atomic(out / f"{tag}.png") as temporary:
            Image.fromarray(strip).save(temporary, "PNG")
        suffix = ".mp4" if can_write_mp4() else ".gif"
        write_video(out / f"{tag}{suffix}", frames.repeat(2, 1).repeat(2, 2), FPS)
        shown[tag] = strip, gif(frames, FPS)
    return shown


def _write_events(run: Path, shown: Shown, numbers: dict[str, float], step: int) -> None:
    """TensorBoard events.  Videos are animated GIFs among the images, which need no encoder."""
    from tensorboard.compat.proto.summary_pb2 import Summary
    from torch.utils.tensorboard import FileWriter
    from torch.utils.tensorboard.summary import image, scalar

    writer = FileWriter(str(run), filename_suffix=f".{FOLDER}")
    for name, value in numbers.items():
        writer.add_summary(scalar(f"{FOLDER}/{name}", value), step)
    for tag, (strip, animation) in shown.items():
        writer.add_summary(image(f"{FOLDER}/{tag}", strip, dataformats="HWC"), step)
        if animation is None:
            continue
        video = Summary.Image(
            height=strip.shape[0], width=strip.shape[1], colorspace=3,
            encoded_image_string=animation,
        )  # fmt: skip
        value = Summary.Value(tag=f"{FOLDER}/{tag}-video", image=video)
        writer.add_summary(Summary(value=[value]), step)
    writer.close()


__all__ = ["FOLDER", "METRICS_FILE", "evaluating", "show_imagination", "try_to_show_imagination"]
