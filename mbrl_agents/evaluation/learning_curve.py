"""Learning curves: the return of every episode of training, over the environment steps taken.

One callback records them for every method that learns from its own experience, so that curves of
agents and of Stable-Baselines3's algorithms lie on the same axis.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from stable_baselines3.common.callbacks import BaseCallback

from mbrl_agents.data.files import write_text

CURVE_FILE = "learning_curve.csv"
HEADER = "env_steps,return,length"


class CurvePoint(NamedTuple):
    """One finished episode of training.

    Attributes:
        env_steps: environment steps of the whole training when it ended, its own included.
        episode_return: sum of its rewards, exploration and all.
        length: its steps.
    """

    env_steps: int
    episode_return: float
    length: int


class LearningCurve(BaseCallback):
    """Appends a line to ``learning_curve.csv`` whenever an episode of training ends.

    Episodes are those that a `Monitor` around the environment reports in ``info["episode"]``.
    Where training goes on from a checkpoint, episodes that ended after it are dropped first: they
    are played again.  Each line is in the file before the step's checkpoint is written, so none
    is lost either.

    Args:
        folder: the run's; must exist.
    """

    def __init__(self, folder: str | Path) -> None:
        super().__init__()
        self.file = Path(folder) / CURVE_FILE

    def _on_training_start(self) -> None:
        known = read_curve(self.file) if self.file.is_file() else []
        kept = [point for point in known if point.env_steps <= self.num_timesteps]
        write_text(self.file, "".join(f"{line}\n" for line in (HEADER, *map(_line, kept))))

    def _on_step(self) -> bool:
        ended = [info["episode"] for info in self.locals["infos"] if "episode" in info]
        if ended:
            lines = (
                _line(CurvePoint(self.num_timesteps, float(episode["r"]), int(episode["l"])))
                for episode in ended
            )
            with self.file.open("a", encoding="utf-8") as stream:
                stream.writelines(f"{line}\n" for line in lines)
        return True


def read_curve(path: str | Path) -> list[CurvePoint]:
    """The episodes in a ``learning_curve.csv``, in the order in which they ended.

    A last line that a killed process wrote in part is left out.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a learning curve.
    """
    lines = Path(path).read_text(encoding="utf-8").splitlines(keepends=True)
    if not lines or lines[0].strip() != HEADER:
        raise ValueError(f"{path} is not a learning curve: its first line is not {HEADER!r}")
    points = []
    for line in lines[1:]:
        if not line.endswith("\n"):
            break
        try:
            steps, episode_return, length = line.split(",")
            points.append(CurvePoint(int(steps), float(episode_return), int(length)))
        except ValueError as error:
            raise ValueError(f"{path} is not a learning curve: {line.strip()!r}") from error
    return points


def smooth(points: Iterable[CurvePoint], places: Iterable[float], window: float) -> list[float]:
    """Mean return of the episodes that ended within ``window`` steps up to each place.

    The window looks back only, so a curve does not rise before the method improved.  Where no
    episode ended in it, the value before is kept; NaN before the first.

    Args:
        places: environment steps, ascending.
        window: environment steps.
    """
    points = list(points)
    values: list[float] = []
    for place in places:
        inside = [p.episode_return for p in points if place - window < p.env_steps <= place]
        if inside:
            values.append(sum(inside) / len(inside))
        else:
            values.append(values[-1] if values else math.nan)
    return values


def _line(point: CurvePoint) -> str:
    return f"{point.env_steps},{point.episode_return!r},{point.length}"


__all__ = ["CURVE_FILE", "CurvePoint", "LearningCurve", "read_curve", "smooth"]
