"""The public ways to build things by name."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from mbrl_agents.config import build_config, resolve_config
from mbrl_agents.registry import METHODS, PLANNERS, WORLD_MODELS, lookup, resolve

if TYPE_CHECKING:
    from gymnasium import spaces

    from mbrl_agents.agents.base_agent import ModelBasedAgent
    from mbrl_agents.protocols import Planner


def make_world_model(
    name: str,
    observation_space: spaces.Space,
    action_space: spaces.Space,
    *,
    seed: int = 0,
    **overrides: Any,
) -> Any:
    """A world model (a torch module) with fresh weights.

    Args:
        name: "simple" or "dreamer_v3".
        observation_space, action_space: of the environment.
        seed: of the weights.
        **overrides: settings of its config, such as ``ensemble=5``.

    Raises:
        ValueError: for an unknown name or setting, or a space the model cannot read.
    """
    import torch

    cls, config = lookup(WORLD_MODELS, name, "world model").load()
    generator = torch.Generator().manual_seed(seed)
    settings = build_config(config, overrides)
    return cls(settings, observation_space, action_space, generator=generator)


def make_planner(name: str, **overrides: Any) -> Planner:
    """A planner.

    Args:
        name: "cem", "policy-guided-cem" or "policy".
        **overrides: settings of its config, such as ``horizon=20``.

    Raises:
        ValueError: for an unknown name or setting.
    """
    cls, config = lookup(PLANNERS, name, "planner").load()
    return cls(build_config(config, overrides))


def make_agent(method: str, env: Any, *, seed: int | None = None, **overrides: Any) -> Any:
    """An agent behind Stable-Baselines3's interface, untrained.

    Args:
        method: see `mbrl_agents.methods`.
        env: an environment, a `VecEnv` or an id.
        seed: of weights, batches, held-out episodes and noise; None for ``training.seed`` of an
            agent, and for 0 where a method has no such setting.
        **overrides: settings, nested (``planner={"horizon": 20}``) or dotted
            (``**{"planner.horizon": 20}``).  Arguments of the agent itself
            (``tensorboard_log``, ``verbose``, ``device``, and ``episodes`` for a baseline that
            starts from demonstrations) are passed on.

    Raises:
        ValueError: for an unknown method or setting.
    """
    recipe = lookup(METHODS, method, "method")
    passed = ("tensorboard_log", "verbose", "device", "episodes")
    own = {key: overrides.pop(key) for key in passed if key in overrides}
    build = resolve(recipe.target)
    if recipe.kind == "bound":
        if overrides:
            raise ValueError(f"method {method!r} has no settings, got {sorted(overrides)}")
        return build(env, seed=seed or 0)
    config = resolve_config(method, overrides)
    if recipe.kind == "baseline":
        return build(method, env, seed=seed or 0, settings=config.baseline, **own)
    return build(config, env, seed=seed, **own)


def load(path: str | os.PathLike[str], env: Any = None, **arguments: Any) -> ModelBasedAgent:
    """A saved agent, from a run folder or a file that its ``save`` wrote.

    Raises:
        FileNotFoundError: when there is nothing at ``path``, or a file of the run is missing.
    """
    from mbrl_agents.agents.run_files import read_saved

    saved = read_saved(path)
    cls = resolve(lookup(METHODS, saved.config.method, "method").target)
    return cls.from_saved(saved, env, **arguments)
