"""What the jobs of a benchmark's cell found: episodes, curves, checks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mbrl_agents.evaluation.checks import CheckPoint
from mbrl_agents.evaluation.learning_curve import CURVE_FILE, CurvePoint, read_curve
from mbrl_agents.evaluation.rollouts import EpisodeRecord

from .plan import Cell
from .runner import Outcome
from .suite import Suite


def label_of(suite: Suite, env: str) -> str:
    """The environment's name where a file of results has to tell it from others, else nothing."""
    return env if len(suite.environments) > 1 else ""


def curve_of(folder: Path, cell: Cell) -> list[CurvePoint]:
    """The learning curve of a cell; empty where nothing learned from its own experience."""
    file = folder / "models" / str(cell.training) / CURVE_FILE
    return read_curve(file) if cell.training and file.is_file() else []


def checks_of(cell: Cell, outcome: Outcome) -> list[CheckPoint]:
    """The checks of a cell's training; empty where there were none."""
    result = outcome.results.get(cell.training, {}) if cell.training is not None else {}
    return [CheckPoint(*point) for point in result.get("checks", [])]


def record_of(raw: dict[str, Any]) -> EpisodeRecord:
    """An episode as a job wrote it down."""
    return EpisodeRecord(**{**raw, "plan_ms": tuple(raw["plan_ms"])})


__all__ = ["checks_of", "curve_of", "label_of", "record_of"]
