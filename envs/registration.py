"""Registers every environment id with Gymnasium."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import gymnasium

from .libero.suites import SUITES, Suite


@dataclass(frozen=True)
class EnvDefaults:
    """What is taken for an environment where the user does not say.

    Attributes:
        kwargs: keywords of ``gymnasium.make``.
        init: how evaluation starts episodes, "benchmark" or "random"; None where only the
            environment itself can tell.
        task_names: gives the names of its tasks, where ``task`` is one of its keywords.
    """

    kwargs: Mapping[str, Any] = field(default_factory=dict)
    init: str | None = None
    task_names: Callable[[], Sequence[str]] | None = None


def _libero(suite: Suite) -> EnvDefaults:
    kwargs = {"obs": "pose", "reward": "progress"}
    return EnvDefaults(kwargs, init="benchmark", task_names=lambda: suite.task_names)


DEFAULTS = {suite.env_id: _libero(suite) for suite in SUITES.values()}
"""Of the environments registered here, by id."""


def defaults(env_id: str) -> EnvDefaults:
    """The defaults of an environment, without building it; empty ones for those of others."""
    return DEFAULTS.get(env_id, EnvDefaults())


CATCH, REACH = "mbrl/Catch-v0", "mbrl/Reach-v0"
CAR_RACING, FRAMES = "mbrl/CarRacing-v3", "mbrl/Frames-v0"
DMC, ATARI, MINIGRID = "mbrl/DMC-v0", "mbrl/Atari-v0", "mbrl/MiniGrid-v0"

OTHERS: Mapping[str, Mapping[str, Any]] = {
    CATCH: {"entry_point": "catch:Catch", "reward_threshold": 0.8},
    REACH: {"entry_point": "reach:Reach", "max_episode_steps": 40},
    CAR_RACING: {
        "entry_point": "car_racing:make_car_racing",
        "max_episode_steps": 1000,
        "reward_threshold": 900,
    },
    FRAMES: {"entry_point": "frames:make_frames"},
    DMC: {"entry_point": "dmc:DeepMindControl"},
    ATARI: {"entry_point": "atari:make_atari"},
    MINIGRID: {"entry_point": "mini_grid:make_mini_grid"},
}
"""What is registered beside LIBERO's suites: entry points within this package, and limits."""

ENV_IDS = (*(suite.env_id for suite in SUITES.values()), *OTHERS)
"""Every id of this package."""


def register_envs() -> None:
    """Register ``mbrl/LiberoSpatial-v0`` and the others; calling it again changes nothing."""
    for env_id, entry in OTHERS.items():
        if env_id not in gymnasium.registry:
            where = f"{__package__}.{entry['entry_point']}"
            gymnasium.register(id=env_id, **{**entry, "entry_point": where})
    for suite in SUITES.values():
        if suite.env_id not in gymnasium.registry:
            gymnasium.register(
                id=suite.env_id,
                entry_point=f"{__package__}.libero.env:LiberoEnv",
                kwargs={"suite": suite.name},
                max_episode_steps=suite.max_steps,
            )
