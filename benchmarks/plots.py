"""Plots of a benchmark: outcome, planning time, learning and imagination of each environment."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from mbrl_agents.evaluation.check_plots import STEPS, UPDATES, CheckCurves, draw_checks
from mbrl_agents.evaluation.figures import new_figure, save_png
from mbrl_agents.evaluation.learning_curve import CurvePoint, smooth

_COLOURS = {"agent": "C0", "baseline": "C1", "reference": "0.6"}
_DPI = 120
_PLACES = 200
_AXES = {"env_steps": "environment steps", "seconds": "seconds of training"}
WINDOW = 0.1
"""Share of the axis over which a learning curve is averaged."""

Curves = Mapping[str, Sequence[Sequence[CurvePoint]]]
"""By row's name: one curve per seed and task."""


def write_plots(
    entries: Sequence[Mapping[str, Any]],
    curves: Curves,
    folder: Path,
    *,
    checks: Mapping[str, CheckCurves] | None = None,
    env: str = "",
    target: float | None = None,
) -> None:
    """Write the plots of one environment.

    ``success.png`` (``return.png`` where the environment knows no success), ``planning_time.png``,
    and where some row learned from its own experience ``learning_curve.png`` over environment steps
    and ``learning_time.png`` over seconds of training; ``checks.png`` where some were tested while
    they gathered experience, ``fit_checks.png`` where while they were fitted to recorded episodes;
    ``imagination.png`` where world models were tested.

    Args:
        entries: finished rows of the summary; at least one.
        folder: made if need be.
        checks: of each training of the rows that were tested in between, by what they are
            counted in, `STEPS` or `UPDATES`.
        env: added to the files' names where a suite has several environments.
        target: return that counts as solved, drawn as a line.
    """
    folder.mkdir(parents=True, exist_ok=True)
    suffix = f"-{slug(env)}" if env else ""
    if any(entry["successes"] is not None for entry in entries):
        save_png(_success(entries), folder / f"success{suffix}.png", _DPI)
    else:
        save_png(_returns(entries, target), folder / f"return{suffix}.png", _DPI)
    save_png(_planning_time(entries), folder / f"planning_time{suffix}.png", _DPI)
    if any(curve for several in curves.values() for curve in several):
        figure = _learning_curves(entries, curves, env, target)
        save_png(figure, folder / f"learning_curve{suffix}.png", _DPI)
    timed = {name: [_timed(curve) for curve in several] for name, several in curves.items()}
    if any(curve for several in timed.values() for curve in several):
        figure = _learning_curves(entries, timed, env, target, "seconds")
        save_png(figure, folder / f"learning_time{suffix}.png", _DPI)
    for axis, name in ((STEPS, "checks"), (UPDATES, "fit_checks")):
        checked = (checks or {}).get(axis, {})
        if any(curve for several in checked.values() for curve in several):
            references = _references(entries, target)
            figure = draw_checks(
                checked, axis=axis, references=references, target=target, title=env
            )
            save_png(figure, folder / f"{name}{suffix}.png", _DPI)
    if imagined := [entry for entry in entries if entry.get("imagination")]:
        save_png(_imagination(imagined, env), folder / f"imagination{suffix}.png", _DPI)


def _references(entries: Sequence[Mapping[str, Any]], target: float | None) -> dict[str, float]:
    """What needs no training, in the figure that checks are drawn in."""
    found = [entry for entry in entries if entry["kind"] == "reference"]
    success = target is None and all(entry["successes"] is not None for entry in entries)
    return {e["method"]: e["success_rate"] if success else e["return_mean"] for e in found}


def _timed(curve: Sequence[CurvePoint]) -> list[CurvePoint]:
    """The points whose time is known."""
    return [point for point in curve if not math.isnan(point.seconds)]


def slug(env: str) -> str:
    """A Gymnasium id as part of a file's name."""
    return re.sub(r"[^\w.-]+", "-", env)


def _figure(height: float) -> tuple[Figure, Any]:
    # Without pyplot: no global state, no display.
    figure = new_figure(8, height, layout="constrained")
    return figure, figure.subplots()


def _bars(entries: Sequence[Mapping[str, Any]]) -> tuple[Figure, Any, np.ndarray]:
    """A figure with one horizontal place for each row, the first on top."""
    figure, axes = _figure(0.5 * len(entries) + 1.4)
    places = np.arange(len(entries))
    axes.set(yticks=places, yticklabels=[entry["method"] for entry in entries])
    axes.invert_yaxis()
    return figure, axes, places


def _success(entries: Sequence[Mapping[str, Any]]) -> Figure:
    figure, axes, places = _bars(entries)
    known = [(entry["success_rate"] or 0.0, entry["ci95"] or (0.0, 0.0)) for entry in entries]
    rates = 100 * np.array([rate for rate, _ in known])
    low, high = 100 * np.array([interval for _, interval in known]).T
    spread = np.clip([rates - low, high - rates], 0, None)
    colours = [_COLOURS[entry["kind"]] for entry in entries]
    axes.barh(places, rates, color=colours, xerr=spread, ecolor="0.2", capsize=3)
    axes.set(xlim=(0, 100), xlabel="success, % (95 % interval)")
    return figure


def _returns(entries: Sequence[Mapping[str, Any]], target: float | None) -> Figure:
    figure, axes, places = _bars(entries)
    means = [entry["return_mean"] for entry in entries]
    colours = [_COLOURS[entry["kind"]] for entry in entries]
    spread = [entry["return_std"] for entry in entries]
    axes.barh(places, means, color=colours, xerr=spread, ecolor="0.2", capsize=3)
    axes.set(xlabel="return of an episode, mean and standard deviation")
    if target is not None:
        axes.axvline(target, color="0.2", linestyle=":", label=f"solved: {target:g}")
        axes.legend()
    return figure


def _planning_time(entries: Sequence[Mapping[str, Any]]) -> Figure:
    figure, axes, places = _bars(entries)
    axes.barh(places - 0.2, [e["plan_ms_p50"] for e in entries], 0.4, label="p50", color="C0")
    axes.barh(places + 0.2, [e["plan_ms_p95"] for e in entries], 0.4, label="p95", color="C2")
    axes.set(xscale="log", xlabel="time of one decision, ms")
    axes.axvline(50, color="0.5", linestyle=":", label="20 Hz control")
    axes.legend()
    return figure


def _learning_curves(
    entries: Sequence[Mapping[str, Any]],
    curves: Curves,
    env: str,
    target: float | None,
    axis: str = "env_steps",
) -> Figure:
    """Every episode's return faintly, and per row the mean over seeds of smoothed curves."""
    figure, axes = _figure(4.5)
    end = max(getattr(p, axis) for several in curves.values() for curve in several for p in curve)
    places = np.linspace(0, end, _PLACES + 1)[1:]
    for number, (name, several) in enumerate(curves.items()):
        drawn = [curve for curve in several if curve]
        if not drawn:
            continue
        colour = f"C{number % 10}"
        for curve in drawn:
            at = [getattr(point, axis) for point in curve]
            returns = [point.episode_return for point in curve]
            axes.plot(at, returns, color=colour, alpha=0.2, linewidth=0.8)
        smoothed = np.array([smooth(curve, places, WINDOW * end, axis) for curve in drawn])
        # A row ends where its longest training does; what others reach later is no result of it.
        shown = places <= max(getattr(curve[-1], axis) for curve in drawn) + end / _PLACES
        # Only where every seed has finished an episode: a mean of fewer would jump.
        count = "" if len(drawn) == 1 else f" (mean of {len(drawn)})"
        mean = smoothed.mean(0)[shown]
        axes.plot(places[shown], mean, color=colour, linewidth=2, label=f"{name}{count}")
    # What needs no training; where success ends an episode, a high return is no good sign.
    references = [e for e in entries if e["kind"] == "reference" and e["successes"] is None]
    for entry, style in zip(references, ("--", "-."), strict=False):
        axes.axhline(entry["return_mean"], color="0.5", linestyle=style, label=entry["method"])
    if target is not None:
        axes.axhline(target, color="0.2", linestyle=":", label=f"solved: {target:g}")
    axes.set(xlim=(0, end), xlabel=_AXES[axis], ylabel="return of training episodes")
    if env:
        axes.set_title(env)
    axes.legend(loc="best", fontsize="small")
    return figure


def _imagination(entries: Sequence[Mapping[str, Any]], env: str) -> Figure:
    """Error of imagination by step, each model's beside that of keeping the last observation."""
    figure, axes = _figure(4.5)
    for number, entry in enumerate(entries):
        curve = np.array(entry["imagination"]["per_step"], dtype=float)
        label, colour = entry["method"], f"C{number % 10}"
        axes.plot(range(1, len(curve) + 1), curve, color=colour, marker=".", label=label)
    still = np.array(entries[0]["imagination"]["still_per_step"], dtype=float)
    axes.plot(range(1, len(still) + 1), still, color="0.5", linestyle="--", label="last one kept")
    axes.axhline(1.0, color="0.2", linestyle=":", label="mean observation")
    axes.set(xlabel="imagined control steps", ylabel="share of the variance not explained")
    axes.set_ylim(bottom=0.0)
    if env:
        axes.set_title(env)
    axes.legend(loc="best", fontsize="small")
    return figure


__all__ = ["write_plots"]
