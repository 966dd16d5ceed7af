"""What an agent has to know of the environment that it learns in, beside its spaces."""

from __future__ import annotations

import inspect
import json
import warnings
from collections.abc import Mapping
from typing import Any

import gymnasium
from gymnasium.envs.registration import load_env_creator
from stable_baselines3.common.vec_env import VecEnv

TASK = "task"
"""Keyword by which an environment is told its task: a number, a name, None for all, or a list."""


class OtherTaskWarning(UserWarning):
    """An agent is given an environment of equal spaces that it was not trained in."""


def tells_success(env: Any) -> bool:
    """Whether an environment says in ``info["is_success"]`` how an episode ended.

    It does so by its attribute ``knows_success``; one without it is taken to know none.
    """
    if env is None:
        return True
    return bool(_attribute(env, "knows_success", False))


def origin_of(env: Any) -> dict[str, Any] | None:
    """The environment's id and its tasks, plain values; None where it has no id.

    ``tasks`` are sorted numbers where the environment has names for its tasks (``task_names``),
    None where it draws among all of them, or where it has no tasks.
    """
    spec = _attribute(env, "spec", None)
    return None if spec is None else named_origin(spec.id, spec.kwargs, env)


def named_origin(env_id: str, kwargs: Mapping[str, Any], env: Any) -> dict[str, Any]:
    """The same for an id and keywords of ``gym.make``, with the names of ``env``'s tasks."""
    names = list(_attribute(env, "task_names", None) or ())
    task = kwargs[TASK] if TASK in kwargs else _default_task(env_id)
    tasks: list[Any] | None = None
    if task is not None:
        given = list(task) if isinstance(task, list | tuple) else [task]
        tasks = sorted((names.index(one) if one in names else one for one in given), key=str)
    # The module that registers an id is no part of it; JSON's values compare with those of a file.
    found: dict[str, Any] = json.loads(
        json.dumps({"env": env_id.rsplit(":", 1)[-1], "tasks": tasks}, default=str)
    )
    return found


def difference(trained: Mapping[str, Any] | None, shown: Mapping[str, Any] | None) -> str | None:
    """In which words an environment is not the one of the training; None where it is, or may be."""
    if trained is None or shown is None:
        return None
    if trained["env"] != shown["env"]:
        return f"it was trained in {trained['env']}, and this is {shown['env']}"
    known, asked = trained["tasks"], shown["tasks"]
    if known is None or (asked is not None and all(task in known for task in asked)):
        return None
    there = "all tasks" if asked is None else _tasks(asked)
    return f"it was trained on {_tasks(known)} of {trained['env']}, and this is {there}"


def warn_of_another(
    trained: Mapping[str, Any] | None, shown: Mapping[str, Any] | None, who: str, level: int = 3
) -> None:
    """Warn where the spaces of an environment fit an agent that does not know it."""
    if (words := difference(trained, shown)) is not None:
        warnings.warn(
            f"{who} fits the spaces of this environment, but {words}; ignore OtherTaskWarning "
            "where that is meant",
            OtherTaskWarning,
            stacklevel=level,
        )


def _default_task(env_id: str) -> Any:
    """The task of an environment that is made without the keyword; None where it has none."""
    try:
        spec = gymnasium.spec(env_id)
    except gymnasium.error.Error:  # made of a specification that nobody registered
        return None
    if TASK in spec.kwargs:
        return spec.kwargs[TASK]
    found = spec.entry_point
    creator: Any = load_env_creator(found) if isinstance(found, str) else found
    if creator is None or TASK not in (parameters := inspect.signature(creator).parameters):
        return None
    default = parameters[TASK].default
    return None if default is inspect.Parameter.empty else default


def _tasks(tasks: list[Any]) -> str:
    return f"task{'s' if len(tasks) > 1 else ''} {', '.join(map(str, tasks))}"


def _attribute(env: Any, name: str, default: Any) -> Any:
    """An attribute of an environment or the first of a vectorised one, behind its wrappers."""
    if isinstance(env, VecEnv):
        try:
            return env.get_attr(name, 0)[0]
        except (AttributeError, NotImplementedError):
            return default
    try:
        return env.get_wrapper_attr(name)
    except AttributeError:
        return getattr(env, name, default)


__all__ = [
    "OtherTaskWarning",
    "difference",
    "named_origin",
    "origin_of",
    "tells_success",
    "warn_of_another",
]
