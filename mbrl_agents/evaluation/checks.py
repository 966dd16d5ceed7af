"""Checks during training: fresh episodes, acted without noise, every so many environment steps.

A curve of training episodes holds exploration, and the best of many tests flatters: how good a
method is after so many steps is what it does there in episodes of its own, and whether it stays
so is what it does at the next checks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from stable_baselines3.common.callbacks import BaseCallback

from mbrl_agents.data.files import write_text

CHECKS_FILE = "checks.csv"
HEADER = "env_steps,episodes,mean,std,least"
IN_A_ROW = 3
"""Checks that have to reach a target one after another before it counts as held."""


class CheckPoint(NamedTuple):
    """One check.

    Attributes:
        env_steps: environment steps of training before it; the check's own are no experience.
        episodes: how many were played.
        mean, std, least: of their returns.
    """

    env_steps: int
    episodes: int
    mean: float
    std: float
    least: float


class Checks(BaseCallback):
    """Appends a line to ``checks.csv`` whenever ``every`` more environment steps were taken.

    Where training goes on from a checkpoint, later checks are dropped first: they come again.

    Args:
        folder: the run's; must exist.
        make: builds the environment; as many are made as there are episodes, and played at once.
        every: environment steps between checks.
        episodes: of a check.
        seed: with the number of steps it decides the initial states, no two alike.
    """

    def __init__(
        self,
        folder: str | Path,
        make: Callable[[], gymnasium.Env],
        *,
        every: int,
        episodes: int,
        seed: int,
    ) -> None:
        super().__init__()
        self.file, self.make = Path(folder) / CHECKS_FILE, make
        self.every, self.episodes, self.seed = every, episodes, seed
        self.envs: list[gymnasium.Env] = []
        self.done = 0

    def _on_training_start(self) -> None:
        known = read_checks(self.file) if self.file.is_file() else []
        kept = [point for point in known if point.env_steps <= self.num_timesteps]
        write_text(self.file, "".join(f"{line}\n" for line in (HEADER, *map(_line, kept))))
        self.done = self.num_timesteps // self.every
        self.envs = [self.make() for _ in range(self.episodes)]

    def _on_step(self) -> bool:
        if self.num_timesteps // self.every > self.done:
            self.done = self.num_timesteps // self.every
            words = np.random.SeedSequence([self.seed, 3, self.num_timesteps])
            seeds = words.generate_state(self.episodes).tolist()
            found = returns_of(self.model, self.envs, seeds)
            mean, std, least = float(found.mean()), float(found.std()), float(found.min())
            point = CheckPoint(self.num_timesteps, len(found), mean, std, least)
            with self.file.open("a", encoding="utf-8") as stream:
                stream.write(f"{_line(point)}\n")
            self.logger.record("eval/mean_reward", mean)
        return True

    def _on_training_end(self) -> None:
        for env in self.envs:
            env.close()


def returns_of(model: Any, envs: Sequence[gymnasium.Env], seeds: Sequence[int]) -> np.ndarray:
    """The return ``(N,)`` of an episode in each environment, acted in without noise, all at once.

    Args:
        model: with SB3's ``predict``.
        seeds: of the environments' resets.
    """
    count = len(envs)
    shown = [env.reset(seed=seed)[0] for env, seed in zip(envs, seeds, strict=True)]
    returns, running = np.zeros(count), np.ones(count, bool)
    state, starts = None, np.ones(count, bool)
    while running.any():
        # Those that ended are shown their last observation until all have.
        action, state = model.predict(_stacked(shown), state, starts, deterministic=True)
        starts = np.zeros(count, bool)
        for i in np.flatnonzero(running).tolist():
            shown[i], reward, terminated, truncated, _ = envs[i].step(action[i])
            returns[i] += float(reward)
            running[i] = not (terminated or truncated)
    return returns


def read_checks(path: str | Path) -> list[CheckPoint]:
    """The checks in a ``checks.csv``; a last line that a kill cut short is left out.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not such a file.
    """
    lines = Path(path).read_text(encoding="utf-8").splitlines(keepends=True)
    if not lines or lines[0].strip() != HEADER:
        raise ValueError(f"{path} holds no checks: its first line is not {HEADER!r}")
    points = []
    for line in lines[1:]:
        if not line.endswith("\n"):
            break
        try:
            steps, episodes, *numbers = line.split(",")
            points.append(CheckPoint(int(steps), int(episodes), *map(float, numbers)))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path} holds no checks: {line.strip()!r}") from error
    return points


def held_at(points: Sequence[CheckPoint], target: float) -> int | None:
    """Environment steps of the last of the first `IN_A_ROW` checks in a row to reach ``target``."""
    row = 0
    for point in points:
        row = row + 1 if point.mean >= target else 0
        if row == IN_A_ROW:
            return point.env_steps
    return None


def held_at_the_end(points: Sequence[CheckPoint], target: float) -> bool:
    """Whether the last `IN_A_ROW` checks reached ``target``."""
    last = points[-IN_A_ROW:]
    return len(last) == IN_A_ROW and all(point.mean >= target for point in last)


def _stacked(shown: Sequence[Any]) -> Any:
    if isinstance(shown[0], dict):
        return {key: np.stack([entry[key] for entry in shown]) for key in shown[0]}
    return np.stack(shown)


def _line(point: CheckPoint) -> str:
    return f"{point.env_steps},{point.episodes},{point.mean!r},{point.std!r},{point.least!r}"


__all__ = [
    "CHECKS_FILE",
    "CheckPoint",
    "Checks",
    "held_at",
    "held_at_the_end",
    "read_checks",
    "returns_of",
]
