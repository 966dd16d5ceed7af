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


CAR_RACING, FRAMES = "mbrl/CarRacing-v3", "mbrl/Frames-v0"


def register_envs() -> None:
    """Register ``mbrl/LiberoSpatial-v0`` and the others; calling it again changes nothing."""
    if CAR_RACING not in gymnasium.registry:
        gymnasium.register(
            id=CAR_RACING,
            entry_point=f"{__package__}.car_racing:make_car_racing",
            max_episode_steps=1000,
            reward_threshold=900,
        )
    if FRAMES not in gymnasium.registry:
        gymnasium.register(id=FRAMES, entry_point=f"{__package__}.frames:make_frames")
    for suite in SUITES.values():
        if suite.env_id not in gymnasium.registry:
            gymnasium.register(
                id=suite.env_id,
                entry_point=f"{__package__}.libero.env:LiberoEnv",
                kwargs={"suite": suite.name},
                max_episode_steps=suite.max_steps,
            )
