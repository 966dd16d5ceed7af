"""What an environment takes, asked of its signature: nothing is built."""

from __future__ import annotations

import importlib
import inspect
from typing import Any


def env_keywords(env_id: str) -> list[str] | None:
    """What ``gymnasium.make(env_id)`` takes; None where that cannot be told.

    That is so of an environment with ``**kwargs``, which takes everything, and of one that is
    unknown or cannot be loaded, which making it tells.

    Args:
        env_id: Gymnasium's, ``module:id`` included.
    """
    from gymnasium.envs.registration import load_env_creator, spec

    import mbrl_agents.envs  # noqa: F401  registers

    module, colon, name = env_id.rpartition(":")
    try:
        if colon:
            importlib.import_module(module)
        entry: Any = spec(name).entry_point
        if isinstance(entry, str):
            entry = load_env_creator(entry)
        parameters = inspect.signature(entry).parameters.values()
    except Exception:  # a module that is missing or broken: making the environment tells
        return None
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    taken = [parameter.name for parameter in parameters if parameter.kind in named]
    return [*taken, "max_episode_steps"]


__all__ = ["env_keywords"]
