"""Writes what a benchmark found: records, summary, table, plots, TensorBoard runs."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mbrl_agents.config import resolve_config
from mbrl_agents.data.conditions import merged
from mbrl_agents.evaluation.check_plots import STEPS, UPDATES
from mbrl_agents.evaluation.checks import CheckPoint, held_at, held_at_the_end
from mbrl_agents.evaluation.rollouts import EpisodeRecord
from mbrl_agents.evaluation.statistics import summarise
from mbrl_agents.registry import METHODS

from .cells import checks_of, curve_of, label_of, record_of
from .conditions import condition_text
from .job import write_json
from .plan import Cell
from .plots import slug, write_plots
from .runner import Outcome
from .searches import generations_of, write_searches
from .suite import Row, Suite
from .sweeps import series_of, write_sweeps
from .table import markdown
from .tensorboard import write_tensorboard


def write_report(suite: Suite, outcome: Outcome, folder: str | Path) -> dict[str, Any]:
    """Write ``episodes.jsonl``, ``summary.json``, ``summary.md``, ``plots/``, ``tensorboard/``.

    Returns:
        The summary: name, environments and settings, ``methods`` (one entry per environment and
        row, in the suite's order), ``seconds``, ``workers``.
    """
    folder = Path(folder)
    summary: dict[str, Any] = {
        "suite": suite.name,
        "env": suite.env or None,
        "envs": list(suite.environments),
        "targets": dict(suite.targets),
        "tasks": list(suite.tasks),
        "init": suite.evaluation.init,
        "test_env_kwargs": dict(suite.evaluation.env_kwargs),
        "data": _data_summary(outcome),
        "workers": outcome.workers,
        "cores": os.cpu_count(),
        "seconds": round(outcome.seconds, 1),
        "methods": [],
    }
    lines: list[str] = []
    for env in suite.environments:
        for row in suite.rows(env):
            cells = _cells(outcome, env, row)
            entry, records = _row_summary(suite, env, row, cells, outcome)
            summary["methods"].append(entry)
            lines.extend(json.dumps(record) for record in records)
    summary["conditions"] = merged(entry.get("conditions") for entry in summary["methods"])
    (folder / "episodes.jsonl").write_text("".join(f"{x}\n" for x in lines), encoding="utf-8")
    (folder / "summary.md").write_text(markdown(summary) + "\n", encoding="utf-8")
    write_json(folder / "summary.json", summary)
    _plots(suite, outcome, summary, folder)
    write_tensorboard(suite, outcome, folder)
    return summary


def _data_summary(outcome: Outcome) -> list[dict[str, Any]]:
    found = []
    held_out = {
        need for job in outcome.plan.jobs.values() for need in job.needs if job.kind == "imagine"
    }
    for key, job in outcome.plan.jobs.items():
        if job.kind == "collect" and key in outcome.results:
            result = outcome.results[key]
            # What another job recorded along with its own is no collection of its own.
            if key in held_out or (job.after and not result.get("recorded", True)):
                continue
            kept = {k: result[k] for k in ("episodes", "successes", "steps", "seconds")}
            where = {"env": job.spec["env_id"], "task": job.spec["env_kwargs"].get("task")}
            found.append({**where, **kept})
    return found


def _row_summary(
    suite: Suite, env: str, row: Row, cells: list[Cell], outcome: Outcome
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A row's entry in the summary, and its lines of ``episodes.jsonl``."""
    obs = {**suite.env_kwargs, **row.env_kwargs}.get("obs")
    keys = [
        key
        for cell in cells
        for key in (cell.training, *cell.evaluations, cell.imagination)
        if key is not None
    ]
    seeds = suite.seeds_of(row)
    errors = [outcome.failures[k] for k in keys if k in outcome.failures]
    entry: dict[str, Any] = {
        "env": env,
        "method": row.name,
        "recipe": row.method,
        "kind": METHODS[row.method].kind,
        "multitask": row.multitask,
        "overrides": list(row.overrides),
        "notes": _notes(row),
        "demonstrations": _demonstrations(suite, row),
        "test_env_kwargs": {**suite.evaluation.env_kwargs, **row.test_env_kwargs},
        "obs": obs,
        "seeds": list(seeds),
        "status": "failed" if errors else "ok",
    }
    lines: list[dict[str, Any]] = []
    records: dict[int, list[EpisodeRecord]] = {seed: [] for seed in seeds}
    for cell in cells:
        for key in cell.evaluations:
            for raw in outcome.results.get(key, {}).get("records", []):
                record = record_of(raw)
                records[cell.seed].append(record)
                line = record.to_json()
                line["episode_seed"] = line.pop("seed")
                lines.append(
                    {"env": env, "method": row.name, "seed": cell.seed, "obs": obs, **line}
                )
    if errors:
        entry["error"] = errors[0]
        return entry, lines
    trainings = [outcome.results[c.training] for c in cells if c.training is not None]
    entry.update(summarise([record for group in records.values() for record in group]))
    target = suite.targets.get(env)
    if target is not None:
        entry.update(target=target, target_reached=entry["return_mean"] >= target)
    if len(suite.tasks) > 1 or len(seeds) > 1:
        entry["per_seed"] = {
            str(seed): _seed_summary(group, target) for seed, group in records.items()
        }
    if row.checked and trainings:
        entry["checks"] = _checks(cells, outcome, target)
        entry["checks_count"] = "steps" if row.steps else "updates"
    entry["parameters"] = max((_parameters(row, t["parameters"]) for t in trainings), default=0)
    entry["train_seconds"] = round(
        float(np.mean([t["train_seconds"] for t in trainings] or [0])), 1
    )
    entry["train_seconds_max"] = max((t["train_seconds"] for t in trainings), default=0.0)
    entry["env_steps"] = round(float(np.mean([t["env_steps"] for t in trainings] or [0])))
    entry["updates"] = _updates(trainings)
    entry["imagination"] = _imagination(cells, outcome)
    entry["training"] = cells[0].training
    entry["metrics"] = trainings[0]["metrics"] if trainings else {}
    return entry, lines


def _updates(trainings: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Updates of a training by phase, and seconds of one; means over trainings."""
    found = {}
    for name in trainings[0].get("updates", {}) if trainings else ():
        counts, seconds = zip(*(t["updates"][name] for t in trainings), strict=True)
        if sum(counts):
            each = sum(seconds) / sum(counts)
            found[name] = {"updates": sum(counts) / len(counts), "seconds": float(f"{each:.3g}")}
    return found


def _imagination(cells: list[Cell], outcome: Outcome) -> dict[str, Any] | None:
    """Errors of imagination, see `evaluation.imagined.unexplained`; means over trainings."""
    found = [
        outcome.results[cell.imagination]["imagination"]
        for cell in cells
        if cell.imagination is not None
    ]
    if not found:
        return None
    curves = {
        name: [
            None if None in steps else round(float(np.mean(steps)), 5)
            for steps in zip(*(one[name] for one in found), strict=True)
        ]
        for name in ("per_step", "still_per_step")
    }
    means = {n: round(float(np.mean([f[n] for f in found])), 5) for n in ("mean", "still_mean")}
    return {"context": found[0]["context"], "horizon": found[0]["horizon"], **means, **curves}


def _checks(cells: list[Cell], outcome: Outcome, target: float | None) -> dict[str, Any]:
    """What was found during training, by seed, and whether it held."""
    found: dict[str, Any] = {}
    for cell in _once(cells):
        points = checks_of(cell, outcome)
        entry: dict[str, Any] = {"points": [[point.step, round(point.mean, 2)] for point in points]}
        if any(point.success_rate is not None for point in points):
            entry["success_rates"] = [point.success_rate for point in points]
        if target is not None:
            entry["held_at"] = held_at(points, target)
            entry["held_at_the_end"] = held_at_the_end(points, target)
        alone = cell.task is not None and not cell.row.multitask
        name = f"{cell.seed}, task {cell.task}" if alone else str(cell.seed)
        found[name] = entry
    return found


def _parameters(row: Row, counts: dict[str, int]) -> int:
    """Those of the components that the method uses: shared weights may have more."""
    used = METHODS[row.method].used_modules(list(counts))
    return sum(counts[part] for part in used)


def _notes(row: Row) -> list[str]:
    """What has to be known to compare a row's budget with the others'."""
    notes = METHODS[row.method].notes(resolve_config(row.method, row.overrides))
    notes = [*notes, *["one model of all tasks"] * row.multitask]
    if row.episodes is not None:
        notes.append(f"of the recorded episodes the first {row.episodes} of each task")
    if row.test_overrides:
        notes.append("in tests " + ", ".join(f"`{override}`" for override in row.test_overrides))
    if row.test_env_kwargs:
        notes.append(f"tests: {condition_text(row.test_env_kwargs)}")
    return notes


def _demonstrations(suite: Suite, row: Row) -> int | None:
    """Recorded episodes of each task that a row learns from; None where it reads none."""
    if not METHODS[row.method].demonstrations:
        return None
    return suite.data.episodes if row.episodes is None else row.episodes


def _seed_summary(records: list[EpisodeRecord], target: float | None) -> dict[str, Any]:
    """What one seed's episodes came to."""
    figures = summarise(records)
    kept = {k: figures[k] for k in ("episodes", "successes", "return_mean", "return_std")}
    if target is not None:
        kept["target_reached"] = figures["return_mean"] >= target
    return kept


def _cells(outcome: Outcome, env: str, row: Row) -> list[Cell]:
    return [cell for cell in outcome.plan.cells if (cell.env, cell.row) == (env, row)]


def _once(cells: Sequence[Cell]) -> list[Cell]:
    """A cell of each training: one of several tasks has a cell for each of them."""
    return list({cell.training: cell for cell in cells}.values())


def _plots(suite: Suite, outcome: Outcome, summary: dict[str, Any], folder: Path) -> None:
    shutil.rmtree(folder / "plots", ignore_errors=True)
    for env in suite.environments:
        found = [e for e in summary["methods"] if (e["env"], e["status"]) == (env, "ok")]
        if not found:
            continue
        names = {entry["method"] for entry in found}
        curves = {
            row.name: [curve_of(folder, cell) for cell in _once(_cells(outcome, env, row))]
            for row in suite.rows(env)
            if row.name in names
        }
        checks: dict[str, dict[str, list[list[CheckPoint]]]] = {STEPS: {}, UPDATES: {}}
        for row in suite.rows(env):
            if row.name in names and row.checked:
                curves_of_row = [
                    checks_of(cell, outcome) for cell in _once(_cells(outcome, env, row))
                ]
                checks[STEPS if row.steps else UPDATES][row.name] = curves_of_row
        write_plots(
            found,
            curves,
            folder / "plots",
            checks=checks,
            env=label_of(suite, env),
            target=suite.targets.get(env),
        )
        label = label_of(suite, env)
        suffix = f"-{slug(label)}" if label else ""
        write_sweeps(found, series_of(suite.rows(env)), folder / "plots", suffix=suffix)
        searches = {
            row.name: [
                generations_of(folder / "models" / cell.training)
                for cell in _once(_cells(outcome, env, row))
                if cell.training is not None
            ]
            for row in suite.rows(env)
            if row.name in names
        }
        write_searches(searches, folder / "plots", suffix=suffix, target=suite.targets.get(env))


__all__ = ["write_report"]
