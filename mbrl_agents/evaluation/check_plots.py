"""The curve of checks: success, or return, over training, of one run or of a benchmark's rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from mbrl_agents.data.files import atomic
from mbrl_agents.evaluation.checks import CheckPoint
from mbrl_agents.evaluation.figures import new_figure, save_png

STEPS, UPDATES = "environment steps", "updates (gradient steps)"
"""What checks are counted in."""
DPI = 120
MARKERS = "osD^v"

CheckCurves = Mapping[str, Sequence[Sequence[CheckPoint]]]
"""By row's name: the checks of each training, one a seed and task."""


def draw_checks(
    curves: CheckCurves,
    *,
    axis: str = STEPS,
    references: Mapping[str, float] | None = None,
    target: float | None = None,
    title: str = "",
) -> Figure:
    """Every training's checks thinly, and per row their mean where all trainings were checked.

    The vertical axis is success in per cent where every check knows of it, unless a return is the
    target; else the mean return.

    Args:
        curves: at least one check in all.
        axis: `STEPS` or `UPDATES`.
        references: by name what needs no training: success within 0 and 1, or a return.
        target: return that counts as solved.
    """
    drawn = {name: [c for c in several if c] for name, several in curves.items()}
    points = [p for several in drawn.values() for curve in several for p in curve]
    success = target is None and all(p.success_rate is not None for p in points)
    figure = new_figure(8, 4.5, layout="constrained")
    axes = figure.subplots()
    for number, (name, several) in enumerate(drawn.items()):
        if not several:
            continue
        colour = f"C{number % 10}"
        width = 1.5 + 1.2 * min(3, len(drawn) - 1 - number)
        marked: dict[str, Any] = {
            "marker": MARKERS[number % len(MARKERS)],
            "markersize": width + 2.5,
            "linewidth": width,
        }
        for curve in several:
            alone = len(several) == 1
            axes.plot(
                [p.step for p in curve], [_height(p, success) for p in curve], color=colour,
                label=name if alone else None,
                **(marked if alone else {"alpha": 0.3, "linewidth": 0.8}),
            )  # fmt: skip
        if len(several) > 1:
            shared = sorted(set.intersection(*({p.step for p in curve} for curve in several)))
            heights = [
                [_height(p, success) for p in curve if p.step in shared] for curve in several
            ]
            label = f"{name} (mean of {len(several)})"
            axes.plot(shared, np.mean(heights, 0), color=colour, label=label, **marked)
    for (name, height), style in zip((references or {}).items(), ("--", "-."), strict=False):
        axes.axhline(100 * height if success else height, color="0.5", linestyle=style, label=name)
    if target is not None:
        axes.axhline(target, color="0.2", linestyle=":", label=f"solved: {target:g}")
    words = "success, %" if success else "mean return"
    axes.set(xlabel=axis, ylabel=f"{words} of {points[0].episodes} fresh episodes", title=title)
    axes.set_xlim(left=0)
    if success:
        axes.set_ylim(-3, 103)
    axes.legend(loc="best", fontsize="small")
    return figure


def write_checks(path: Path, curves: CheckCurves, *, axis: str) -> None:
    """Write `draw_checks` of one run as a PNG file; nothing where there are no checks."""
    if any(curve for several in curves.values() for curve in several):
        with atomic(path) as temporary:
            save_png(draw_checks(curves, axis=axis), temporary, DPI)


def _height(point: CheckPoint, success: bool) -> float:
    rate = point.success_rate
    return 100 * rate if success and rate is not None else point.mean


__all__ = ["STEPS", "UPDATES", "CheckCurves", "draw_checks", "write_checks"]
