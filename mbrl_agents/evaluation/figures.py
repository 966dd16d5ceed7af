"""Matplotlib's figures without a window, drawn once."""

from __future__ import annotations

from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def new_figure(width: float, height: float, *, layout: Any = None) -> Figure:
    """An empty figure of so many inches; ``layout`` as Matplotlib's, such as "constrained"."""
    # Imported here: most commands draw nothing.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(figure)
    return figure


def pixels(figure: Figure, dpi: float) -> np.ndarray:
    """The figure as ``(height, width, 3)`` uint8."""
    figure.set_dpi(dpi)
    canvas: Any = figure.canvas
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def save_png(figure: Figure, target: str | Path | IO[bytes], dpi: float) -> None:
    """Write the figure as PNG.  ``Figure.savefig`` would draw it twice, first for its layout."""
    from PIL import Image

    Image.fromarray(pixels(figure, dpi)).save(target, format="PNG", dpi=(dpi, dpi))


__all__ = ["new_figure", "pixels", "save_png"]
