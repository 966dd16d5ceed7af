"""TensorBoard runs of a benchmark: one for each trained model, with the tests of its rows."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from mbrl_agents.config import resolve_config
from mbrl_agents.evaluation.checks import tags
from mbrl_agents.evaluation.statistics import summarise

from .cells import checks_of, curve_of, label_of, record_of
from .plan import Cell
from .plots import slug
from .runner import Outcome
from .suite import Suite


def write_tensorboard(suite: Suite, outcome: Outcome, folder: Path) -> None:
    """Write ``tensorboard/`` anew.

    A trained model has one run, ``ROW-seedS``: its training curves, its checks, and its test under
    SB3's tags with hparams.  Where several rows share a model its run is named by the row that
    trained it and has a run beneath it for the test of each, ``ROW-seedS/OTHER``.  Reference
    policies have a run for their test.

    Args:
        folder: of the benchmark.
    """
    target = folder / "tensorboard"
    shutil.rmtree(target, ignore_errors=True)
    for cells in _by_model(outcome):
        trained = _teacher(cells, outcome)
        run = target / _name(suite, trained)
        tested = [cell for cell in cells if all(k in outcome.results for k in cell.evaluations)]
        if not tested:
            continue
        run.mkdir(parents=True)
        if trained.training is not None:
            for events in (folder / "models" / trained.training).glob("**/events.out.tfevents.*"):
                shutil.copy2(events, run / events.name)
            _write_curves(run, trained, outcome, folder)
        for cell in tested:
            beneath = run if len(cells) == 1 else run / slug(cell.row.name)
            _write_test(beneath, cell, outcome)


def _by_model(outcome: Outcome) -> list[list[Cell]]:
    """Cells that share a training; each of those without one alone."""
    groups: dict[Any, list[Cell]] = {}
    for number, cell in enumerate(outcome.plan.cells):
        groups.setdefault(number if cell.training is None else cell.training, []).append(cell)
    return list(groups.values())


def _teacher(cells: list[Cell], outcome: Outcome) -> Cell:
    """The cell of the row that trained what all of them use."""
    key = cells[0].training
    if key is None:
        return cells[0]
    method = outcome.plan.jobs[key].spec["method"]
    return next((cell for cell in cells if cell.row.method == method), cells[0])


def _name(suite: Suite, cell: Cell) -> str:
    name = f"{cell.row.name}-seed{cell.seed}"
    if label := label_of(suite, cell.env):
        name = f"{slug(label)}-{name}"
    return name if cell.task is None else f"{name}-task{cell.task}"


def _write_curves(run: Path, cell: Cell, outcome: Outcome, folder: Path) -> None:
    """The returns of training episodes, and the checks in between."""
    from stable_baselines3.common.logger import configure

    curve, checks = curve_of(folder, cell), checks_of(cell, outcome)
    if not curve and not checks:
        return
    logger = configure(str(run), ["tensorboard"])
    # Updates of a fit and environment steps are not one axis.
    group = "checks" if cell.row.steps else "fit_checks"
    for point in curve:
        logger.record("rollout/episode_return", point.episode_return)
        logger.dump(point.env_steps)
    for check in checks:
        for tag, value in tags(check).items():
            logger.record(f"{group}/{tag.removeprefix('eval/')}", value)
        logger.dump(check.step)
    logger.close()


def _write_test(run: Path, cell: Cell, outcome: Outcome) -> None:
    """What a row's test found, at the environment steps it was trained for, and its settings."""
    from stable_baselines3.common.logger import HParam, configure

    results = [outcome.results[key] for key in cell.evaluations]
    training = outcome.results.get(cell.training, {}) if cell.training else {}
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
    for name, value in (summarise([record_of(raw) for raw in records])["optimism"] or {}).items():
        metrics[f"optimism/{name}"] = float(value)
    logger = configure(str(run), ["tensorboard"])
    hparams = _hparams(cell)
    logger.record("hparams", HParam(hparams, dict.fromkeys(metrics, 0.0)), ("stdout", "log"))
    for tag, value in metrics.items():
        logger.record(tag, value)
    logger.dump(int(training.get("env_steps", 0)))
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


__all__ = ["write_tensorboard"]
