"""What an algorithm shows of itself, as files: images in a grid, videos, curves, scatter plots."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from mbrl_agents.data.files import atomic
from mbrl_agents.evaluation.figures import new_figure, pixels
from mbrl_agents.evaluation.video import can_write_mp4, gif, write_video
from mbrl_agents.protocols import Illustration

SIDE = 64
"""Smaller images are enlarged by a whole factor."""


def write_illustrations(
    out: Path, found: Iterable[Illustration], fps: int
) -> tuple[dict[str, tuple[np.ndarray, bytes | None]], dict[str, float]]:
    """Write every illustration into a folder.

    Args:
        fps: of videos.

    Returns:
        An image ``(height, width, 3)`` uint8 and, where there is a video, an animated GIF, by name;
        and all numbers, by ``NAME/NUMBER``.
    """
    shown: dict[str, tuple[np.ndarray, bytes | None]] = {}
    numbers: dict[str, float] = {}
    for one in found:
        image: np.ndarray | None = None
        animation: bytes | None = None
        if one.frames is not None:
            frames = _enlarged(_bytes(one.frames))
            animation = gif(frames, fps)
            write_video(out / f"{one.name}{'.mp4' if can_write_mp4() else '.gif'}", frames, fps)
            image = frames[0]
        if one.images is not None:
            image = _grid(one.images)
        elif one.curves or one.points is not None:
            image = _plot(one)
        if image is not None:
            with atomic(out / f"{one.name}.png") as temporary:
                Image.fromarray(image).save(temporary, "PNG")
            shown[one.name] = image, animation
        numbers |= {f"{one.name}/{key}": value for key, value in one.numbers.items()}
    return shown, numbers


def _bytes(images: Tensor) -> np.ndarray:
    values = images.detach().float().cpu().clamp(0.0, 1.0).numpy()
    return (255.0 * values).round().astype(np.uint8)


def _enlarged(images: np.ndarray) -> np.ndarray:
    """Images ``(..., height, width, 3)``, by a whole factor."""
    factor = -(-SIDE // min(images.shape[-3:-1]))
    return images.repeat(factor, -3).repeat(factor, -2)


def _grid(images: Tensor) -> np.ndarray:
    """Rows and columns of images as one."""
    found = _enlarged(_bytes(images))
    rows, columns, height, width, channels = found.shape
    return found.swapaxes(1, 2).reshape(rows * height, columns * width, channels)


def _plot(one: Illustration) -> np.ndarray:
    figure = new_figure(6, 4, layout="tight")
    axis: Any = figure.subplots()
    for label, values in one.curves.items():
        axis.plot(np.arange(len(values)), values.detach().cpu().numpy(), label=label)
    if one.curves:
        axis.set_xlabel(one.axis)
        axis.legend(fontsize=8)
    if one.points is not None:
        x, y = one.points.detach().cpu().numpy().T
        shades = None if one.shades is None else one.shades.detach().cpu().numpy()
        drawn = axis.scatter(x, y, c=shades, s=6)
        if shades is not None:
            figure.colorbar(drawn, label=one.shade)
    axis.set_title(one.title or one.name, fontsize=9)
    return pixels(figure, dpi=100)


__all__ = ["write_illustrations"]
