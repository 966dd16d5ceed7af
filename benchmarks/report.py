"""Writes what a benchmark found: records, summary, table, plots, TensorBoard runs."""

from __future__ import annotations

import json
import math
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from mbrl_agents.config import resolve_config
from mbrl_agents.data.conditions import merged
from mbrl_agents.evaluation.checks import CheckPoint, held_at, held_at_the_end
from mbrl_agents.evaluation.learning_curve import CURVE_FILE, CurvePoint, read_curve
from mbrl_agents.evaluation.rollouts import EpisodeRecord
from mbrl_agents.evaluation.statistics import summarise
from mbrl_agents.registry import METHODS

from .conditions import condition_text
from .job import write_json
from .plan import Cell
from .plots import slug, write_plots
from .runner import Outcome
from .suite import Row, Suite
from .sweeps import series_of, write_sweeps
from .table import markdown


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
    _tensorboard(suite, outcome, folder)
    return summary


def _data_summary(outcome: Outcome) -> list[dict[str, Any]]:
    found = []
    held_out = {
        need for job in outcome.plan.jobs.values() for need in job.needs if job.kind == "imagine"
    }
    for key, job in outcome.plan.jobs.items():
        if job.kind == "collect" and key in outcome.results:
            result = outcome.results[key]
            if key in held_out:
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
                record = _record(raw)
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
    if target is not None and row.check_every and trainings:
        entry["checks"] = _checks(cells, outcome, target)
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


def _checks(cells: list[Cell], outcome: Outcome, target: float) -> dict[str, Any]:
    """What was found during training, by seed, and whether it held."""
    found = {}
    for cell in cells:
        result = outcome.results[cell.training] if cell.training is not None else {}
        points = [CheckPoint(*point) for point in result.get("checks", [])]
        found[str(cell.seed)] = {
            "held_at": held_at(points, target),
            "held_at_the_end": held_at_the_end(points, target),
            "points": [[point.env_steps, round(point.mean, 2)] for point in points],
        }
    return found


def _record(raw: dict[str, Any]) -> EpisodeRecord:
    """An episode as a job wrote it down."""
    return EpisodeRecord(**{**raw, "plan_ms": tuple(raw["plan_ms"])})


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


def _label(suite: Suite, env: str) -> str:
    """The environment's name where a file of results has to tell it from others, else nothing."""
    return env if len(suite.environments) > 1 else ""


def _plots(suite: Suite, outcome: Outcome, summary: dict[str, Any], folder: Path) -> None:
    shutil.rmtree(folder / "plots", ignore_errors=True)
    for env in suite.environments:
        found = [e for e in summary["methods"] if (e["env"], e["status"]) == (env, "ok")]
        if not found:
            continue
        names = {entry["method"] for entry in found}
        curves = {
            row.name: [_curve(folder, cell) for cell in _cells(outcome, env, row)]
            for row in suite.rows(env)
            if row.name in names
        }
        write_plots(
            found,
            curves,
            folder / "plots",
            env=_label(suite, env),
            target=suite.targets.get(env),
        )
        label = _label(suite, env)
        write_sweeps(
            found,
            series_of(suite.rows(env)),
            folder / "plots",
            suffix=f"-{slug(label)}" if label else "",
        )


def _curve(folder: Path, cell: Cell) -> list[CurvePoint]:
    """The learning curve of a cell; empty where nothing learned from its own experience."""
    file = folder / "models" / str(cell.training) / CURVE_FILE
    return read_curve(file) if cell.training and file.is_file() else []


# ---------------------------------------------------------------------------------------------
# TensorBoard


def _tensorboard(suite: Suite, outcome: Outcome, folder: Path) -> None:
    """One run per cell: its training curves, and its evaluation under SB3's tags with hparams."""
    from stable_baselines3.common.logger import HParam, configure

    target = folder / "tensorboard"
    shutil.rmtree(target, ignore_errors=True)
    for cell in outcome.plan.cells:
        results = [outcome.results[k] for k in cell.evaluations if k in outcome.results]
        if len(results) < len(cell.evaluations):
            continue
        name = f"{cell.row.name}-seed{cell.seed}"
        if label := _label(suite, cell.env):
            name = f"{slug(label)}-{name}"
        if cell.task is not None:
            name += f"-task{cell.task}"
        training = outcome.results.get(cell.training, {}) if cell.training else {}
        run = target / name
        run.mkdir(parents=True)
        if cell.training is not None:
            for events in (folder / "models" / cell.training).glob("**/events.out.tfevents.*"):
                shutil.copy2(events, run / events.name)
        records = [record for result in results for record in result["records"]]
        times = np.concatenate([record["plan_ms"] for record in records])
        metrics = {
            "eval/mean_reward": float(np.mean([r["episode_return"] for r in records])),
            "eval/mean_ep_length": float(np.mean([r["steps"] for r in records])),
            "time/plan_ms_p50": float(np.percentile(times, 50)),
            "time/plan_ms_p95": float(np.percentile(times, 95)),
            "time/train_seconds": float(training.get("train_seconds", 0.0)),
        }
        if any(r["success"] is not None for r in records):
            metrics["eval/success_rate"] = float(np.mean([bool(r["success"]) for r in records]))
        for name, value in (summarise([_record(raw) for raw in records])["optimism"] or {}).items():
            metrics[f"optimism/{name}"] = float(value)
        logger = configure(str(run), ["tensorboard"])
        hparams = _hparams(cell)
        logger.record("hparams", HParam(hparams, dict.fromkeys(metrics, 0.0)), ("stdout", "log"))
        for tag, value in metrics.items():
            logger.record(tag, value)
        logger.dump(int(training.get("env_steps", 0)))
        for point in _curve(folder, cell):
            logger.record("rollout/episode_return", point.episode_return)
            logger.dump(point.env_steps)
        logger.close()


def _hparams(cell: Cell) -> dict[str, bool | str | float | int | None]:
    flat: dict[str, bool | str | float | int | None] = {
        "method": cell.row.method,
        "seed": cell.seed,
        "task": str(cell.task),
        "env": cell.env,
    }

    def flatten(prefix: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                flatten(f"{prefix}.{key}" if prefix else key, inner)
        elif isinstance(value, bool | str | int | float):
            # TensorBoard refuses what JSON cannot hold.
            flat[prefix] = value if not isinstance(value, float) or math.isfinite(value) else None
        else:
            flat[prefix] = str(value)

    flatten("", resolve_config(cell.row.method, cell.row.tested).to_dict())
    return {key: value for key, value in flat.items() if value is not None}


__all__ = ["markdown", "write_report"]
