"""The report's figures, drawn from plain numbers as PNG files in memory."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from mbrl_agents.evaluation.figures import new_figure, save_png

DPI = 110
WIDTH = 7.0
DIMENSIONS = ("x", "y", "z", "turn x", "turn y", "turn z")
"""Of LIBERO's actions, the gripper left out."""

Curve = Sequence[Sequence[float]]
"""Pairs of a gradient step and a value."""


@dataclass(frozen=True)
class Bar:
    """Success of one experiment.

    Attributes:
        label: under the bar.
        rate, low, high: success and its 95 % interval, in [0, 1].
        plan_ms, plan_ms_p95: median and 95th percentile of planning times.
    """

    label: str
    rate: float
    low: float
    high: float
    plan_ms: float
    plan_ms_p95: float


def loss_curves(curves: Mapping[str, Mapping[str, Curve]]) -> bytes:
    """One panel for each title: its curves by name over gradient steps, on a logarithmic axis
    where all values are positive and span more than a factor of ten."""
    figure, axes = _figure(len(curves), min(2, len(curves)), 2.6)
    for axis, (title, lines) in zip(axes, curves.items(), strict=False):
        values: list[float] = []
        for name, curve in lines.items():
            steps, losses = np.array(curve, dtype=float).T
            values += losses.tolist()
            marker = "o" if len(steps) < 4 else None
            style = "--" if name.startswith("train") else "-"
            axis.plot(steps, losses, style, label=name, marker=marker, lw=1.4)
        if values and min(values) > 0 and max(values) > 10 * min(values):
            axis.set_yscale("log")
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("gradient steps", fontsize=9)
        axis.legend(fontsize=7)
    return _png(figure)


def success_bars(bars: Sequence[Bar], xlabel: str = "", *, times: bool = True) -> bytes:
    """Success with 95 % intervals and, beside it, planning time: median and p95."""
    figure, axes = _figure(1 + times, 1 + times, 3.0)
    places = np.arange(len(bars))
    rates = np.array([bar.rate for bar in bars])
    spread = np.abs(np.array([[bar.low, bar.high] for bar in bars]).T - rates)
    axes[0].bar(places, 100 * rates, yerr=100 * spread, capsize=4, color="tab:blue", width=0.6)
    axes[0].set_ylim(0, 105)
    axes[0].set_ylabel("success, %", fontsize=9)
    if times:
        medians = np.array([bar.plan_ms for bar in bars])
        upper = np.maximum(0.0, [bar.plan_ms_p95 for bar in bars] - medians)
        error = np.stack([np.zeros(len(bars)), upper])
        axes[1].bar(places, medians, yerr=error, capsize=4, color="tab:orange", width=0.6)
        axes[1].set_ylabel("planning, ms", fontsize=9)
    # "poses, random CEM (100 samples)" in three lines, side by side as long as they are few.
    labels = [bar.label.replace(", ", ",\n").replace(" (", "\n(") for bar in bars]
    slanted = len(bars) > 3 and any("\n" in label for label in labels)
    for axis in axes:
        axis.set_xlim(min(-0.5, len(bars) / 2 - 2), max(len(bars) - 0.5, len(bars) / 2 + 1))
        axis.set_xticks(
            places,
            labels,
            rotation=40 if slanted else 0,
            ha="right" if slanted else "center",
            rotation_mode="anchor" if slanted else "default",
            fontsize=7,
        )
        axis.set_xlabel(xlabel, fontsize=9)
    return _png(figure)


def paths(path: Mapping[str, Any], gap_mm: Sequence[float]) -> bytes:
    """Positions over time, executed and as each search planned them; and their distance by step.

    Args:
        path: ``executed`` ``(T, 3)`` in metres, ``planned`` by step ``(H, 3)``.
        gap_mm: by planned step.
    """
    figure, axes = _figure(4, 2, 2.3)
    executed = 100 * np.array(path["executed"])
    for axis, name, values in zip(axes, "xyz", executed.T, strict=False):
        axis.plot(np.arange(len(values)), values, color="black", lw=1.6, label="executed")
        for number, (step, planned) in enumerate(path["planned"].items()):
            steps = int(step) + 1 + np.arange(len(planned))
            ahead = 100 * np.array(planned)[:, "xyz".index(name)]
            label = "planned" if number == 0 else None
            axis.plot(steps, ahead, color="tab:red", lw=0.7, alpha=0.6, label=label)
        axis.set_ylabel(f"{name}, cm", fontsize=9)
        axis.set_xlabel("control steps", fontsize=8)
    axes[0].legend(fontsize=8)
    axes[3].plot(1 + np.arange(len(gap_mm)), gap_mm, marker="o", ms=3, color="tab:red")
    axes[3].set_ylabel("plan to executed, mm", fontsize=9)
    axes[3].set_xlabel("planned steps ahead", fontsize=8)
    axes[3].set_ylim(bottom=0)
    return _png(figure)


def moved(found: Mapping[str, Any]) -> bytes:
    """How a search changes the policy's proposal: by dimension, and one example."""
    figure, axes = _figure(4, 2, 2.3)
    change = np.array(found["change"])
    names = DIMENSIONS[: change.shape[1]]
    axes[0].bar(range(change.shape[1]), change.mean(0), color="tab:purple", width=0.6)
    axes[0].set_xticks(range(change.shape[1]), names, rotation=35, fontsize=7)
    axes[0].set_ylabel("mean change", fontsize=9)
    axes[0].set_title("mean of the searches", fontsize=9)
    example = {key: np.array(found["example"][key]) for key in ("proposed", "std", "plan")}
    steps = 1 + np.arange(len(change))
    for axis, number in zip(axes[1:], range(3), strict=False):
        mean, std = example["proposed"][:, number], example["std"][:, number]
        axis.fill_between(steps, mean - std, mean + std, alpha=0.2, lw=0, color="tab:blue")
        axis.plot(steps, mean, color="tab:blue", label="policy's proposal, ± std")
        axis.plot(steps, example["plan"][:, number], color="tab:red", label="plan after CEM")
        axis.set_ylim(-1.1, 1.1)
        axis.set_title(f"farthest search: {DIMENSIONS[number]}", fontsize=9)
        axis.set_xlabel("planned steps", fontsize=8)
    axes[1].legend(fontsize=7)
    return _png(figure)


def by_step(
    lines: Mapping[str, Sequence[float | None]], ylabel: str, one: str | None = None
) -> bytes:
    """Curves over imagined steps; those whose name begins with "keeping" are dashed.

    Args:
        one: what a value of 1 means, drawn as a line.
    """
    figure, axes = _figure(1, 1, 3.0)
    for name, values in lines.items():
        style = "--" if name.startswith("keeping") else "-"
        numbers = [np.nan if value is None else value for value in values]
        axes[0].plot(1 + np.arange(len(numbers)), numbers, style, label=name)
    if one is not None:
        axes[0].axhline(1.0, color="0.6", lw=0.8)
        axes[0].text(1, 1.02, one, fontsize=7, color="0.4")
    axes[0].set_ylim(bottom=0)
    axes[0].set_xlabel("imagined control steps")
    axes[0].set_ylabel(ylabel)
    axes[0].legend(fontsize=8)
    return _png(figure)


def _figure(count: int, columns: int, height: float) -> tuple[Figure, list[Any]]:
    """A figure with ``count`` panels in rows of ``columns``, each ``height`` inches high."""
    rows = -(-count // columns)
    figure = new_figure(WIDTH, height * rows, layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axis in axes[count:]:
        axis.set_visible(False)
    for axis in axes:
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    save_png(figure, buffer, DPI)
    return buffer.getvalue()


__all__ = ["Bar", "by_step", "loss_curves", "moved", "paths", "success_bars"]
