"""Recorded beside predicted: filmstrips, films and curves of a `Window`."""

from __future__ import annotations

import io
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from mbrl_agents.data.files import atomic
from mbrl_agents.evaluation.imagined import Window

SEEN, IMAGINED = (60, 200, 90), (220, 60, 60)
"""Frames the model had seen have a green edge, imagined ones a red."""
LABEL_WIDTH = 64
CURVES = 8


def panels(
    window: Window, predicted: Mapping[str, np.ndarray], *, least: int = 64, imagined: bool = True
) -> np.ndarray:
    """Every frame as a column of pictures: truth, prediction, absolute error, for each key.

    Args:
        window: gives the truth.
        predicted: `Window.reconstructed` or `Window.imagined`.
        least: pictures smaller than that are enlarged by a whole factor.
        imagined: whether the frames after the context were.

    Returns:
        ``(C + H, 3 keys, height, width, 3)`` uint8.
    """
    rows: list[np.ndarray] = []
    for key in window.pictures:
        truth, guess = _rgb(window.truth[key]), _rgb(predicted[key])
        factor = -(-least // min(truth.shape[1:3]))
        three = [
            _bytes(x).repeat(factor, 1).repeat(factor, 2)
            for x in (truth, guess, np.abs(truth - guess))
        ]
        edge = max(1, three[1].shape[1] // 48)
        for frame, picture in enumerate(three[1]):
            colour = IMAGINED if imagined and frame >= window.context else SEEN
            for side in (np.s_[:edge], np.s_[-edge:], np.s_[:, :edge], np.s_[:, -edge:]):
                picture[side] = colour
        rows += three
    return np.stack(rows, 1)


def filmstrip(columns: np.ndarray, names: list[str], most: int = 16) -> np.ndarray:
    """At most ``most`` frames of `panels` side by side, with the rows' names before them.

    Returns:
        A picture ``(height, width, 3)`` uint8.
    """
    chosen = np.unique(np.linspace(0, len(columns) - 1, most).round().astype(int))
    height = columns.shape[2]
    strip = np.concatenate([np.concatenate(list(columns[i]), 0) for i in chosen], 1)
    label = Image.new("RGB", (LABEL_WIDTH, strip.shape[0]))
    draw = ImageDraw.Draw(label)
    for row in range(columns.shape[1]):
        draw.text((4, row * height + 4), names[row % len(names)], fill=(255, 255, 255))
    return np.concatenate([np.asarray(label), strip], 1)


def film(columns: np.ndarray) -> np.ndarray:
    """`panels` as the frames ``(C + H, height, width, 3)`` of a film: rows side by side."""
    count, rows = columns.shape[:2]
    keys = [
        np.concatenate(list(columns[:, i : i + 3].swapaxes(0, 1)), 2) for i in range(0, rows, 3)
    ]
    frames = np.concatenate(keys, 1)
    # Films are encoded in blocks of 16 pixels.
    pad = [(0, 0), (0, -frames.shape[1] % 16), (0, -frames.shape[2] % 16), (0, 0)]
    assert len(frames) == count
    return np.pad(frames, pad)


def write_png(path: Path, picture: np.ndarray) -> None:
    """Write a picture ``(H, W, 3)`` uint8."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    with atomic(path) as temporary:
        temporary.write_bytes(buffer.getvalue())


def gif(frames: np.ndarray, fps: int) -> bytes:
    """Frames ``(N, H, W, 3)`` uint8 as an animated GIF."""
    pictures = [Image.fromarray(frame) for frame in frames]
    buffer = io.BytesIO()
    pictures[0].save(
        buffer, "GIF", save_all=True, append_images=pictures[1:], duration=1000 // fps, loop=0
    )
    return buffer.getvalue()


def write_film(path: Path, frames: np.ndarray, fps: int = 10) -> Path:
    """Write ``path`` with the suffix ``.mp4``, or ``.gif`` where the extra ``video`` is missing."""
    # What imageio writes mp4 with.
    if find_spec("imageio_ffmpeg") is None:
        path = path.with_suffix(".gif")
        with atomic(path) as temporary:
            temporary.write_bytes(gif(frames, fps))
        return path
    import imageio.v2 as imageio

    path = path.with_suffix(".mp4")
    encoded = imageio.mimsave("<bytes>", list(frames), format="mp4", fps=fps)
    with atomic(path) as temporary:
        temporary.write_bytes(encoded)
    return path


def write_curves(path: Path, window: Window) -> None:
    """Reward, steps to go, and the numbers of the vectors that change most, beside the truth."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    steps = np.arange(1, len(window.reward) + 1)
    curves: list[tuple[str, np.ndarray, np.ndarray]] = [
        ("reward", window.reward, window.predicted_reward)
    ]
    if window.predicted_steps_to_go is not None:
        curves.append(("steps to go", window.steps_to_go, window.predicted_steps_to_go))
    numbers = [
        (f"{key}[{column}]", truth[window.context :, column], guess[window.context :, column])
        for key, truth in window.truth.items()
        if truth.ndim == 2
        for guess in [window.imagined[key]]
        for column in range(truth.shape[1])
        if np.ptp(truth[window.context :, column]) > 0
    ]
    numbers.sort(key=lambda entry: -float(np.var(entry[1])))
    curves += numbers[:CURVES]
    figure = Figure(figsize=(4 * min(len(curves), 5), 2.6 * -(-len(curves) // 5)))
    FigureCanvasAgg(figure)
    axes: Any = figure.subplots(-(-len(curves) // 5), min(len(curves), 5), squeeze=False)
    for axis in axes.flat[len(curves) :]:
        axis.set_visible(False)
    for axis, (name, truth, guess) in zip(axes.flat, curves, strict=False):
        axis.plot(steps, truth, label="recorded", color="black")
        axis.plot(steps, guess, label="imagined", color="tab:red")
        axis.set_title(name, fontsize=9)
        axis.set_xlabel("imagined control steps", fontsize=8)
    axes.flat[0].legend(fontsize=8)
    figure.tight_layout()
    with atomic(path) as temporary:
        figure.savefig(temporary, format="png", dpi=90)


def _rgb(pictures: np.ndarray) -> np.ndarray:
    """Three channels: of more the first three, of fewer the first in grey."""
    if pictures.shape[-1] >= 3:
        return pictures[..., :3]
    return pictures[..., :1].repeat(3, -1)


def _bytes(pictures: np.ndarray) -> np.ndarray:
    return (pictures.clip(0.0, 1.0) * 255.0).round().astype(np.uint8)


__all__ = ["film", "filmstrip", "gif", "panels", "write_curves", "write_film", "write_png"]
