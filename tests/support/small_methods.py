"""Every method and world model at a size at which an update takes milliseconds."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from gymnasium import spaces

from mbrl_agents.names import resolve
from mbrl_agents.registry import METHODS, WORLD_MODELS, AgentMethod

VECTORS = spaces.Dict(
    {
        "pose": spaces.Box(-np.inf, np.inf, (5,), np.float32),
        "speed": spaces.Box(-np.inf, np.inf, (2,), np.float32),
    }
)
IMAGES = spaces.Dict(
    {
        "image": spaces.Box(0, 255, (64, 64, 3), np.uint8),
        "pose": spaces.Box(-np.inf, np.inf, (5,), np.float32),
    }
)
OBSERVATIONS = {"vectors": VECTORS, "images": IMAGES}
# Each bound is another number: what is normalised must not depend on which.
BOX = spaces.Box(np.array([-2.0, 0.0, -1.0]), np.array([1.0, 4.0, 1.0]), dtype=np.float64)
ACTIONS = {"box": BOX, "discrete": spaces.Discrete(4, start=1)}

UNREAD: dict[str, tuple[str, ...]] = {
    "dreamer_lite": ("images",),
    "iris": ("vectors",),
    "mbpo": ("images",),
    "simple": ("images",),
    "world_models": ("vectors",),
}
"""Keys of `OBSERVATIONS` and `ACTIONS` that a world model of the registry refuses."""

MARKOV = {"dreamer_lite", "iris", "mbpo"}
"""World models whose features are of the latest observation alone."""

SIZES: dict[str, Any] = {
    "deter": 16,
    "hidden": 8,
    "head_hidden": 8,
    "outcome_hidden": 8,
    "units": 8,
    "stoch": 4,
    "classes": 4,
    "depth": 2,
    "ensemble": 2,
    "ensemble_hidden": 8,
    "members": 2,
    "elites": 2,
    "end_hidden": 8,
    "batch_size": 2,
    "policy_batch_size": 8,
    "sequence_length": 4,
    "imagination": 2,
    "free_nats": 0.0,  # or nothing of a fresh prior is trained
    "latent": 4,
    "mixtures": 2,
    "memory_batch_size": 2,
    "rollouts": 6,
    "rollout_batch": 1,
    "encode_parts": 6,
    "population": 4,
    "episodes": 1,
    "generations": 6,
    "evaluate_every": 2,
    "evaluate_episodes": 1,
    "channels": 4,
    "levels": 6,
    "residual_blocks": 1,
    "attention": 4,
    "codes": 8,
    "code_size": 4,
    "heads": 2,
    "width": 8,
    "window": 4,
    "context": 2,
    "convolutions": 2,
    "burn_in": 2,
    "tokenizer_batch_size": 4,
    "actor_critic_batch_size": 2,
}
"""Values by the name of a setting, in whatever section it stands."""

SETTINGS: dict[str, dict[str, Any]] = {
    "actor_critic": {"horizon": 3},
    "planner": {
        "horizon": 3,
        "replan": 1,
        "hold": 1,
        "samples": 8,
        "elites": 2,
        "iterations": 2,
        "policy_samples": 2,
    },
    "training": {"holdout": 0.3},
}
"""Likewise by section."""


def shrunk(config: type, section: str = "") -> dict[str, Any]:
    """Settings of a config class that make it small."""
    wanted = SIZES | SETTINGS.get(section, {})
    found = {}
    for field in dataclasses.fields(config):
        if field.name in wanted:
            value = wanted[field.name]
            found[field.name] = [value] if isinstance(field.default, tuple) else value
    return found


def small_settings(method: str) -> dict[str, dict[str, Any]]:
    """Settings, by section, that make a method small."""
    sections = METHODS[method].configs()
    return {name: shrunk(resolve(target), name) for name, target in sections.items()}


def combinations() -> list[tuple[str, str, str]]:
    """World models with the kinds of observations and actions that they work on."""
    return [
        (name, obs, actions)
        for name in WORLD_MODELS
        for obs in OBSERVATIONS
        for actions in ACTIONS
        if not {obs, actions} & set(UNREAD.get(name, ()))
    ]


def world_model_of(method: AgentMethod) -> str:
    """The registered world model of a method's algorithm."""
    config = method.sections["world_model"]
    return next(name for name, entry in WORLD_MODELS.items() if entry.load()[1] is resolve(config))


def random_observations(space: spaces.Dict, count: int, seed: int = 0) -> dict[str, np.ndarray]:
    """``(count, ...)`` by key."""
    rng = np.random.default_rng(seed)
    return {
        key: rng.integers(0, 256, (count, *box.shape), np.uint8)
        if box.dtype == np.uint8
        else rng.normal(size=(count, *box.shape)).astype(np.float32)
        for key, box in space.spaces.items()
    }


def random_actions(space: spaces.Space, count: int, seed: int = 0) -> np.ndarray:
    """``(count, A)`` in the environment's own range, as episodes hold them."""
    rng = np.random.default_rng(seed)
    if isinstance(space, spaces.Discrete):
        return rng.integers(space.start, space.start + space.n, (count, 1)).astype(np.float32)
    return rng.uniform(space.low, space.high, (count, *space.shape)).astype(np.float32)


def random_episodes(observations: spaces.Dict, actions: spaces.Space, count: int = 3) -> list:
    """Labelled episodes of about ten steps, every other one successful."""
    from mbrl_agents.data.episode import Episode

    found = []
    for number in range(count):
        steps = 9 + number
        done = random_actions(actions, steps, number)
        rewards = np.random.default_rng(number).normal(size=steps).astype(np.float32)
        seen = random_observations(observations, steps + 1, number)
        success = number % 2 == 0
        found.append(Episode(seen, done, done, rewards, success, success))
    return found


def observed(observations: spaces.Dict, count: int, seed: int = 0) -> dict[str, torch.Tensor]:
    """Observations as a world model reads them."""
    found = random_observations(observations, count, seed)
    return {key: torch.from_numpy(value) for key, value in found.items()}


def normalised(actions: spaces.Space, *shape: int, seed: int = 0) -> torch.Tensor:
    """Random normalised actions ``(*shape, A)``."""
    draw = torch.Generator().manual_seed(seed)
    if isinstance(actions, spaces.Discrete):
        return torch.eye(int(actions.n))[torch.randint(int(actions.n), shape, generator=draw)]
    return 2 * torch.rand(*shape, *actions.shape, generator=draw) - 1
