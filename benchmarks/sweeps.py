"""Plots of rows that differ in one thing: the number of demonstrations, or the test environment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator, ScalarFormatter

from mbrl_agents.evaluation.figures import new_figure, save_png

from .conditions import condition_text
from .suite import Row, digest

_DPI = 120
Entry = Mapping[str, Any]


def write_sweeps(
    entries: Sequence[Entry], series: Mapping[str, str], folder: Path, *, suffix: str = ""
) -> None:
    """Write ``demonstrations.png`` and ``disturbances.png`` where rows differ in these.

    Both show success with Wilson's 95 % interval, one colour per method.

    Args:
        entries: finished rows of one environment.
        series: by row's name, see `series_of`.
        folder: exists.
        suffix: of the files' names.
    """
    known = [entry for entry in entries if entry["successes"] is not None]
    found = _grouped(known, series)
    learned = {name: of_name for name, of_name in found.items() if _counts(of_name)}
    if any(len(set(_counts(group))) > 1 for group in learned.values()):
        references = [e for e in known if e["kind"] == "reference" and not e["test_env_kwargs"]]
        figure = _demonstrations(learned, references)
        save_png(figure, folder / f"demonstrations{suffix}.png", _DPI)
    found = _grouped(known, series, by_demonstrations=True)
    if any(len({_condition(e) for e in group}) > 1 for group in found.values()):
        save_png(_disturbances(found), folder / f"disturbances{suffix}.png", _DPI)


def series_of(rows: Iterable[Row]) -> dict[str, str]:
    """Which rows are one method with different demonstrations or tests: by name, the series' name.

    That is the method's, or of several series of one method the name of each one's first row.
    """
    groups: dict[str, list[Row]] = {}
    for row in rows:
        same = replace(row, label="", envs=(), episodes=None, test_env_kwargs={})
        groups.setdefault(digest(asdict(same)), []).append(row)
    methods = [group[0].method for group in groups.values()]
    names = {}
    for group in groups.values():
        alone = methods.count(group[0].method) == 1
        for row in group:
            names[row.name] = row.method if alone else group[0].name
    return names


def _condition(entry: Entry) -> str:
    return condition_text(entry["test_env_kwargs"])


def _counts(entries: Iterable[Entry]) -> list[int]:
    """Demonstrations per task, of rows that learn from some."""
    return [e["demonstrations"] for e in entries if e["demonstrations"] is not None]


def _grouped(
    entries: Sequence[Entry], series: Mapping[str, str], by_demonstrations: bool = False
) -> dict[str, list[Entry]]:
    """Entries that belong together; the other thing that differs among rows becomes part of the
    group's name where it does differ."""
    several = len({_condition(e) for e in entries}) > 1
    sizes = len(set(_counts(entries))) > 1
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        name = series[entry["method"]]
        if by_demonstrations and sizes and entry["demonstrations"] is not None:
            name += f", {entry['demonstrations']} demonstrations"
        elif not by_demonstrations and several:
            name += f", {_condition(entry)}"
        groups.setdefault(name, []).append(entry)
    return groups


def _success(entries: Sequence[Entry]) -> tuple[np.ndarray, np.ndarray]:
    """``(N,)`` rates in per cent and ``(2, N)`` lengths of the intervals below and above."""
    rates = 100 * np.array([entry["success_rate"] for entry in entries])
    low, high = 100 * np.array([entry["ci95"] for entry in entries]).T
    return rates, np.clip([rates - low, high - rates], 0, None)


def _figure() -> tuple[Figure, Any]:
    figure = new_figure(8, 4.5, layout="constrained")
    axes = figure.subplots()
    axes.set(ylim=(-2, 102), ylabel="success, % (95 % interval)")
    axes.grid(axis="y", alpha=0.3)
    return figure, axes


def _demonstrations(groups: Mapping[str, list[Entry]], references: Sequence[Entry]) -> Figure:
    figure, axes = _figure()
    axes.set_xscale("log")
    for number, (name, group) in enumerate(groups.items()):
        entries = sorted(group, key=lambda entry: entry["demonstrations"])
        rates, spread = _success(entries)
        # A little apart, so that intervals at the same number are seen.
        places = np.array(_counts(entries)) * 1.03 ** (number - (len(groups) - 1) / 2)
        axes.errorbar(places, rates, yerr=spread, marker="o", capsize=3, label=name)
    for entry, style in zip(references, ("--", "-."), strict=False):
        rate = 100 * entry["success_rate"]
        axes.axhline(rate, color="0.5", linestyle=style, label=entry["method"])
    counts = sorted({count for group in groups.values() for count in _counts(group)})
    axes.set(xticks=counts, xlabel="demonstrations per task")
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_locator(NullLocator())
    axes.legend(fontsize="small")
    return figure


def _disturbances(groups: Mapping[str, list[Entry]]) -> Figure:
    figure, axes = _figure()
    conditions = list(dict.fromkeys(_condition(e) for group in groups.values() for e in group))
    width = 0.8 / len(groups)
    for number, (name, group) in enumerate(groups.items()):
        rates, spread = _success(group)
        places = np.array([conditions.index(_condition(entry)) for entry in group])
        places = places + width * (number - (len(groups) - 1) / 2)
        axes.bar(places, rates, 0.9 * width, yerr=spread, ecolor="0.2", capsize=2, label=name)
    axes.set(xticks=np.arange(len(conditions)), xticklabels=conditions)
    # Bars reach from end to end, so that inside a legend would hide some.
    figure.legend(loc="outside upper center", ncols=2, fontsize="small")
    return figure


__all__ = ["series_of", "write_sweeps"]
