"""The recorded episodes behind a run: whose environment and which task they are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mbrl_agents.data.dataset import read_episodes, read_infos
from mbrl_agents.data.episode import Episode


def env_of_data(folder: str | Path, task: int | str | None = None) -> tuple[str, dict[str, Any]]:
    """The environment that a folder's episodes come from: id and keywords of ``gym.make``.

    Args:
        task: the one to take of several.

    Raises:
        FileNotFoundError: no episodes there.
        ValueError: the episodes do not say, or come from several tasks and none is chosen.
    """
    infos = read_infos(folder)
    if not infos:
        raise FileNotFoundError(f"no episodes in {folder}; `mbrl collect` writes them")
    if "collection" not in infos[0]:
        raise ValueError(f"the episodes in {folder} do not name their environment; give --env")
    described = json.loads(str(infos[0]["collection"]))
    kwargs = dict(described["env_kwargs"])
    if task is not None:
        kwargs["task"] = task
    elif not _draws_tasks(infos):
        check_tasks(folder, infos, {})
        if key := str(infos[0].get("task_key", "")):
            kwargs["task"] = int(key) if key.isdigit() else key
    return described["env_id"], kwargs


def _draws_tasks(infos: list[dict[str, Any]]) -> bool:
    """Whether all episodes come from an environment that draws a task at each reset."""
    collections = [json.loads(str(info.get("collection", "{}"))) for info in infos]
    kwargs = [collection.get("env_kwargs", {}) for collection in collections]
    return all(
        not info.get("task_key") and own.get("task", "fixed") is None
        for info, own in zip(infos, kwargs, strict=True)
    )


def check_tasks(
    folder: str | Path, infos: list[dict[str, Any]], env_kwargs: Mapping[str, Any]
) -> None:
    """Refuse to mix tasks where the run is on one.

    Raises:
        ValueError: the episodes come from several tasks and ``env_kwargs`` names none, or from
            others than the one it names.
    """
    tasks = sorted({name for info in infos if (name := _task(info))})
    if "task" not in env_kwargs and len(tasks) > 1:
        raise ValueError(
            f"{folder} holds episodes of several tasks ({', '.join(tasks)}): choose one with --task"
        )
    task = env_kwargs.get("task")
    if task is not None and tasks and not any(of_task(info, task) for info in infos):
        raise ValueError(f"{folder} holds no episodes of task {task!r}, only of {', '.join(tasks)}")


def of_task(info: Mapping[str, Any], task: int | str | None) -> bool:
    """Whether an episode belongs to a task (index or name); episodes without a task always do."""
    if task is None or not _task(info):
        return True
    names = (info.get("task"), info.get("task_key"), info.get("task_name"))
    return str(task) in {str(name) for name in names if name not in (None, "")}


def count_run_episodes(folder: str | Path, task: int | str | None, limit: int | None) -> int | None:
    """How many episodes `read_run_episodes` would read; None where there are none any more."""
    infos = read_infos(folder)
    if not infos:
        return None
    count = sum(of_task(info, task) for info in infos)
    return count if limit is None else min(count, limit)


def read_run_episodes(
    folder: str | Path, env_kwargs: Mapping[str, Any], limit: int | None
) -> list[Episode]:
    """The first ``limit`` episodes of the environment's task.

    Raises:
        FileNotFoundError: no episodes there.
        ValueError: see `check_tasks`.
    """
    infos = read_infos(folder)
    check_tasks(folder, infos, env_kwargs)
    task = env_kwargs.get("task")
    if all(of_task(info, task) for info in infos):
        return read_episodes(folder, limit)
    return [e for e in read_episodes(folder) if of_task(e.info, task)][:limit]


def _task(info: Mapping[str, Any]) -> str:
    """One name per task; empty where an episode does not say."""
    index = info.get("task")
    return str(info.get("task_key") or "") if index is None else str(index)


__all__ = [
    "check_tasks",
    "count_run_episodes",
    "env_of_data",
    "of_task",
    "read_run_episodes",
]
