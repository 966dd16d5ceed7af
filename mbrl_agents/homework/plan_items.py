"""The report's items about acting: success, planning time, plans, and cases to look at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mbrl_agents.evaluation.statistics import difference_interval
from mbrl_agents.homework import analysis, figures, plan_analysis
from mbrl_agents.homework.analysis import Finished
from mbrl_agents.homework.items import (
    Answer,
    Build,
    Item,
    Results,
    bar,
    figures_of,
    millions,
    milliseconds,
    named,
    percent,
    rate,
)

CASES = 2
"""Tests of each kind that are shown."""


def sweep(setting: str, base: str, own: int, text: str) -> Build:
    """Success and planning time over a setting of the planner."""

    def build(results: Results) -> Item | None:
        if not results.has(base):
            return None
        found = results.swept(setting, base, own)
        if len(found) < 2:
            return None
        bars = [bar(str(value), one) for value, one in found]
        said = ", ".join(f"{value}: {rate(one)}" for value, one in found)
        times = ", ".join(f"{one.summary['plan_ms_p50']:.0f}" for _, one in found)
        returns = ", ".join(f"{one.summary['return_mean']:.2f}" for _, one in found)
        overlap = max(b.low for b in bars) <= min(b.high for b in bars)
        verdict = (
            "All intervals overlap: these tests do not tell the settings apart"
            if overlap
            else "The intervals of the best and the worst do not overlap"
        )
        return Item(
            key=f"sweep-{setting}",
            title=f"Success and planning time over {text}",
            says=(
                f"Success with 95 % intervals over {text} ({said}) and the time of a search "
                f"({times} ms). {verdict}. Mean returns, which show progress without success: "
                f"{returns}. All act on the same trained model."
            ),
            experiments=named(*(one for _, one in found)),
            images={
                f"Success with 95 % intervals and planning time over {text}": figures.success_bars(
                    bars, text
                )
            },
            numbers={one.name: figures_of(one) for _, one in found},
        )

    return build


def above_zero(names: Sequence[str]) -> Build:
    """The text's "success rate > 0", method by method."""

    def build(results: Results) -> Item | None:
        chosen = [results[name] for name in names if results.has(name)]
        if not chosen:
            return None
        won = [one for one in chosen if one.summary["successes"]]
        said = "; ".join(f"{one.name} ({one.planned.label}) {rate(one)}" for one in chosen)
        return Item(
            key=f"success-{chosen[0].name}",
            title=f"Success: {'; '.join(one.planned.label for one in chosen)}",
            says=f"Tests on official initial states, with Wilson's 95 % interval: {said}.",
            experiments=named(*chosen),
            images={
                "Success with 95 % intervals; planning time, median and p95": figures.success_bars(
                    [bar(one.planned.label, one) for one in chosen]
                )
            },
            answer=Answer("Success rate should be above 0", len(won) == len(chosen), f"{said}."),
            numbers={one.name: figures_of(one) for one in chosen},
        )

    return build


def guided_against_random(guided: str, random: str, alone: str) -> Build:
    """Part 2's table, and its expectation that 50 guided samples do as well as 100 random."""

    def build(results: Results) -> Item | None:
        if not results.has(guided, random):
            return None
        chosen = [results[name] for name in (random, guided, alone) if results.has(name)]
        a, b = results[guided].summary, results[random].summary
        low, high = difference_interval(
            a["successes"], a["episodes"], b["successes"], b["episodes"]
        )
        times = a["plan_ms_p50"], b["plan_ms_p50"]
        measured = (
            f"{rate(results[guided])} with 50 guided samples, {rate(results[random])} with 100 "
            f"random ones: a difference of {100 * (a['success_rate'] - b['success_rate']):+.0f} "
            f"points [{100 * low:+.0f}, {100 * high:+.0f}]; a search takes {times[0]:.0f} ms "
            f"against {times[1]:.0f} ms."
        )
        return Item(
            key=f"guided-{guided}",
            title="50 guided samples against 100 random ones",
            says=f"The same tests: {measured}",
            experiments=named(*chosen),
            images={
                "Success with 95 % intervals; planning time, median and p95": figures.success_bars(
                    [bar(one.planned.label, one) for one in chosen]
                )
            },
            header=["method", "success [95 %]", "planning ms, median (p95)", "mean return"],
            rows=[
                [one.planned.label, rate(one), milliseconds(one),
                 f"{one.summary['return_mean']:.2f}"]
                for one in chosen
            ],
            answer=Answer(
                "Policy-guided CEM with 50 samples does at least as well as random CEM with 100",
                # Two methods that never succeed are equal, which says nothing.
                a["success_rate"] >= b["success_rate"] if a["successes"] + b["successes"] else None,
                measured,
            ),
            numbers={one.name: figures_of(one) for one in chosen},
        )  # fmt: skip

    return build


def planned_paths(name: str) -> Build:
    """Where plans were to lead, and where the gripper went."""

    def build(results: Results) -> Item | None:
        if not results.has(name):
            return None
        finished = results[name]
        found = plan_analysis.plans(finished)
        if found["path"] is None or not found["gap_mm"]:
            return None
        gap, replan = found["gap_mm"], _replan(finished)
        outcome = "a success" if found["path"]["success"] else "a failure"
        return Item(
            key=f"paths-{name}",
            title=f"Planned against executed: {finished.planned.label}",
            says=(
                f"Gripper positions in test {found['episodes'][0]} ({outcome}), as executed and as "
                f"searches planned them. A search follows after {replan} planned "
                f"step{'s' * (replan > 1)}; over tests {_listed(found['episodes'])} the plan is "
                f"{gap[min(replan, len(gap)) - 1]:.1f} mm off by then and {gap[-1]:.1f} mm after "
                f"{len(gap)} steps."
            ),
            experiments=named(finished),
            images={"Gripper positions, planned and executed": figures.paths(found["path"], gap)},
            numbers={"gap_mm": gap, "episodes": found["episodes"]},
        )

    return build


def _replan(finished: Finished) -> int:
    from omegaconf import OmegaConf

    config: Any = OmegaConf.load(finished.folder / "config.yaml")
    return int(config.planner.replan)


def proposal_moved(name: str) -> Build:
    """How the search changes what the policy proposes."""

    def build(results: Results) -> Item | None:
        if not results.has(name):
            return None
        finished = results[name]
        found = plan_analysis.plans(finished)
        moved = found["moved"]
        if moved is None:
            return None
        change = float(np.mean(moved["change"]))
        gain = ""
        if moved["gain"] is not None:
            gain = f"; those plans promise {moved['gain']:.2f} more, in units of the objective"
        rest = ""
        if moved["replaced"] < 1:
            rest = " In the others no plan promised enough more, and the proposal was executed."
        return Item(
            key=f"moved-{name}",
            title=f"How CEM moves the policy's proposal: {finished.planned.label}",
            says=(
                f"In tests {_listed(found['episodes'])} the search replaced the policy's plan in "
                f"{percent(moved['replaced'])} of the {moved['searches']} searches looked at, by "
                f"{change:.3f} in normalised actions (without the gripper) on their mean"
                f"{gain}.{rest}"
            ),
            experiments=named(finished),
            images={"Change of the proposal by dimension, and one search": figures.moved(moved)},
            numbers={key: value for key, value in moved.items() if key != "example"},
        )

    return build


def saved_and_lost(alone: str, searched: str) -> Build:
    """Tests that the search saves and loses, with frames of both."""

    def build(results: Results) -> Item | None:
        if not results.has(alone, searched):
            return None
        a, b = results[alone], results[searched]
        found = analysis.compared(a, b)
        images = {}
        for kind in ("saved", "lost"):
            for state in found[kind][:CASES]:
                for one in (a, b):
                    record = next(e for e in one.episodes if e["init_state"] == state)
                    end = "success" if record["success"] else "failure"
                    text = f"Initial state {state}, {one.planned.label}: {end}"
                    images[f"{text} after {record['steps']} steps ({kind})"] = analysis.frames(
                        one, state
                    ).read_bytes()
        counts = ", ".join(f"{kind} {_listed(states)}" for kind, states in found.items())
        none = "" if images else " There is none of either kind to show."
        return Item(
            key=f"cases-{searched}",
            title="Cases that the planner saves and loses",
            says=(
                f"The same official initial states with the policy alone and with CEM on top: "
                f"{counts}. Saved are those that the search alone solves, lost those that the "
                f"policy alone solves.{none}"
            ),
            experiments=named(a, b),
            images=images,
            numbers=found,
        )

    return build


def failure(name: str) -> Build:
    """A failed test with frames, and what the model promised in it."""

    def build(results: Results) -> Item | None:
        if not results.has(name):
            return None
        finished = results[name]
        failed = [e for e in finished.episodes if not e["success"]]
        if not failed:
            return None
        record = failed[0]
        optimism = record["optimism"] or {}
        promised = ""
        if "progress" in optimism:
            promised = (
                f" Over {optimism['horizon']:.0f} steps of what it executed, the model promised "
                f"{optimism['progress']:+.1f} control steps of progress beyond what came of it: "
                "above 0 it promised too much."
            )
        return Item(
            key=f"failure-{name}",
            title=f"A failure: {finished.planned.label}",
            says=(
                f"Initial state {record['init_state']}, {record['steps']} steps, return "
                f"{record['return']:.2f}.{promised}"
            ),
            experiments=named(finished),
            images={
                f"Frames of initial state {record['init_state']}": analysis.frames(
                    finished, record["init_state"]
                ).read_bytes()
            },
            numbers={"optimism": optimism, "init_state": record["init_state"]},
        )

    return build


def variations(bases: Sequence[str], key: str, title: str, part: int) -> Build:
    """Ablations, or other seeds and environments, each beside what it varies."""

    def build(results: Results) -> Item | None:
        rows, shown, sentences = [], [], []
        for base in (name for name in bases if results.has(name)):
            others = [one for one in results.variations(base) if one.planned.part == part]
            others = [one for one in others if _robustness(one) == (key == "robustness")]
            if not others:
                continue
            own = results[base]
            for one in (own, *others):
                label = one.planned.label if one is not own else f"{own.planned.label}, as it is"
                rows.append([one.name, label, rate(one), milliseconds(one),
                             f"{one.summary['return_mean']:.2f}"])  # fmt: skip
                shown.append(one)
            sentences += [_difference(one, own) for one in others]
        if not rows:
            return None
        return Item(
            key=f"{key}-{part}",
            title=title,
            says="; ".join(sentences) + ".",
            experiments=named(*shown),
            header=["experiment", "what", "success [95 %]", "planning ms (p95)", "mean return"],
            rows=rows,
            numbers={one.name: figures_of(one) for one in shown},
        )

    return build


def _robustness(finished: Finished) -> bool:
    return bool(finished.env or finished.planned.seed)


def _difference(one: Finished, base: Finished) -> str:
    a, b = one.summary, base.summary
    low, high = difference_interval(a["successes"], a["episodes"], b["successes"], b["episodes"])
    told = "no difference that these tests can show" if low <= 0 <= high else "a difference"
    return (
        f"{one.planned.label} ({one.name}): "
        f"{100 * (a['success_rate'] - b['success_rate']):+.0f} points of success "
        f"[{100 * low:+.0f}, {100 * high:+.0f}] against {base.name}, {told}"
    )


def methods_table(names: Sequence[str]) -> Build:
    """Part 4's table of the four methods, policies alone beside them."""

    def build(results: Results) -> Item | None:
        chosen = [results[name] for name in names if results.has(name)]
        if len(chosen) < 2:
            return None
        rows = []
        for one in chosen:
            info = one.info
            rows.append([
                one.planned.label, rate(one), milliseconds(one),
                millions(sum(info.parameters.values())), f"{info.train_seconds / 60:.1f} min",
            ])  # fmt: skip
        best = max(chosen, key=lambda one: one.summary["success_rate"])
        quick = min(chosen, key=lambda one: one.summary["plan_ms_p50"])
        same = [
            one.planned.label
            for one in chosen
            if one is not best and one.summary["ci95"][1] >= best.summary["ci95"][0]
        ]
        rest = f", whose interval overlaps with those of {'; '.join(same)}" if same else ""
        return Item(
            key="methods",
            title="All methods",
            says=(
                f"Most successes: {best.planned.label} ({rate(best)}){rest}. Shortest planning: "
                f"{quick.planned.label} ({quick.summary['plan_ms_p50']:.1f} ms)."
            ),
            experiments=named(*chosen),
            images={
                "Success with 95 % intervals; planning time, median and p95": figures.success_bars(
                    [bar(one.planned.label, one) for one in chosen]
                )
            },
            header=["method", "success [95 %]", "planning ms, median (p95)", "parameters",
                    "training"],
            rows=rows,
            numbers={
                one.name: {
                    **figures_of(one),
                    "parameters": one.info.parameters,
                    "train_seconds": one.info.train_seconds,
                }
                for one in chosen
            },
        )  # fmt: skip

    return build


def _listed(states: Sequence[int | None]) -> str:
    return ", ".join(map(str, states)) if states else "none"


__all__ = [
    "above_zero",
    "failure",
    "guided_against_random",
    "methods_table",
    "planned_paths",
    "proposal_moved",
    "saved_and_lost",
    "sweep",
    "variations",
]
