"""Registers every environment id with Gymnasium."""

from __future__ import annotations

import gymnasium

from .libero.suites import SUITES


def register_envs() -> None:
    """Register ``mbrl/LiberoSpatial-v0`` and its siblings; calling it again changes nothing."""
    for suite in SUITES.values():
        if suite.env_id not in gymnasium.registry:
            gymnasium.register(
                id=suite.env_id,
                entry_point=f"{__package__}.libero.env:LiberoEnv",
                kwargs={"suite": suite.name},
                max_episode_steps=suite.max_steps,
            )
