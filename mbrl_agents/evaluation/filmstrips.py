"""Recorded beside predicted: filmstrips, video frames and curves of one window."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw

from mbrl_agents.data.files import atomic
from mbrl_agents.evaluation.figures import new_figure, save_png
from mbrl_agents.evaluation.imagined import Windows, evenly

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SEEN, IMAGINED = (60, 200, 90), (220, 60, 60)
"""Frames that the model had seen have a green edge, imagined ones a red."""
SIDE = 64
"""Smaller images are enlarged by a whole factor; also the width of a filmstrip's labels."""
CURVES, CURVES_PER_ROW = 8, 5
PANEL = 4.0, 2.6
"""Inches of the curves of one number, labels included."""
LINE, WHITE = 14, (255, 255, 255)
"""Pixels of a line of text, and its colour."""

_UNITS = {
    "reward": "reward of a control step",
    "steps to go": "control steps until success",
    "continues": "probability that the episode goes on",
}
"""What the curves of outcomes are measured in."""


def panels(windows: Windows, row: int, *, imagined: bool) -> np.ndarray:
    """Every frame of a window as a column of images: truth, prediction, absolute error by key.

    Args:
        windows, row: which window.
        imagined: predictions are `Windows.imagined`, else `Windows.reconstructed`.

    Returns:
        ``(C + H, 3 keys, height, width, 3)`` uint8.

    Raises:
        ValueError: where there are no images.
    """
    predicted = windows.imagined if imagined else windows.reconstructed
    frames = slice(windows.length[row])
    columns = []
    for key in windows.images:
        truth, guess = _rgb(windows.truth[key][row, frames]), _rgb(predicted[key][row, frames])
        three = np.stack([truth, guess, np.abs(truth - guess)], 1).clip(0.0, 1.0)
        factor = -(-SIDE // min(truth.shape[1:3]))
        three = (255 * three).round().astype(np.uint8).repeat(factor, 2).repeat(factor, 3)
        edge = max(1, three.shape[2] // 48)
        border = np.ones(three.shape[2:4], dtype=bool)
        border[edge:-edge, edge:-edge] = False
        three[:, 1, border] = SEEN
        if imagined:
            three[windows.context :, 1, border] = IMAGINED
        columns.append(three)
    return np.concatenate(columns, 1)


def filmstrip(
    columns: np.ndarray, names: list[str], most: int = 16, *, context: int = 0
) -> np.ndarray:
    """At most ``most`` frames of `panels` side by side, with the rows' names before them.

    Above each frame stands its control step: 1 is the first that comes after ``context``
    observations, which the model was shown; the last of those is 0.

    Returns:
        An image ``(height, width, 3)`` uint8.
    """
    at = evenly(len(columns), most)
    chosen = columns[at]
    strip = np.concatenate([np.concatenate(list(column), 0) for column in chosen], 1)
    drawn = Image.new("RGB", (SIDE + strip.shape[1], LINE + strip.shape[0]))
    drawn.paste(Image.fromarray(strip), (SIDE, LINE))
    pen = ImageDraw.Draw(drawn)
    pen.text((4, 1), "step", fill=WHITE)
    for place, step in enumerate(np.asarray(at).tolist()):
        pen.text((SIDE + place * chosen.shape[3] + 4, 1), str(step - context + 1), fill=WHITE)
    for row in range(chosen.shape[1]):
        place = LINE + row * chosen.shape[2] + 4
        pen.text((4, place), names[row % len(names)], fill=WHITE)
    return np.asarray(drawn)


def side_by_side(columns: np.ndarray) -> np.ndarray:
    """`panels` as the frames ``(C + H, height, width, 3)`` of a video, a line for each key."""
    frames, _, height, width, _ = columns.shape
    lines = columns.reshape(frames, -1, 3, height, width, 3).swapaxes(2, 3)
    return lines.reshape(frames, -1, 3 * width, 3)


def write_curves(path: Path, windows: Windows, row: int) -> None:
    """Reward, steps to go, and the numbers of the vectors that change most, beside the truth.

    Of an ensemble the range between its members is shaded.
    """
    later = slice(windows.context, windows.length[row])
    curves = [
        (f"{key}[{i}]", truth[row, later, i], windows.imagined[key][row, later, i], key, i)
        for key, truth in windows.truth.items()
        if key not in windows.images
        for i in range(truth.shape[-1])
        if np.ptp(truth[row, later, i]) > 0
    ]
    curves = sorted(curves, key=lambda curve: -float(np.var(curve[1])))[:CURVES]
    steps = np.arange(1, later.stop - later.start + 1)
    curves = [
        (name.replace("_", " "), truth[row, : len(steps)], predicted[row, : len(steps)], "", 0)
        for name, (truth, predicted) in windows.outcomes.items()
    ] + curves
    lines, width = -(-len(curves) // CURVES_PER_ROW), min(len(curves), CURVES_PER_ROW)
    figure = new_figure(PANEL[0] * width, PANEL[1] * lines)
    axes: Any = figure.subplots(lines, width, squeeze=False)
    for axis in axes.flat[len(curves) :]:
        axis.set_visible(False)
    for axis, (name, truth, guess, key, i) in zip(axes.flat, curves, strict=False):
        if key in windows.bounds:
            low, high = (x[row, : len(steps), i] for x in windows.bounds[key])
            label = "range of the ensemble"
            axis.fill_between(steps, low, high, color="tab:red", alpha=0.25, lw=0, label=label)
        axis.plot(steps, truth, label="recorded", color="black")
        axis.plot(steps, guess, label="imagined", color="tab:red")
        axis.set_title(name, fontsize=9)
        axis.tick_params(labelsize=8)
        axis.set_xlabel("imagined control steps", fontsize=8)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.set_ylabel(_UNITS.get(name, "as the environment observes it"), fontsize=8)
    # Vectors come last, and the range is theirs.
    axes.flat[len(curves) - 1 if windows.bounds else 0].legend(fontsize=8)
    _place(figure, lines, width)
    with atomic(path) as temporary:
        save_png(figure, temporary, dpi=90)


def _place(figure: Figure, lines: int, width: int) -> None:
    """Margins in inches that labels have room in: measuring them takes as long as drawing."""
    (left, right), (bottom, top) = (0.95, 0.1), (0.5, 0.3)
    x, y = PANEL[0] * width, PANEL[1] * lines
    figure.subplots_adjust(
        left=left / x,
        right=1 - right / x,
        bottom=bottom / y,
        top=1 - top / y,
        wspace=(left + right) / (PANEL[0] - left - right),
        hspace=(bottom + top) / (PANEL[1] - bottom - top),
    )


def _rgb(images: np.ndarray) -> np.ndarray:
    """Three channels: of more the first three, of fewer the first in grey."""
    return images[..., :3] if images.shape[-1] >= 3 else images[..., :1].repeat(3, -1)


__all__ = ["filmstrip", "panels", "side_by_side", "write_curves"]
