"""The recorded episodes behind a run: whose environment and which tasks they are."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gymnasium import spaces

from mbrl_agents.data.collect import Collection, collect
from mbrl_agents.data.dataset import read_episodes, read_infos
from mbrl_agents.data.episode import Episode
from mbrl_agents.data.formats import as_folder
from mbrl_agents.runs.spec import RunInfo
from mbrl_agents.runs.tasks import ALL_TASKS, CODE, ONE_HOT_CODE, as_observed, several_tasks

Tasks = int | str | Sequence[int | str] | None
"""What an environment's ``task`` says: one task (index or name), a list, or None for all."""


def env_of_data(folder: str | Path, task: Tasks = None) -> tuple[str, dict[str, Any]]:
    """The environment that a folder's episodes come from: id and keywords of ``gym.make``.

    Args:
        folder: of episodes, or another source that `mbrl_agents.data.formats.as_folder` knows.
        task: the one to take of several, a list of them, or "all".

    Raises:
        FileNotFoundError: no episodes there.
        ValueError: the episodes do not say, or come from several tasks and none is chosen.
    """
    infos = source_infos(folder)
    if not infos:
        raise FileNotFoundError(f"no episodes in {folder}; `mbrl collect` writes them")
    if "collection" not in infos[0]:
        raise ValueError(f"the episodes in {folder} do not name their environment; give --env")
    described = json.loads(str(infos[0]["collection"]))
    kwargs = dict(described["env_kwargs"])
    if task is not None:
        kwargs["task"] = None if task == ALL_TASKS else task
    elif not _draws_tasks(infos):
        check_tasks(folder, infos, {})
        if key := str(infos[0].get("task_key", "")):
            kwargs["task"] = int(key) if key.isdigit() else key
    return described["env_id"], kwargs


def source_infos(source: str | Path) -> list[dict[str, Any]]:
    """The ``info`` of every episode of a source; empty where there is nothing."""
    return read_infos(as_folder(source))


def _draws_tasks(infos: list[dict[str, Any]]) -> bool:
    """Whether all episodes come from an environment that draws a task at each reset."""
    collections = [json.loads(str(info.get("collection", "{}"))) for info in infos]
    kwargs = [collection.get("env_kwargs", {}) for collection in collections]
    return all(
        not info.get("task_key") and own.get("task", "fixed") is None
        for info, own in zip(infos, kwargs, strict=True)
    )


def check_tasks(
    data: str | Path | Sequence[str],
    infos: list[dict[str, Any]],
    env_kwargs: Mapping[str, Any],
) -> None:
    """Refuse to mix tasks unless the run is on several.

    Args:
        data: folders that the episodes lie in, for messages.

    Raises:
        ValueError: the episodes come from several tasks and ``env_kwargs`` names none, or there are
            none of a task that it names.
    """
    tasks = sorted({name for info in infos if (name := _task(info))})
    where = ", ".join(map(str, _folders(data)))
    if "task" not in env_kwargs and len(tasks) > 1:
        raise ValueError(
            f"{where} holds episodes of several tasks ({', '.join(tasks)}): choose one with "
            "--task, or train one model on all of them with --task all"
        )
    task = env_kwargs.get("task")
    for wanted in task if isinstance(task, list | tuple) else [task]:
        if wanted is not None and tasks and not any(of_task(info, wanted) for info in infos):
            raise ValueError(
                f"{where} holds no episodes of task {wanted!r}, only of {', '.join(tasks)}"
            )


def of_task(info: Mapping[str, Any], task: Tasks) -> bool:
    """Whether an episode belongs to a task, or to one of a list; one that does not say, to any."""
    if task is None or not _task(info):
        return True
    names = (info.get("task"), info.get("task_key"), info.get("task_name"))
    said = {str(name) for name in names if name not in (None, "")}
    return any(str(one) in said for one in (task if isinstance(task, list | tuple) else [task]))


def count_run_episodes(
    data: str | Path | Sequence[str], env_kwargs: Mapping[str, Any], limit: int | None
) -> int | None:
    """How many episodes `read_run_episodes` would read; None where there are none any more."""
    found = [source_infos(folder) for folder in _folders(data)]
    if not all(found):
        return None
    return sum(map(len, _chosen(found, env_kwargs, limit)))


def read_run_episodes(
    data: str | Path | Sequence[str],
    env_kwargs: Mapping[str, Any],
    limit: int | None,
    observation_space: spaces.Space | None = None,
) -> list[Episode]:
    """The episodes of the environment's task, or of each of its tasks.

    Args:
        data: episode folder or another source (see `mbrl_agents.data.formats`), or several.
        env_kwargs: of the run's environment.
        limit: only the first so many; of a run on several tasks, of each.
        observation_space: of the environment; episodes are made to fit it as
            `mbrl_agents.runs.tasks.as_observed` says.

    Raises:
        FileNotFoundError: no episodes there.
        ValueError: see `check_tasks` and `as_observed`.
    """
    folders = [as_folder(folder) for folder in _folders(data)]
    found = [read_infos(folder) for folder in folders]
    check_tasks(data, [info for infos in found for info in infos], env_kwargs)
    episodes: list[Episode] = []
    for folder, numbers in zip(folders, _chosen(found, env_kwargs, limit), strict=True):
        # No more is read than is needed; an empty folder is refused by the reader.
        read = read_episodes(folder, numbers[-1] + 1 if numbers else None)
        episodes += [read[number] for number in numbers]
    if observation_space is None:
        return episodes
    return as_observed(episodes, observation_space, env_kwargs.get(CODE, ONE_HOT_CODE))


def fresh_episodes(run: str | Path, info: RunInfo, count: int, seed: int = 0) -> list[Episode]:
    """Episodes that a finished run's agent plays in the run's environment, for looking at them."""
    from mbrl_agents.runs.loading import RunPredictor

    collection = Collection(
        info.spec.env_id,
        info.spec.env_kwargs,
        source="agent",
        episodes=count,
        seed=seed,
        agent=str(run),
    )
    return collect(collection, factory=RunPredictor(str(run)))


def _chosen(
    found: Sequence[Sequence[Mapping[str, Any]]], env_kwargs: Mapping[str, Any], limit: int | None
) -> list[list[int]]:
    """For each folder the numbers of the episodes that a run uses."""
    task, each = env_kwargs.get("task"), several_tasks(env_kwargs)
    taken: Counter[str] = Counter()
    chosen: list[list[int]] = []
    for infos in found:
        chosen.append([])
        for number, info in enumerate(infos):
            group = _task(info) if each else ""
            if of_task(info, task) and (limit is None or taken[group] < limit):
                taken[group] += 1
                chosen[-1].append(number)
    return chosen


def _folders(data: str | Path | Sequence[str]) -> tuple[str | Path, ...]:
    return (data,) if isinstance(data, str | Path) else tuple(data)


def _task(info: Mapping[str, Any]) -> str:
    """One name per task; empty where an episode does not say."""
    index = info.get("task")
    return str(info.get("task_key") or "") if index is None else str(index)


__all__ = [
    "check_tasks",
    "count_run_episodes",
    "env_of_data",
    "fresh_episodes",
    "of_task",
    "read_run_episodes",
    "source_infos",
]
