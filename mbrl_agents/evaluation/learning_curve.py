"""Learning curves: the return of every episode of training, over environment steps and wall time.

One callback records them for every method that learns from its own experience, so that curves of
agents and of Stable-Baselines3's algorithms lie on the same axes.  What phases of a fit meet in
environments of their own `ActedCurve` records.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from stable_baselines3.common.callbacks import BaseCallback

from mbrl_agents.data.files import write_text

CURVE_FILE = "learning_curve.csv"
HEADER = "env_steps,return,length,seconds"
EARLIER_HEADER = "env_steps,return,length"
"""Of files written before wall time was recorded."""

Clock = Callable[[], float]
"""Seconds of training so far, those of earlier attempts included."""


class CurvePoint(NamedTuple):
    """One finished episode of training.

    Attributes:
        env_steps: environment steps of the whole training when it ended, its own included.
        episode_return: sum of its rewards, exploration and all.
        length: its steps.
        seconds: wall time of the training when it ended; NaN where nobody recorded it.
    """

    env_steps: int
    episode_return: float
    length: int
    seconds: float = math.nan


class LearningCurve(BaseCallback):
    """Appends a line to ``learning_curve.csv`` whenever an episode of training ends.

    Episodes are those that a `Monitor` around the environment reports in ``info["episode"]``.
    Where training goes on from a checkpoint, episodes that ended after it are dropped first: they
    are played again.  Each line is in the file before the step's checkpoint is written, so none
    is lost either.

    Args:
        folder: the run's; must exist.
        clock: the training's; by default seconds since this object was made.
    """

    def __init__(self, folder: str | Path, clock: Clock | None = None) -> None:
        super().__init__()
        self.file = Path(folder) / CURVE_FILE
        self.clock = clock or _since(time.perf_counter())

    def _on_training_start(self) -> None:
        _trim(self.file, self.num_timesteps)

    def _on_step(self) -> bool:
        ended = [info["episode"] for info in self.locals["infos"] if "episode" in info]
        if ended:
            steps, now = self.num_timesteps, self.clock()
            points = [CurvePoint(steps, float(e["r"]), int(e["l"]), now) for e in ended]
            _append(self.file, points)
        return True


class ActedCurve:
    """The same file for a fit, of phases that act in environments of their own.

    A point is the mean of the episodes between two logs.  One without new environment steps,
    imagined episodes say, is none.

    Args:
        folder, clock: see `LearningCurve`.
    """

    def __init__(self, folder: str | Path, clock: Clock | None = None) -> None:
        self.file = Path(folder) / CURVE_FILE
        self.clock = clock or _since(time.perf_counter())
        self._last: int | None = None

    def add(self, env_steps: int, episode_return: float, length: float) -> None:
        """Episodes of a mean return and length, the last of which ended at ``env_steps``."""
        if self._last is None:
            # A fit that goes on from a checkpoint plays what came after it again.
            kept = _trim(self.file, env_steps - 1)
            self._last = kept[-1].env_steps if kept else 0
        if env_steps > self._last:
            self._last = env_steps
            point = CurvePoint(env_steps, episode_return, round(length), self.clock())
            _append(self.file, [point])


def _since(began: float) -> Clock:
    return lambda: time.perf_counter() - began


def _trim(file: Path, env_steps: int) -> list[CurvePoint]:
    """Leave out of a file, made if need be, what ended after ``env_steps``; returns the rest."""
    known = read_curve(file) if file.is_file() else []
    kept = [point for point in known if point.env_steps <= env_steps]
    write_text(file, "".join(f"{line}\n" for line in (HEADER, *map(_line, kept))))
    return kept


def _append(file: Path, points: Iterable[CurvePoint]) -> None:
    with file.open("a", encoding="utf-8") as stream:
        stream.writelines(f"{_line(point)}\n" for point in points)


def read_curve(path: str | Path) -> list[CurvePoint]:
    """The episodes in a ``learning_curve.csv``, in the order in which they ended.

    A last line that a killed process wrote in part is left out.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a learning curve.
    """
    lines = Path(path).read_text(encoding="utf-8").splitlines(keepends=True)
    if not lines or lines[0].strip() not in (HEADER, EARLIER_HEADER):
        raise ValueError(f"{path} is not a learning curve: its first line is not {HEADER!r}")
    points = []
    for line in lines[1:]:
        if not line.endswith("\n"):
            break
        try:
            steps, episode_return, length, *seconds = line.split(",")
            now = float(seconds[0]) if seconds else math.nan
            points.append(CurvePoint(int(steps), float(episode_return), int(length), now))
        except ValueError as error:
            raise ValueError(f"{path} is not a learning curve: {line.strip()!r}") from error
    return points


def smooth(
    points: Iterable[CurvePoint],
    places: Iterable[float],
    window: float,
    axis: str = "env_steps",
) -> list[float]:
    """Mean return of the episodes that ended within ``window`` up to each place of an axis.

    The window looks back only, so a curve does not rise before the method improved.  Where no
    episode ended in it, the value before is kept; NaN before the first.

    Args:
        places: on the axis, ascending.
        window: on the axis.
        axis: "env_steps" or "seconds".
    """
    found = [(getattr(point, axis), point.episode_return) for point in points]
    values: list[float] = []
    for place in places:
        inside = [value for at, value in found if place - window < at <= place]
        if inside:
            values.append(sum(inside) / len(inside))
        else:
            values.append(values[-1] if values else math.nan)
    return values


def _line(point: CurvePoint) -> str:
    return f"{point.env_steps},{point.episode_return!r},{point.length},{point.seconds:.2f}"


__all__ = ["CURVE_FILE", "ActedCurve", "CurvePoint", "LearningCurve", "read_curve", "smooth"]
