"""The public ways to build things by name."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mbrl_agents.config import build_config
from mbrl_agents.names import lookup, resolve
from mbrl_agents.registry import METHODS, PLANNERS, WORLD_MODELS

if TYPE_CHECKING:
    from gymnasium import spaces

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
        name: a key of `mbrl_agents.registry.WORLD_MODELS`, such as "simple".
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
            (``**{"planner.horizon": 20}``), and ``preset="NAME"``.  ``world_model``, ``planner``
            and ``objective`` may be ready-made objects as well.  Arguments of the agent itself
            (``tensorboard_log``, ``verbose``, ``device``, and ``episodes`` for a baseline that
            starts from demonstrations) are passed on.

    Raises:
        ValueError: for an unknown method or setting, or spaces the method cannot work on.
    """
    recipe = lookup(METHODS, method, "method")
    passed = ("tensorboard_log", "verbose", "device", "episodes")
    own = {key: overrides.pop(key) for key in passed if key in overrides}
    return resolve(recipe.make)(recipe, env, seed=seed, overrides=overrides, **own)


def load(
    path: str | os.PathLike[str], env: Any = None, *, trust_pickle: bool = False, **arguments: Any
) -> Any:
    """A saved agent or baseline, from a run folder; or an agent from a file its ``save`` wrote.

    Args:
        path: of the folder or file, or "hf://OWNER/NAME" for one of the Hugging Face Hub that
            ``mbrl export hub`` wrote.
        env: set on the agent, after its spaces were checked.
        trust_pickle: see `mbrl_agents.runs.loading.load_run`.
        **arguments: of `Agent.load`, such as ``device``; ``world_model``, ``planner`` and
            ``objective`` give again what the agent was built of.

    Raises:
        FileNotFoundError: when there is nothing at ``path``, or a file of the run is missing.
        ValueError: when it is not a saved agent, or a ready-made object was not given again.
    """
    from mbrl_agents.agents.agent import Agent
    from mbrl_agents.agents.hub import fetch
    from mbrl_agents.agents.parts import Parts

    parts, others = Parts.among(arguments)
    found = path if isinstance(path, io.BufferedIOBase) else fetch(path)
    if isinstance(found, Path) and _is_baseline(found):
        return _baseline(found, env, trust_pickle, **arguments)
    return Agent.load(found, env, parts=parts, **others)


def _is_baseline(folder: Path) -> bool:
    """Whether a path is the run folder of a baseline."""
    from mbrl_agents.runs.spec import RUN_FILE, RunInfo

    if not (folder / RUN_FILE).is_file():
        return False
    recipe = METHODS.get(RunInfo.read(folder).spec.method)
    return recipe is not None and recipe.kind == "baseline"


def _baseline(folder: Path, env: Any, trust_pickle: bool, device: str = "auto") -> Any:
    """The baseline of a run folder, in its environment if one is given."""
    from mbrl_agents.runs.loading import check_env, load_run, warn_of_another_task

    model: Any = load_run(folder, device=device, trust_pickle=trust_pickle)
    if env is not None:
        check_env(folder, model, env)
        warn_of_another_task(folder, env)
        model.set_env(env)
    return model
