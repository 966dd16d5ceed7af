"""Success at equal planning time: the search around a policy beside the search from nothing.

The rows of ``suites/budget.yaml`` are points of a curve, success over milliseconds.  Time is the
mean per control step: what all searches of a row's episodes took, over all their control steps,
so that a search whose plan is executed for some steps is counted once for all of them.  Steps
that go on with a plan are not timed and count nothing, in favour of the search that replans
seldom.  How long one search takes, which is what a control step has to wait for, is kept beside it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from mbrl_agents.benchmarks.runner import Event, Outcome, run_suite
from mbrl_agents.benchmarks.speed.rows import SpeedRow, Unavailable, machine
from mbrl_agents.benchmarks.suite import Suite
from mbrl_agents.benchmarks.suite_files import load_suite
from mbrl_agents.config import resolve_config
from mbrl_agents.data.files import atomic, write_text
from mbrl_agents.evaluation.figures import new_figure, save_png
from mbrl_agents.evaluation.rollouts import EpisodeRecord
from mbrl_agents.evaluation.statistics import summarise
from mbrl_agents.registry import agent_method

NAME, SUITE, FOLDER = "success_ms", "budget", "success"
"""The row, the suite behind it, and the benchmark's folder inside that of the speeds."""

GUIDED, RANDOM = "policy-guided-cem", "cem"
"""Planners of the registry: ours and the reference."""

CONTROL_MS = 50.0
"""A control step of 20 Hz."""

_NAMES = {GUIDED: "policy-guided CEM", RANDOM: "random CEM"}
_DPI = 120


@dataclass(frozen=True)
class Point:
    """A search with one budget.

    Attributes:
        label: the row of the suite.
        planner: name in the registry.
        samples, iterations: candidates of a refit, and refits.
        replan: control steps between searches.
        ms_p50, ms_p95: milliseconds of one search, percentiles over all searches.
        ms_per_step: milliseconds of all searches over all control steps.
        successes, episodes, success_rate: of the test.
        ci95: Wilson's interval of the rate.
    """

    label: str
    planner: str
    samples: int
    iterations: int
    replan: int
    ms_p50: float
    ms_p95: float
    ms_per_step: float
    successes: int
    episodes: int
    success_rate: float
    ci95: tuple[float, float]


def rows(
    folder: str | Path,
    *,
    workers: int = 2,
    fresh: bool = False,
    on_event: Callable[[Event], None] | None = None,
) -> dict[str, Callable[[str], SpeedRow]]:
    """What measures each row, by its id, which it is called with.

    Args:
        folder: of the speeds; the suite runs in ``success/`` inside it, where
            ``mbrl bench budget --out`` finds its jobs too.
        workers, fresh, on_event: as for `mbrl_agents.benchmarks.runner.run_suite`.
    """

    def success(name: str) -> SpeedRow:
        suite = load_suite(SUITE)
        return measure(suite, folder, workers=workers, fresh=fresh, on_event=on_event)

    return {NAME: success}


def measure(
    suite: Suite,
    folder: str | Path,
    *,
    workers: int = 2,
    fresh: bool = False,
    on_event: Callable[[Event], None] | None = None,
) -> SpeedRow:
    """Run what is missing of ``suite`` and write ``success_ms.json`` and ``success_ms.png``.

    Args:
        suite: rows with the planners `GUIDED` and `RANDOM`.
        folder: of both files; jobs are in ``success/`` inside it and found again.
        workers, fresh, on_event: as for `mbrl_agents.benchmarks.runner.run_suite`.

    Returns:
        The row; without figures and files, but with the reason, where a job failed or nothing
        can be compared.
    """
    folder = Path(folder)
    outcome = run_suite(suite, folder / FOLDER, workers=workers, fresh=fresh, on_event=on_event)
    try:
        found = points(outcome)
        row = compared(found)
    except Unavailable as reason:
        return SpeedRow(NAME, None, None, "%", None, 0, str(reason))
    content = {
        "machine": machine(),
        "workers": outcome.workers,
        "row": asdict(row),
        "points": [asdict(point) for point in found],
        "suite": suite.to_dict(),
    }
    write_text(folder / f"{NAME}.json", json.dumps(content, indent=2) + "\n")
    with atomic(folder / f"{NAME}.png") as file:
        save_png(draw(found), file, _DPI)
    return row


def points(outcome: Outcome) -> list[Point]:
    """The rows of a finished suite, in its order; all tasks and seeds of a row are one point.

    Raises:
        Unavailable: a job failed, or the environment knows no success.
    """
    if outcome.failures:
        reason = next(iter(outcome.failures.values()))
        raise Unavailable(f"{len(outcome.failures)} jobs failed, the first with: {reason}")
    records: dict[str, list[EpisodeRecord]] = {}
    methods = {}
    for cell in outcome.plan.cells:
        methods[cell.row.name] = cell.row
        for key in cell.evaluations:
            records.setdefault(cell.row.name, []).extend(
                EpisodeRecord(**{**raw, "plan_ms": tuple(raw["plan_ms"])})
                for raw in outcome.results[key]["records"]
            )
    found = []
    for name, row in methods.items():
        figures = summarise(records[name])
        if figures["successes"] is None:
            raise Unavailable("the environment knows no success")
        planner = resolve_config(row.method, row.overrides).planner
        time = sum(sum(record.plan_ms) for record in records[name])
        low, high = figures["ci95"]
        found.append(
            Point(
                label=name,
                planner=agent_method(row.method).planner,
                samples=planner.samples,
                iterations=planner.iterations,
                replan=planner.replan,
                ms_p50=figures["plan_ms_p50"],
                ms_p95=figures["plan_ms_p95"],
                ms_per_step=round(time / sum(record.steps for record in records[name]), 3),
                successes=figures["successes"],
                episodes=figures["episodes"],
                success_rate=figures["success_rate"],
                ci95=(low, high),
            )
        )
    return found


def equal_time(found: Sequence[Point]) -> tuple[Point, Point, float]:
    """The guided search that takes least time, the best random one of as much, and that time.

    Times are milliseconds per control step.  Random search may take as long as the guided one, and
    at least as long as its own cheapest point: where even that takes longer, it is the reference.
    Of all points within that time the most successful is taken, the cheapest of equals.

    Raises:
        Unavailable: one of the searches has no point.
    """
    guided, random = (_of(found, planner) for planner in (GUIDED, RANDOM))
    if not guided or not random:
        raise Unavailable(f"no point of {_NAMES[RANDOM if guided else GUIDED]}")
    limit = max(guided[0].ms_per_step, random[0].ms_per_step)
    within = [point for point in random if point.ms_per_step <= limit]
    return guided[0], max(within, key=lambda point: point.success_rate), limit


def compared(found: Sequence[Point]) -> SpeedRow:
    """The success rates of `equal_time` in per cent; no ratio where random search has none.

    Raises:
        Unavailable: one of the searches has no point.
    """
    ours, reference, limit = equal_time(found)
    note = (
        f"{_described(ours)}, against the best random search within {limit:.1f} ms, "
        f"{_described(reference)}; {ours.episodes} episodes each"
    )
    ratio = None
    if reference.successes:
        ratio = ours.success_rate / reference.success_rate
    else:
        note += "; no ratio, for the reference never succeeds"
    rates = 100 * ours.success_rate, 100 * reference.success_rate
    return SpeedRow(NAME, *rates, "%", ratio, ours.episodes, note)


def draw(found: Sequence[Point]) -> Figure:
    """Success over milliseconds per control step, one line per search."""
    figure = new_figure(8, 4.8, layout="constrained")
    axes = figure.subplots()
    for planner, colour in ((GUIDED, "C0"), (RANDOM, "C1")):
        line = _of(found, planner)
        if not line:
            continue
        times = [point.ms_per_step for point in line]
        rates = [100 * point.success_rate for point in line]
        # An interval may end a rounding error within the rate.
        below = [max(0.0, r - 100 * p.ci95[0]) for r, p in zip(rates, line, strict=True)]
        above = [max(0.0, 100 * p.ci95[1] - r) for r, p in zip(rates, line, strict=True)]
        axes.errorbar(
            times,
            rates,
            yerr=(below, above),
            color=colour,
            marker="o",
            capsize=3,
            label=f"{_NAMES[planner]}, {line[0].samples} samples",
        )
        for point, rate in zip(line, rates, strict=True):
            axes.annotate(
                f"x{point.iterations}\n{point.ms_p50:.0f} ms",
                (point.ms_per_step, rate),
                xytext=(5, -4),
                textcoords="offset points",
                va="top",
                color=colour,
                fontsize="small",
            )
    axes.axvline(CONTROL_MS, color="0.5", linestyle=":", label="control step of 20 Hz")
    axes.set(
        xscale="log",
        xmargin=0.1,
        ylim=(-12, 103),
        xlabel="planning time per control step, mean, ms\n"
        "(at the points: refits, and the median time of one search)",
        ylabel="success, % (95 % interval)",
    )
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.legend(loc="best", fontsize="small")
    return figure


def _of(found: Sequence[Point], planner: str) -> list[Point]:
    """The points of a planner, the cheapest first."""
    line = [point for point in found if point.planner == planner]
    return sorted(line, key=lambda point: point.ms_per_step)


def _described(point: Point) -> str:
    low, high = point.ci95
    return (
        f"{point.label} ({point.ms_per_step:.1f} ms a control step, {point.ms_p50:.1f} ms a "
        f"search, 95 % interval {100 * low:.0f} to {100 * high:.0f} %)"
    )
