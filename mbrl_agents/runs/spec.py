"""What decides a run, and what a finished one tells about itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mbrl_agents.data.files import write_text

RUN_FILE = "run.json"
BASELINE_FILE = "baseline.safetensors"
PICKLED_FILE = "model.zip"
"""What earlier versions wrote of a baseline: Stable-Baselines3's zip, which runs pickled code."""


@dataclass(frozen=True)
class RunSpec:
    """What decides a run.

    Attributes:
        method: name from the registry.
        env_id, env_kwargs: of ``gym.make``.
        overrides: dotted, such as "planner.horizon=10".
        seed: of weights, batches and own experience.
        data: episode folder to learn from, several folders, or None.
        steps: environment steps of own experience; 0 learns from ``data`` alone.
        limit: use only the first so many episodes of ``data``, of each task where ``env_kwargs``
            leave it to each reset (``task`` None or a list).
        data_episodes: how many of ``data`` the run uses; `train_run` counts them.
        check_every: environment steps between checks, see `mbrl_agents.evaluation.checks`, or
            updates where ``steps`` is 0; 0 for none.
        check_episodes: episodes of each check.
        start: folder of the run whose weights this one goes on from; None for fresh weights.
    """

    method: str
    env_id: str
    env_kwargs: Mapping[str, Any] = field(default_factory=dict)
    overrides: tuple[str, ...] = ()
    seed: int = 0
    data: str | tuple[str, ...] | None = None
    steps: int = 0
    limit: int | None = None
    data_episodes: int | None = None
    check_every: int = 0
    check_episodes: int = 100
    start: str | None = None

    def to_json(self) -> dict[str, Any]:
        return json.loads(json.dumps({**asdict(self), "env_kwargs": dict(self.env_kwargs)}))

    @property
    def folders(self) -> tuple[str, ...]:
        """The episode folders of ``data``; none where it is None."""
        if self.data is None:
            return ()
        return (self.data,) if isinstance(self.data, str) else tuple(self.data)


@dataclass(frozen=True)
class RunInfo:
    """What a finished run tells about itself; stored as ``run.json``.

    Attributes:
        parameters: trainable ones by component.
        train_seconds: wall time of learning, all its own environment steps included, and those of
            interrupted attempts that it went on from.
        env_steps: environment steps learned from: those of the data and its own, as many as were
            really taken.  Both count those of the run that it started from.
        metrics: the last metrics of training by name.
        algorithm: Stable-Baselines3's class of a baseline.
        updates: by phase of training how many there were, and their seconds; of a baseline the
            gradient steps of its policy.  Empty in runs of earlier versions.
        conditions: of the environment, see `mbrl_agents.data.conditions`; None where it tells none.
    """

    spec: RunSpec
    parameters: dict[str, int]
    train_seconds: float
    env_steps: int
    metrics: dict[str, float] = field(default_factory=dict)
    algorithm: str = ""
    updates: dict[str, tuple[int, float]] = field(default_factory=dict)
    conditions: dict[str, Any] | None = None

    def write(self, folder: Path) -> None:
        text = json.dumps({**asdict(self), "spec": self.spec.to_json()}, indent=2, sort_keys=True)
        write_text(folder / RUN_FILE, text + "\n")

    @staticmethod
    def read(folder: str | Path) -> RunInfo:
        """The info of a finished run.

        Raises:
            FileNotFoundError: there is none; the message says whether the folder exists.
            ValueError: it is damaged, or of another version.
        """
        path = Path(folder) / RUN_FILE
        if not path.is_file():
            what = "is not a finished run" if Path(folder).is_dir() else "does not exist"
            raise FileNotFoundError(f"{folder} {what}: no {RUN_FILE}; `mbrl train` writes it")
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path} is damaged: {error}") from error
        try:
            spec = stored.pop("spec")
            spec["overrides"] = tuple(spec["overrides"])
            if isinstance(spec["data"], list):
                spec["data"] = tuple(spec["data"])
            return RunInfo(spec=RunSpec(**spec), **stored)
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(
                f"{path} is not what this version of mbrl_agents writes ({error}): another version "
                "wrote it, which may read it too; else train again"
            ) from error


def difference(found: RunSpec, asked: RunSpec) -> str:
    """What sets another run apart, in words; empty for the same run."""
    a, b = found.to_json(), asked.to_json()
    if None in (a["data_episodes"], b["data_episodes"]):  # not counted, or nothing left to count
        a["data_episodes"] = b["data_episodes"] = None
    return ", ".join(f"{k}: {a[k]!r}, not {b[k]!r}" for k in a if a[k] != b[k])


__all__ = ["BASELINE_FILE", "PICKLED_FILE", "RUN_FILE", "RunInfo", "RunSpec", "difference"]
