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
from mbrl_agents.evaluation.rollouts import EpisodeRecord
from mbrl_agents.evaluation.statistics import summarise
from mbrl_agents.registry import METHODS

from .job import write_json
from .plan import Cell
from .runner import Outcome
from .suite import Row, Suite

_CLASSES = {"random": "0.6", "expert": "0.6"}


def write_report(suite: Suite, outcome: Outcome, folder: str | Path) -> dict[str, Any]:
    """Write ``episodes.jsonl``, ``summary.json``, ``summary.md``, ``plots/``, ``tensorboard/``.

    Returns:
        The summary: name, env and settings, ``methods`` (one entry per row, in the suite's
        order), ``seconds``, ``workers``.
    """
    folder = Path(folder)
    summary: dict[str, Any] = {
        "suite": suite.name,
        "env": suite.env,
        "tasks": list(suite.tasks),
        "init": suite.evaluation.init,
        "data": _data_summary(outcome),
        "workers": outcome.workers,
        "cores": os.cpu_count(),
        "seconds": round(outcome.seconds, 1),
        "methods": [],
    }
    lines: list[str] = []
    for row in suite.methods:
        cells = [cell for cell in outcome.plan.cells if cell.row == row]
        entry, records = _row_summary(suite, row, cells, outcome)
        summary["methods"].append(entry)
        lines.extend(json.dumps(record) for record in records)
    (folder / "episodes.jsonl").write_text("".join(f"{x}\n" for x in lines), encoding="utf-8")
    (folder / "summary.md").write_text(markdown(summary) + "\n", encoding="utf-8")
    write_json(folder / "summary.json", summary)
    finished = [entry for entry in summary["methods"] if entry["status"] == "ok"]
    if finished:
        _plots(finished, folder / "plots")
    _tensorboard(suite, outcome, folder)
    return summary


def markdown(summary: dict[str, Any]) -> str:
    """The table, with what has to be known to read it."""
    header = [
        "method",
        "success",
        "95 % interval",
        "reward/step (best)",
        "plan ms p50 / p95",
        "parameters",
        "train s",
        "env steps",
    ]
    rows = []
    for entry in summary["methods"]:
        if entry["status"] != "ok":
            rows.append([entry["method"], "failed", *["-"] * (len(header) - 2)])
            continue
        low, high = entry["ci95"]
        rows.append(
            [
                entry["method"],
                f"{entry['successes']}/{entry['episodes']} ({100 * entry['success_rate']:.0f} %)",
                f"{100 * low:.0f} to {100 * high:.0f} %",
                f"{entry['reward_per_step_mean']:.2f} ({entry['reward_per_step_best']:.2f})",
                f"{entry['plan_ms_p50']:.1f} / {entry['plan_ms_p95']:.1f}",
                f"{entry['parameters']:,}" if entry["parameters"] else "-",
                f"{entry['train_seconds']:.0f}" if entry["parameters"] else "-",
                f"{entry['env_steps']:,}" if entry["env_steps"] else "-",
            ]
        )
    widths = [max(len(r[i]) for r in [header, *rows]) for i in range(len(header))]

    def line(cells: list[str]) -> str:
        return "| " + " | ".join(c.ljust(w) for c, w in zip(cells, widths, strict=True)) + " |"

    tasks = ", ".join(map(str, summary["tasks"])) or "default"
    what = {"benchmark": "official initial states", "random": "random placements"}
    parts = [
        f"# {summary['suite']}: {summary['env']}, task {tasks}",
        "",
        line(header),
        "|" + "|".join("-" * (w + 2) for w in widths) + "|",
        *map(line, rows),
        "",
        f"Tested on {what[summary['init']]}; success with Wilson's interval. ",
    ]
    assets = sorted({e["assets"] for e in summary["methods"] if e.get("assets")})
    if assets:
        parts[-1] += f"Assets: {', '.join(assets)}. "
    parts[-1] += (
        "Planning time is the wall time of `predict` with one thread per process, while up to "
        f"{summary['workers']} such processes shared {summary['cores']} cores."
    )
    parts[-1] += " Calls that go on with a plan, without a search, are left out."
    for data in summary["data"]:
        parts.append(
            f"Recorded episodes: {data['episodes']} ({data['successes']} successful), "
            f"{data['steps']:,} steps, collected in {data['seconds']:.0f} s by up to "
            f"{summary['workers']} processes."
        )
    parts.append(
        "Train seconds hold a row's own environment steps (all of those of the `sb3-` rows) and "
        "not the collection of the recorded episodes."
    )
    shared: dict[str, list[str]] = {}
    for entry in summary["methods"]:
        if entry.get("training"):
            shared.setdefault(entry["training"], []).append(entry["method"])
    for names in shared.values():
        if len(names) > 1:
            parts.append(f"Trained once, and shared: {', '.join(names)}.")
    for entry in summary["methods"]:
        remarks = [*(f"`{override}`" for override in entry["overrides"]), *entry["notes"]]
        if remarks:
            parts.append(f"{entry['method']}: {'; '.join(remarks)}.")
    for entry in summary["methods"]:
        if entry["status"] != "ok":
            parts.append(f"{entry['method']} failed: {entry['error']}")
    return "\n".join(parts)


def _data_summary(outcome: Outcome) -> list[dict[str, Any]]:
    found = []
    for key, job in outcome.plan.jobs.items():
        if job.kind == "collect" and key in outcome.results:
            result = outcome.results[key]
            kept = {k: result[k] for k in ("episodes", "successes", "steps", "seconds")}
            found.append({"task": job.spec["env_kwargs"].get("task"), **kept})
    return found


def _row_summary(
    suite: Suite, row: Row, cells: list[Cell], outcome: Outcome
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A row's entry in the summary, and its lines of ``episodes.jsonl``."""
    obs = {**suite.env_kwargs, **row.env_kwargs}.get("obs")
    keys = [k for cell in cells for k in (cell.training, *cell.evaluations) if k is not None]
    errors = [outcome.failures[k] for k in keys if k in outcome.failures]
    entry: dict[str, Any] = {
        "method": row.name,
        "recipe": row.method,
        "overrides": list(row.overrides),
        "notes": _notes(row),
        "obs": obs,
        "seeds": list(suite.seeds),
        "status": "failed" if errors else "ok",
    }
    lines: list[dict[str, Any]] = []
    records: list[EpisodeRecord] = []
    for cell in cells:
        for key in cell.evaluations:
            for raw in outcome.results.get(key, {}).get("records", []):
                record = EpisodeRecord(**{**raw, "plan_ms": tuple(raw["plan_ms"])})
                records.append(record)
                line = record.to_json()
                line["episode_seed"] = line.pop("seed")
                lines.append({"method": row.name, "seed": cell.seed, "obs": obs, **line})
    if errors:
        entry["error"] = errors[0]
        return entry, lines
    trainings = [outcome.results[c.training] for c in cells if c.training is not None]
    entry.update(summarise(records))
    if len(suite.tasks) > 1 or len(suite.seeds) > 1:
        entry["per_seed"] = {
            str(seed): _rate([x["success"] for x in lines if x["seed"] == seed])
            for seed in suite.seeds
        }
    entry["parameters"] = max((_parameters(row, t["parameters"]) for t in trainings), default=0)
    entry["train_seconds"] = round(
        float(np.mean([t["train_seconds"] for t in trainings] or [0])), 1
    )
    entry["env_steps"] = round(float(np.mean([t["env_steps"] for t in trainings] or [0])))
    entry["training"] = cells[0].training
    entry["metrics"] = trainings[0]["metrics"] if trainings else {}
    return entry, lines


def _parameters(row: Row, counts: dict[str, int]) -> int:
    """Those of the components that the method uses: shared weights may have more."""
    recipe = METHODS[row.method]
    return sum(
        count
        for part, count in counts.items()
        if recipe.kind != "agent" or part not in ("world_model", "policy") or getattr(recipe, part)
    )


def _notes(row: Row) -> list[str]:
    """What has to be known to compare a row's budget with the others'."""
    recipe = METHODS[row.method]
    notes = []
    settings: Any = None
    if recipe.kind == "baseline":
        settings = resolve_config(row.method, row.overrides).baseline
    if hasattr(settings, "train_freq"):
        notes.append(
            f"gradient steps per environment steps: {settings.gradient_steps} per "
            f"{settings.train_freq}"
        )
    if recipe.kind == "baseline" and recipe.demonstrations:
        notes.append("env steps include those of the demonstrations")
    return notes


def _rate(outcomes: list[bool]) -> dict[str, Any]:
    return {"episodes": len(outcomes), "successes": sum(outcomes)}


# ---------------------------------------------------------------------------------------------
# Plots


def _plots(entries: list[dict[str, Any]], folder: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    folder.mkdir(parents=True, exist_ok=True)
    names = [entry["method"] for entry in entries]
    places = np.arange(len(names))

    # Figures without pyplot: no global state, no display.
    figure = Figure(figsize=(8, 0.5 * len(names) + 1.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    rates = np.array([100 * entry["success_rate"] for entry in entries])
    low, high = 100 * np.array([entry["ci95"] for entry in entries]).T
    colours = [_CLASSES.get(e["recipe"], "C1" if e["recipe"].startswith("sb3") else "C0")
               for e in entries]  # fmt: skip
    spread = np.clip([rates - low, high - rates], 0, None)
    axes.barh(places, rates, color=colours, xerr=spread, ecolor="0.2", capsize=3)
    axes.set(yticks=places, yticklabels=names, xlim=(0, 100), xlabel="success, % (95 % interval)")
    axes.invert_yaxis()
    figure.savefig(folder / "success.png", dpi=120)

    figure = Figure(figsize=(8, 0.5 * len(names) + 1.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.barh(places - 0.2, [e["plan_ms_p50"] for e in entries], 0.4, label="p50", color="C0")
    axes.barh(places + 0.2, [e["plan_ms_p95"] for e in entries], 0.4, label="p95", color="C2")
    axes.set(yticks=places, yticklabels=names, xscale="log", xlabel="time of one decision, ms")
    axes.axvline(50, color="0.5", linestyle=":", label="20 Hz control")
    axes.invert_yaxis()
    axes.legend()
    figure.savefig(folder / "planning_time.png", dpi=120)


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
            "eval/success_rate": float(np.mean([r["success"] for r in records])),
            "time/plan_ms_p50": float(np.percentile(times, 50)),
            "time/plan_ms_p95": float(np.percentile(times, 95)),
            "time/train_seconds": float(training.get("train_seconds", 0.0)),
        }
        logger = configure(str(run), ["tensorboard"])
        hparams = _hparams(suite, cell)
        logger.record("hparams", HParam(hparams, dict.fromkeys(metrics, 0.0)), ("stdout", "log"))
        for tag, value in metrics.items():
            logger.record(tag, value)
        logger.dump(int(training.get("env_steps", 0)))
        logger.close()


def _hparams(suite: Suite, cell: Cell) -> dict[str, bool | str | float | int | None]:
    flat: dict[str, bool | str | float | int | None] = {
        "method": cell.row.method,
        "seed": cell.seed,
        "task": str(cell.task),
        "env": suite.env,
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

    flatten("", resolve_config(cell.row.method, cell.row.overrides).to_dict())
    return {key: value for key, value in flat.items() if value is not None}


__all__ = ["markdown", "write_report"]
