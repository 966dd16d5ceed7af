"""Collects episodes from an environment: demonstrator, disturbed demonstrator, random, agent.

An episode's seed depends on the collection's seed, the task and the episode's number alone, so
the result is the same for any number of worker processes, and a resumed collection runs only
the episodes that are missing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from mbrl_agents.data.conditions import check_same_conditions
from mbrl_agents.data.dataset import EpisodeWriter, read_infos
from mbrl_agents.data.episode import Episode
from mbrl_agents.data.locks import locked
from mbrl_agents.data.noise import NoiseConfig
from mbrl_agents.data.parallel import EnvCache, ordered_map
from mbrl_agents.data.progress import ProgressLines, on_stdout
from mbrl_agents.data.recording import SOURCES, run_episode_with_views
from mbrl_agents.data.rollout import PredictorFactory

_FORMER_SCALE = [1.0, 1.0, 1.0, 0.25, 0.25, 0.25, 0.0]
"""What earlier versions wrote down as the noise's scale where nobody had chosen one."""


@dataclass(frozen=True)
class Collection:
    """What to collect.

    Attributes:
        env_id: Gymnasium id.
        env_kwargs: keywords of ``gym.make``; ``init="benchmark"`` is refused, because the
            official initial states are the test set.
        source: "expert", "noisy_expert" (the recorded label is the expert's correction of what
            was executed; for Box actions only), "random" or "agent".
        episodes: number per task.
        tasks: task keywords to go through; None leaves the task to ``env_kwargs``.
        seed: of the whole collection.
        noise: of "noisy_expert".
        attempts: how often an unsuccessful episode is tried again with another seed; the last
            attempt is kept whatever its outcome.  1 keeps every episode as it comes.
        label: record the demonstrator's action as label for sources "random" and "agent" too,
            where the environment has one.
        agent: names the agent of source "agent", best by its weights: episodes of another agent
            are another collection.
    """

    env_id: str
    env_kwargs: Mapping[str, Any] = field(default_factory=dict)
    source: str = "expert"
    episodes: int = 50
    tasks: Sequence[int | str] | None = None
    seed: int = 0
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    attempts: int = 1
    label: bool = False
    agent: str | None = None

    def __post_init__(self) -> None:
        if self.source not in SOURCES:
            raise ValueError(f"unknown source {self.source!r}; valid: {', '.join(SOURCES)}")
        if self.episodes < 1 or self.attempts < 1:
            raise ValueError("episodes and attempts must be at least 1")
        if self.env_kwargs.get("init", "random") != "random":
            raise ValueError(
                "episodes are collected from random placements only (init='random'): "
                "the official initial states are the test set"
            )

    def seen_as(self, view: str) -> Collection:
        """The same episodes of an environment with another value of the keyword ``obs``."""
        return replace(self, env_kwargs={**self.env_kwargs, "obs": view})

    def signature(self) -> str:
        """Names the collection in every episode's info; equal signatures are one collection."""
        parts: dict[str, Any] = {
            "env_id": self.env_id,
            "env_kwargs": dict(self.env_kwargs),
            "source": self.source,
            "seed": self.seed,
            "attempts": self.attempts,
            "label": self.label,
        }
        if self.source == "noisy_expert":
            noise = asdict(self.noise)
            parts["noise"] = {k: v for k, v in noise.items() if v is not None}
        if self.agent is not None:
            parts["agent"] = self.agent
        return json.dumps(parts, sort_keys=True, default=str)


@dataclass(frozen=True)
class _Job:
    collection: Collection
    task: int | str | None
    number: int
    factory: PredictorFactory | None
    views: tuple[str, ...] = ()


def collect(
    collection: Collection,
    *,
    workers: int = 1,
    engine: str = "local",
    factory: PredictorFactory | None = None,
    on_episode: Callable[[Episode], None] | None = None,
    verbose: int = 0,
) -> list[Episode]:
    """Collect into memory.  See `Collection`; ``factory`` is needed for source "agent".

    Args:
        workers, engine: see `mbrl_agents.data.parallel.ordered_map`; the episodes are the same.
        on_episode: told of every episode.
        verbose: 1 writes lines about its progress to the standard output, 0 nothing.
    """
    episodes = []
    jobs = _jobs(collection, factory)
    tell = _teller(len(jobs), on_episode, verbose)
    with closing(_run(collection, jobs, workers, engine)) as found:
        for (episode,) in found:
            episodes.append(episode)
            tell(episode)
    return episodes


def collect_to_folder(
    folder: str | Path,
    collection: Collection,
    *,
    views: Mapping[str, str | Path] | None = None,
    workers: int = 1,
    engine: str = "local",
    factory: PredictorFactory | None = None,
    on_episode: Callable[[Episode], None] | None = None,
    verbose: int = 0,
) -> int:
    """Collect what a folder lacks of a collection and return how many episodes were run.

    Episodes of other collections in the folder stay; their observations must be of the same
    kind.  Finished episodes are on disk after every shard, and when an exception ends the run.

    Args:
        views: by other values of the environment's keyword ``obs``, folders that get the same
            episodes as an environment with that keyword would have recorded them, but that the
            agent of source "agent" acts by the first; for environments that can show them at
            once (`mbrl_agents.data.recording.views_of`).
        workers, engine: see `mbrl_agents.data.parallel.ordered_map`; the episodes are the same.
        on_episode, verbose: see `collect`.

    Raises:
        FolderInUse: another process collects into a folder.
        ValueError: a folder holds episodes of another environment, observation, reward, kind of
            assets, or recorded under other conditions (see `mbrl_agents.data.conditions`).
    """
    views = views or {}
    with ExitStack() as stack:
        kept = [_Kept.open(stack, folder, collection)]
        for view, place in views.items():
            kept.append(_Kept.open(stack, place, collection.seen_as(view)))
        jobs = [
            replace(job, views=tuple(views))
            for job in _jobs(collection, factory)
            if any((_task_key(job), job.number) not in own.done for own in kept)
        ]
        if not jobs:
            return 0
        tell = _teller(len(jobs), on_episode, verbose)
        found = stack.enter_context(closing(_run(collection, jobs, workers, engine)))
        for episodes in found:
            for own, episode in zip(kept, episodes, strict=True):
                own.append(episode)
            tell(episodes[0])
        return len(jobs)


@dataclass(frozen=True)
class _Kept:
    """A folder, and which episodes of a collection it had at first."""

    folder: str | Path
    infos: list[dict[str, Any]]
    done: frozenset[tuple[str, int]]
    writer: EpisodeWriter

    @classmethod
    def open(cls, stack: ExitStack, folder: str | Path, collection: Collection) -> _Kept:
        """Lock it until the stack is left; its episodes are written then at the latest."""
        stack.enter_context(locked(folder))
        infos = read_infos(folder)
        _check_compatible(folder, infos, collection)
        wanted = _identity(collection.signature())
        done = frozenset(
            (info["task_key"], info["number"])
            for info in infos
            if _identity(info.get("collection", "{}")) == wanted
        )
        return cls(folder, infos, done, stack.enter_context(EpisodeWriter(folder)))

    def append(self, episode: Episode) -> None:
        """Write an episode unless it is there: a kill may leave one view ahead of another."""
        if (episode.info["task_key"], episode.info["number"]) in self.done:
            return
        # What assets="auto" stands for is known only once the environment is there.
        _check_same(self.folder, self.infos, "assets", episode.info.get("assets"))
        check_same_conditions(self.folder, self.infos, episode.info.get("conditions"))
        self.writer.append(episode)


def _jobs(collection: Collection, factory: PredictorFactory | None) -> list[_Job]:
    tasks: Sequence[int | str | None] = [None] if collection.tasks is None else collection.tasks
    # Tasks in the outer loop: a worker then rebuilds its environment once per task.
    return [
        _Job(collection, task, n, factory) for task in tasks for n in range(collection.episodes)
    ]


def _teller(
    total: int, on_episode: Callable[[Episode], None] | None, verbose: int
) -> Callable[[Episode], None]:
    """What is told of every episode."""
    lines = ProgressLines(on_stdout, "collecting", total) if verbose else None
    successes = 0

    def tell(episode: Episode) -> None:
        nonlocal successes
        successes += episode.success
        if lines is not None:
            lines(text=f"successful {successes}")
        if on_episode is not None:
            on_episode(episode)

    return tell


def _run(
    collection: Collection, jobs: list[_Job], workers: int, engine: str
) -> Generator[list[Episode], None, None]:
    if collection.source == "agent" and any(job.factory is None for job in jobs):
        raise ValueError("source 'agent' needs a factory that builds the predictor")
    return ordered_map(_collect_one, jobs, workers=workers, engine=engine)


def _collect_one(cache: EnvCache, job: _Job) -> list[Episode]:
    """The episode as the environment shows it, and as its views do."""
    collection = job.collection
    kwargs = dict(collection.env_kwargs)
    if job.task is not None:
        kwargs["task"] = job.task
    env = cache.get(collection.env_id, kwargs)
    predictor = cache.build(job.factory) if job.factory is not None else None
    for attempt in range(collection.attempts):
        # The task enters by its text so that a collection of other tasks changes nothing.
        key = (*_task_key(job).encode(), 256, job.number, attempt)
        episodes = run_episode_with_views(
            env,
            job.views,
            source=collection.source,
            seed=np.random.SeedSequence(collection.seed, spawn_key=key),
            noise=collection.noise,
            predictor=predictor,
            label=collection.label,
        )
        if episodes[0].success:
            break
    shown = [collection, *map(collection.seen_as, job.views)]
    return [
        replace(episode, info={**_origin(one, job), **episode.info})
        for one, episode in zip(shown, episodes, strict=True)
    ]


def _origin(collection: Collection, job: _Job) -> dict[str, str | int | float | bool | None]:
    origin: dict[str, str | int | float | bool | None] = {
        "env_id": collection.env_id,
        "collection": collection.signature(),
        "task_key": _task_key(job),
        "number": job.number,
    }
    for name in ("obs", "reward"):
        if name in collection.env_kwargs:
            origin[name] = collection.env_kwargs[name]
    return origin


def _identity(signature: str) -> dict[str, Any]:
    """What a signature says, the same for one that an earlier version wrote."""
    parts: dict[str, Any] = json.loads(signature)
    noise = parts.get("noise", {})
    if noise.get("scale") == _FORMER_SCALE:
        del noise["scale"]
    return parts


def _task_key(job: _Job) -> str:
    return "" if job.task is None else str(job.task)


def _check_compatible(
    folder: str | Path, infos: list[dict[str, Any]], collection: Collection
) -> None:
    kwargs = collection.env_kwargs
    for name in ("env_id", "obs", "reward"):
        value = collection.env_id if name == "env_id" else kwargs.get(name)
        _check_same(folder, infos, name, value)
    if kwargs.get("assets", "auto") != "auto":
        _check_same(folder, infos, "assets", kwargs["assets"])


def _check_same(folder: str | Path, infos: list[dict[str, Any]], name: str, value: object) -> None:
    for info in infos:
        if info.get(name) != value:
            raise ValueError(
                f"{folder} holds episodes with {name}={info.get(name)!r}, not {value!r}; "
                "use another folder"
            )


__all__ = [
    "SOURCES",
    "Collection",
    "NoiseConfig",
    "collect",
    "collect_to_folder",
]
