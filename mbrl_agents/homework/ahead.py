"""Trains several experiments at once, before each is tested.

A training takes one thread and a test all processes: with two of them the trainings of the whole
homework take half of the time that they take one after the other.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mbrl_agents.data.parallel import EnvCache, ordered_map
from mbrl_agents.homework import experiment
from mbrl_agents.homework.translation import Experiment

Tell = Callable[[str], None]

LINES = 5
"""That each phase of a training prints."""


@dataclass(frozen=True)
class _Training:
    experiment: Experiment
    data: Path
    fresh: bool
    lines: bool


def train_ahead(
    experiments: Sequence[Experiment],
    *,
    workers: int = 1,
    fresh: bool = False,
    tell: Tell | None = None,
) -> set[str]:
    """Train, several at a time, those that are not finished and train something.

    Those of images come first, which take longest.  Where only one is left, or one process,
    nothing is done: a training in this process shows its progress better.

    Args:
        experiments: of which each has a folder of its own.
        workers: processes.
        fresh: train finished ones again.
        tell: told of recordings and of finished trainings; each process prints its losses then.

    Returns:
        ``exp_name`` of what was trained.

    Raises:
        ValueError: a folder holds another experiment.
    """
    todo = [
        one
        for one in experiments
        if not (one.load_policy or one.load_world_model)
        and (fresh or experiment.finished(one) is None)
    ]
    if workers == 1 or len(todo) < 2:
        return set()
    todo.sort(key=lambda one: one.obs != "image")
    jobs = [
        _Training(one, experiment.recorded(one, workers=workers, tell=tell), fresh, bool(tell))
        for one in todo
    ]
    say = tell or (lambda line: None)
    say(f"training {len(jobs)} experiments, {min(workers, len(jobs))} at a time")
    for name in ordered_map(_train, jobs, workers=workers):
        say(f"trained {name}")
    return {one.name for one in todo}


def _train(cache: EnvCache, job: _Training) -> str:
    name = job.experiment.name
    progress = _Lines(name) if job.lines else None
    experiment.train(job.experiment, job.data, fresh=job.fresh, progress=progress)
    return name


@dataclass
class _Lines:
    """Prints a line where another share of ``LINES`` of a phase is done."""

    name: str
    shown: dict[str, int] = field(default_factory=dict)

    def __call__(self, phase: str, done: int, total: int, metrics: Mapping[str, float]) -> None:
        loss = metrics.get("held_out/loss", metrics.get("train/loss"))
        share = LINES * done // total
        if loss is not None and share > self.shown.get(phase, 0):
            self.shown[phase] = share
            # From a process of its own, which has no way to whoever is told of the rest.
            sys.stdout.write(f"    {self.name}: {phase} {done}/{total}, loss {loss:.4g}\n")
            sys.stdout.flush()


__all__ = ["train_ahead"]
