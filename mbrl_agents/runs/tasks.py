"""One run on several tasks: what its episodes and its tests need beside a specialist's.

Such a run's environment draws a task at each reset (``task`` None or a list) and observes it under
the key ``task``, one-hot or by its sentence.  Episodes are recorded task by task, in environments
that have one task each and so do not observe it; a test goes through the tasks one at a time as
well, because official initial states are numbered within a task.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from gymnasium import spaces

from mbrl_agents.data.episode import Episode

ALL_TASKS = "all"
"""How users name all tasks of an environment."""

ONE_HOT = "one_hot_task"
"""Keyword of an environment that shows the ``task`` entry where the task is fixed too."""

CODE, ONE_HOT_CODE = "task_code", "one_hot"
"""Keyword that says how the entry tells the task, and what it is without."""

TASK, POSE, JOINTS = "task", "pose", "joints"
"""Keys of observations; an environment's keyword is called ``task`` too."""


def several_tasks(env_kwargs: Mapping[str, Any]) -> bool:
    """Whether keywords of ``gym.make`` leave the task to each reset: all tasks, or a list."""
    return TASK in env_kwargs and (
        env_kwargs[TASK] is None or isinstance(env_kwargs[TASK], list | tuple)
    )


def one_at_a_time(env_kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The keywords of a run on several tasks for environments of one task, which is yet to be set.

    With ``task=k`` they give the same observation space, so that the run's agent can act there.
    """
    kwargs = {name: value for name, value in env_kwargs.items() if name != TASK}
    if kwargs.get(ONE_HOT) is None:
        kwargs[ONE_HOT] = True
    return kwargs


def tasks_of(env_id: str, env_kwargs: Mapping[str, Any]) -> list[int | str] | None:
    """The tasks among which keywords of several let an environment draw.

    Returns:
        Those listed; the numbers of all for ``task=None``, or None where nobody knows how many
        there are.
    """
    if env_kwargs[TASK] is not None:
        return list(env_kwargs[TASK])
    from mbrl_agents.data.parallel import make_env
    from mbrl_agents.envs.registration import defaults

    known = defaults(env_id).task_names
    if known is not None:
        return list(range(len(known())))
    env = make_env(env_id, env_kwargs)
    try:
        names = getattr(env.unwrapped, "task_names", None)
    finally:
        env.close()
    return None if names is None else list(range(len(names)))


def as_observed(
    episodes: Sequence[Episode], space: spaces.Space, code: str = ONE_HOT_CODE
) -> list[Episode]:
    """Episodes of single tasks as an environment with the observation space ``space`` shows them.

    Where the space has a ``task`` and an episode does not, or another one, it is made of the
    episode's ``info["task"]``, ``(T + 1, tasks)`` float32, or by another code than the one-hot of
    its ``info["task_name"]``; where only the episode has one, it is left out.
    ``joints`` that only some tasks have are zeros for the others.  Poses are padded with zeros to
    the space's size, as the environment pads them, or such zeros are cut off.  Everything else
    stays the arrays that it was.

    Raises:
        ValueError: an episode needs a ``task`` entry and does not say its task, or says one that
            the environment does not have.
    """
    if not isinstance(space, spaces.Dict):
        return list(episodes)
    return [_as_observed(number, episode, space, code) for number, episode in enumerate(episodes)]


def _as_observed(number: int, episode: Episode, space: spaces.Dict, code: str) -> Episode:
    seen = dict(episode.observations)
    if TASK in space.spaces:
        count = _vector_size(space, TASK)
        if count and code != ONE_HOT_CODE:
            seen[TASK] = _sentence(number, episode, count, code)
        elif TASK not in seen and count:
            seen[TASK] = _one_hot(number, episode, count)
    else:
        seen.pop(TASK, None)
    if JOINTS in space.spaces and JOINTS not in seen and (count := _vector_size(space, JOINTS)):
        # The environment shows zeros for tasks that have no joint.
        seen[JOINTS] = np.zeros((len(episode) + 1, count), dtype=np.float32)
    elif JOINTS not in space.spaces:
        seen.pop(JOINTS, None)
    if POSE in seen and seen[POSE].ndim == 2 and (size := _vector_size(space, POSE)):
        seen[POSE] = _resized(seen[POSE], size)
    changed = seen.keys() != episode.observations.keys() or any(
        seen[key] is not value for key, value in episode.observations.items()
    )
    return replace(episode, observations=seen) if changed else episode


def _vector_size(space: spaces.Dict, key: str) -> int:
    """Size of a vector that the space has; 0 where it has none of that name."""
    shape = space[key].shape if key in space.spaces else None
    return shape[0] if shape is not None and len(shape) == 1 else 0


def _one_hot(number: int, episode: Episode, count: int) -> np.ndarray:
    task = episode.info.get(TASK)
    if not isinstance(task, int):
        raise ValueError(
            f"recorded episode {number} does not say its task, which a run on several tasks "
            "observes: record it with `mbrl collect --task`, or with env.one_hot_task=true"
        )
    if not 0 <= task < count:
        raise ValueError(
            f"recorded episode {number} is of task {task}, but the environment has {count} tasks: "
            "it comes from another suite"
        )
    rows = np.zeros((len(episode) + 1, count), dtype=np.float32)
    rows[:, task] = 1.0
    return rows


def _sentence(number: int, episode: Episode, size: int, code: str) -> np.ndarray:
    from mbrl_agents.envs.libero.task_codes import encode_sentence

    name = episode.info.get("task_name")
    if not isinstance(name, str):
        raise ValueError(
            f"recorded episode {number} does not say its task in words, which task_code={code!r} "
            "reads: record it with `mbrl collect`, or convert it with `mbrl data convert`"
        )
    one = encode_sentence(code, name.replace("_", " "), size)
    return np.repeat(one[None], len(episode) + 1, 0)


def _resized(pose: np.ndarray, size: int) -> np.ndarray:
    """Poses ``(T + 1, P)`` as ``(T + 1, size)``; unchanged where more than padding would go."""
    if pose.shape[1] < size:
        return np.pad(pose, ((0, 0), (0, size - pose.shape[1])))
    return pose if pose[:, size:].any() or pose.shape[1] == size else pose[:, :size]


__all__ = [
    "ALL_TASKS",
    "ONE_HOT",
    "TASK",
    "as_observed",
    "one_at_a_time",
    "several_tasks",
    "tasks_of",
]
