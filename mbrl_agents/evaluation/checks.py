"""Checks during training: fresh episodes, acted without noise, every so many steps.

A curve of training episodes holds exploration, and the best of many tests flatters: how good a
method is after so many steps is what it does there in episodes of its own, and whether it stays
so is what it does at the next checks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from stable_baselines3.common.callbacks import BaseCallback

from mbrl_agents.data.files import write_text
from mbrl_agents.data.rollout import succeeded

CHECKS_FILE, FIT_CHECKS_FILE = "checks.csv", "fit_checks.csv"
"""Of own experience, by environment steps, and of a fit to recorded episodes, by updates."""
HEADER = "step,episodes,mean,std,least,successes,length"
EARLIER_HEADER = "env_steps,episodes,mean,std,least"
"""Of files written before successes and lengths were recorded."""
IN_A_ROW = 3
"""Checks that have to reach a target one after another before it counts as held."""


class CheckPoint(NamedTuple):
    """One check.

    Attributes:
        step: environment steps of training before it, the check's own being no experience; of a
            fit the updates of all its phases.
        episodes: how many were played.
        mean, std, least: of their returns.
        successes: how many succeeded; None where the environment knows no success.
        length: their mean length in control steps; NaN where nobody recorded it.
    """

    step: int
    episodes: int
    mean: float
    std: float
    least: float
    successes: int | None = None
    length: float = math.nan

    @property
    def success_rate(self) -> float | None:
        """Within 0 and 1; None where the environment knows no success."""
        return None if self.successes is None else self.successes / self.episodes


class CheckSeries:
    """Plays the checks of one training and appends a line for each to its file.

    Args:
        file: in the run's folder, which must exist.
        make: builds the environment; as many are made as there are episodes, and played at once.
        every: steps between checks.
        episodes: of a check.
        seed: with the step it decides the initial states, no two alike.
    """

    def __init__(
        self,
        file: Path,
        make: Callable[[], gymnasium.Env],
        *,
        every: int,
        episodes: int,
        seed: int,
    ) -> None:
        self.file, self.make = file, make
        self.every, self.episodes, self.seed = every, episodes, seed
        self.envs: list[gymnasium.Env] = []
        self.done = 0

    def begin(self, step: int) -> None:
        """Training starts, or goes on, at ``step``: later checks are dropped and come again."""
        known = read_checks(self.file) if self.file.is_file() else []
        kept = [point for point in known if point.step <= step]
        write_text(self.file, "".join(f"{line}\n" for line in (HEADER, *map(_line, kept))))
        self.done = step // self.every

    def due(self, step: int) -> bool:
        """Whether `play` would play one."""
        return step // self.every > self.done

    def play(self, model: Any, step: int) -> CheckPoint | None:
        """A check of ``model``, with SB3's ``predict``, where one is due at ``step``."""
        if not self.due(step):
            return None
        self.done = step // self.every
        if not self.envs:
            self.envs = [self.make() for _ in range(self.episodes)]
        words = np.random.SeedSequence([self.seed, 3, step])
        found = play_at_once(model, self.envs, words.generate_state(self.episodes).tolist())
        returns, known = found.returns, [one for one in found.successes if one is not None]
        point = CheckPoint(
            step,
            len(returns),
            float(returns.mean()),
            float(returns.std()),
            float(returns.min()),
            sum(known) if known else None,
            float(found.lengths.mean()),
        )
        with self.file.open("a", encoding="utf-8") as stream:
            stream.write(f"{_line(point)}\n")
        return point

    def close(self) -> None:
        """Close the environments."""
        for env in self.envs:
            env.close()
        self.envs = []


class Checks(BaseCallback):
    """Checks while own experience is gathered, under the tags of SB3's ``EvalCallback``.

    Args:
        series: by environment steps.
    """

    def __init__(self, series: CheckSeries) -> None:
        super().__init__()
        self.series = series

    def _on_training_start(self) -> None:
        self.series.begin(self.num_timesteps)

    def _on_step(self) -> bool:
        point = self.series.play(self.model, self.num_timesteps)
        if point is not None:
            # With the next log of training, at whose step SB3's own curves stand.
            for tag, value in tags(point).items():
                self.logger.record(tag, value)
        return True

    def _on_training_end(self) -> None:
        self.series.close()


class FitChecks:
    """Checks while a model and a policy are fitted to recorded episodes, by updates.

    What an agent does before all of its phases are through is no result of the method, but says
    when the part that acts became good.

    Args:
        series: by updates of all phases together.
    """

    def __init__(self, series: CheckSeries) -> None:
        self.series = series
        self._begun = False

    def at(self, agent: Any, updates: int) -> CheckPoint | None:
        """A check where one is due after so many updates; modules are left as they were."""
        if not self._begun:
            # A fit that goes on from a checkpoint comes to what followed it again.
            self.series.begin(updates - 1)
            self._begun = True
        if not self.series.due(updates):
            return None
        modules = [module for module in agent.policy.modules() if module.training]
        agent.policy.eval()
        try:
            point = self.series.play(agent, updates)
        finally:
            for module in modules:
                module.training = True
        if point is not None:
            for tag, value in tags(point).items():
                agent.logger.record(tag, value)
            agent.logger.dump(updates)
        return point


def tags(point: CheckPoint) -> dict[str, float]:
    """A check's figures under the tags of Stable-Baselines3's ``EvalCallback``."""
    found = {"eval/mean_reward": point.mean, "eval/mean_ep_length": point.length}
    if point.success_rate is not None:
        found["eval/success_rate"] = point.success_rate
    return found


class Played(NamedTuple):
    """Episodes played at once.

    Attributes:
        returns, lengths: ``(N,)``.
        successes: ``N`` values, None where an episode's last info says nothing of it.
    """

    returns: np.ndarray
    lengths: np.ndarray
    successes: list[bool | None]


def play_at_once(model: Any, envs: Sequence[gymnasium.Env], seeds: Sequence[int]) -> Played:
    """An episode in each environment, acted in without noise, all at once.

    Args:
        model: with SB3's ``predict``.
        seeds: of the environments' resets.
    """
    count = len(envs)
    shown = [env.reset(seed=seed)[0] for env, seed in zip(envs, seeds, strict=True)]
    found = Played(np.zeros(count), np.zeros(count), [None] * count)
    running, state, starts = np.ones(count, bool), None, np.ones(count, bool)
    while running.any():
        # Those that ended are shown their last observation until all have.
        action, state = model.predict(_stacked(shown), state, starts, deterministic=True)
        starts = np.zeros(count, bool)
        for i in np.flatnonzero(running).tolist():
            shown[i], reward, terminated, truncated, info = envs[i].step(action[i])
            found.returns[i] += float(reward)
            found.lengths[i] += 1
            running[i] = not (terminated or truncated)
            if not running[i] and "is_success" in info:
                found.successes[i] = succeeded(info)
    return found


def read_checks(path: str | Path) -> list[CheckPoint]:
    """The checks in a ``checks.csv``; a last line that a kill cut short is left out.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not such a file.
    """
    lines = Path(path).read_text(encoding="utf-8").splitlines(keepends=True)
    if not lines or lines[0].strip() not in (HEADER, EARLIER_HEADER):
        raise ValueError(f"{path} holds no checks: its first line is not {HEADER!r}")
    points = []
    for line in lines[1:]:
        if not line.endswith("\n"):
            break
        try:
            step, episodes, mean, std, least, *later = line.strip().split(",")
            numbers = float(mean), float(std), float(least)
            point = CheckPoint(int(step), int(episodes), *numbers)
            if later:
                successes, length = later
                counted = int(successes) if successes else None
                point = point._replace(successes=counted, length=float(length))
            points.append(point)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path} holds no checks: {line.strip()!r}") from error
    return points


def held_at(points: Sequence[CheckPoint], target: float) -> int | None:
    """The step of the last of the first `IN_A_ROW` checks in a row to reach ``target``."""
    row = 0
    for point in points:
        row = row + 1 if point.mean >= target else 0
        if row == IN_A_ROW:
            return point.step
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
    numbers = f"{point.mean!r},{point.std!r},{point.least!r}"
    successes = "" if point.successes is None else point.successes
    return f"{point.step},{point.episodes},{numbers},{successes},{point.length!r}"


__all__ = [
    "CHECKS_FILE",
    "FIT_CHECKS_FILE",
    "CheckPoint",
    "CheckSeries",
    "Checks",
    "FitChecks",
    "Played",
    "held_at",
    "held_at_the_end",
    "play_at_once",
    "read_checks",
    "tags",
]
