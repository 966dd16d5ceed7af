"""One episode, step by step: what collection and evaluation do alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import gymnasium
import numpy as np


class Predictor(Protocol):
    """Whatever has Stable-Baselines3's ``predict``."""

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
    ) -> tuple[Any, Any]: ...


PredictorFactory = Callable[[gymnasium.Env], Predictor]
"""Builds a predictor for an environment; importable or picklable where processes are used."""


@dataclass(frozen=True)
class Step:
    """What an environment answered, to an action or, at first, to ``reset``.

    Attributes:
        observation, info: as the environment gave them.
        reward: 0 of the reset.
        terminated, truncated: whether the episode is over.
    """

    observation: Any
    info: Mapping[str, Any]
    reward: float = 0.0
    terminated: bool = False
    truncated: bool = False


def play(
    env: gymnasium.Env,
    act: Callable[[Any], Any],
    *,
    seed: int,
    options: dict[str, Any] | None = None,
) -> Iterator[Step]:
    """Play one episode until it terminates or is truncated.

    Args:
        act: the environment's action for an observation; first called after the reset.
        seed, options: of the reset.

    Yields:
        The reset, and then every step as it is taken.
    """
    observation, info = env.reset(seed=seed, options=options)
    step = Step(observation, info)
    yield step
    while not (step.terminated or step.truncated):
        observation, reward, terminated, truncated, info = env.step(act(step.observation))
        step = Step(observation, info, float(reward), bool(terminated), bool(truncated))
        yield step


@dataclass
class Acting:
    """Asks a predictor for the actions of one episode; its state travels with the calls.

    Args:
        predictor: seeded with ``seed`` where it can be.
        seed: of the episode.
        deterministic: passed to ``predict``.

    Attributes:
        plan_ms: wall time in milliseconds of each call that decided anew: of all but those in
            which a planner went on with the plan it had, which would hide what a search takes.
    """

    predictor: Predictor
    seed: int
    deterministic: bool
    plan_ms: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.state: Any = None
        self._start = np.ones(1, dtype=bool)
        set_random_seed = getattr(self.predictor, "set_random_seed", None)
        if set_random_seed is not None:
            set_random_seed(self.seed)

    def __call__(self, observation: Any) -> np.ndarray:
        """The action for an observation."""
        began = time.perf_counter()
        action, self.state = self.predictor.predict(
            observation, self.state, self._start, self.deterministic
        )
        elapsed = 1e3 * (time.perf_counter() - began)
        if getattr(self.state, "searched", True):
            self.plan_ms.append(elapsed)
        self._start = np.zeros(1, dtype=bool)
        chosen = np.asarray(action)
        # The number of a Discrete's action as a scalar: Gymnasium's tables look it up.
        return chosen if chosen.ndim else chosen[()]


def succeeded(info: Mapping[str, Any]) -> bool:
    """Whether the last step's info reports success.

    An end alone is no success: a fall ends an episode too.
    """
    return bool(info.get("is_success", False))


__all__ = ["Acting", "Predictor", "PredictorFactory", "Step", "play", "succeeded"]
