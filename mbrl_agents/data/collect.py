"""Collects episodes from an environment: demonstrator, disturbed demonstrator, random, agent.

An episode's seed depends on the collection's seed, the task and the episode's number alone, so
the result is the same for any number of worker processes, and a resumed collection runs only
the episodes that are missing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import gymnasium
import numpy as np

from mbrl_agents.data.dataset import EpisodeWriter, read_infos
from mbrl_agents.data.episode import Episode
from mbrl_agents.data.noise import Disturbance, NoiseConfig
from mbrl_agents.data.parallel import EnvCache, ordered_map

Source = Literal["expert", "noisy_expert", "random", "agent"]
SOURCES: tuple[str, ...] = get_args(Source)


class Predictor(Protocol):
    """Whatever has Stable-Baselines3's ``predict``."""

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
    ) -> tuple[Any, Any]: ...


PredictorFactory = Callable[[gymnasium.Env], Predictor]
"""Builds a predictor for an environment; importable or picklable where processes are used."""


@dataclass(frozen=True)
class Collection:
    """What to collect.

    Attributes:
        env_id: Gymnasium id.
        env_kwargs: keywords of ``gym.make``; ``init="benchmark"`` is refused, because the
            official initial states are the test set.
        source: "expert", "noisy_expert" (the recorded label is the expert's correction of what
            was executed), "random" or "agent".
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
            parts["noise"] = asdict(self.noise)
        if self.agent is not None:
            parts["agent"] = self.agent
        return json.dumps(parts, sort_keys=True, default=str)


@dataclass(frozen=True)
class _Job:
    collection: Collection
    task: int | str | None
    number: int
    factory: PredictorFactory | None


def collect(
    collection: Collection,
    *,
    workers: int = 1,
    factory: PredictorFactory | None = None,
    on_episode: Callable[[Episode], None] | None = None,
) -> list[Episode]:
    """Collect into memory.  See `Collection`; ``factory`` is needed for source "agent"."""
    episodes = []
    for episode in _run(collection, _jobs(collection, factory), workers):
        episodes.append(episode)
        if on_episode is not None:
            on_episode(episode)
    return episodes


def collect_to_folder(
    folder: str | Path,
    collection: Collection,
    *,
    workers: int = 1,
    factory: PredictorFactory | None = None,
    on_episode: Callable[[Episode], None] | None = None,
) -> int:
    """Collect what a folder lacks of a collection and return how many episodes were added.

    Episodes of other collections in the folder stay; their observations must be of the same
    kind.  Finished episodes are on disk after every shard, and when an exception ends the run.

    Raises:
        ValueError: the folder holds episodes of another environment, observation, reward or
            kind of assets.
    """
    infos = read_infos(folder)
    _check_compatible(folder, infos, collection)
    signature = collection.signature()
    done = {(i["task_key"], i["number"]) for i in infos if i.get("collection") == signature}
    jobs = [j for j in _jobs(collection, factory) if (_task_key(j), j.number) not in done]
    if not jobs:
        return 0
    with EpisodeWriter(folder) as writer:
        for episode in _run(collection, jobs, workers):
            # What assets="auto" stands for is known only once the environment is there.
            _check_same(folder, infos, "assets", episode.info.get("assets"))
            writer.append(episode)
            if on_episode is not None:
                on_episode(episode)
    return len(jobs)


def run_episode(
    env: gymnasium.Env,
    *,
    source: str,
    seed: np.random.SeedSequence,
    noise: NoiseConfig | None = None,
    predictor: Predictor | None = None,
    label: bool = False,
) -> Episode:
    """Run and record one episode until it terminates or is truncated.

    Raises:
        ValueError: the source needs a demonstrator or predictor that is not there.
    """
    reset_seed = int(seed.generate_state(1)[0])
    rng = np.random.default_rng(seed.spawn(1)[0])
    space = env.action_space
    if not isinstance(space, gymnasium.spaces.Box):
        raise ValueError(f"episodes need a Box action space, got {space}")
    if source == "agent":
        if predictor is None:
            raise ValueError("source 'agent' needs a predictor")
        if hasattr(predictor, "set_random_seed"):
            predictor.set_random_seed(reset_seed)
    observation, info = env.reset(seed=reset_seed)
    expert = _expert(env, required=source in ("expert", "noisy_expert"))
    if source in ("random", "agent") and not label:
        expert = None
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    disturb = Disturbance(noise or NoiseConfig(), low, high, rng)
    observations = [_as_dict(observation)]
    actions, labels, rewards = [], [], []
    state, start = None, np.ones(1, dtype=bool)
    terminated = truncated = False
    while not (terminated or truncated):
        wanted = None if expert is None else np.asarray(expert(), dtype=np.float32)
        if source == "random":
            action = rng.uniform(low, high).astype(np.float32)
        elif source == "agent":
            assert predictor is not None
            raw, state = predictor.predict(observation, state, start, deterministic=False)
            action, start = np.asarray(raw, dtype=np.float32), np.zeros(1, dtype=bool)
        else:
            assert wanted is not None
            action = disturb(wanted) if source == "noisy_expert" else wanted
        observation, reward, terminated, truncated, info = env.step(action)
        observations.append(_as_dict(observation))
        actions.append(action)
        labels.append(np.full_like(action, np.nan) if wanted is None else wanted)
        rewards.append(float(reward))
    return Episode(
        observations={k: np.stack([o[k] for o in observations]) for k in observations[0]},
        actions=np.stack(actions),
        labels=np.stack(labels),
        rewards=np.array(rewards, dtype=np.float32),
        terminated=bool(terminated),
        success=succeeded(info),
        info={"seed": reset_seed, "source": source, **_describe(env)},
    )


def succeeded(info: Mapping[str, Any]) -> bool:
    """Whether the last step's info reports success.

    An end alone is no success: a fall ends an episode too.
    """
    return bool(info.get("is_success", False))


def _jobs(collection: Collection, factory: PredictorFactory | None) -> list[_Job]:
    tasks: Sequence[int | str | None] = [None] if collection.tasks is None else collection.tasks
    # Tasks in the outer loop: a worker then rebuilds its environment once per task.
    return [
        _Job(collection, task, n, factory) for task in tasks for n in range(collection.episodes)
    ]


def _run(collection: Collection, jobs: list[_Job], workers: int) -> Iterator[Episode]:
    if collection.source == "agent" and any(job.factory is None for job in jobs):
        raise ValueError("source 'agent' needs a factory that builds the predictor")
    return ordered_map(_collect_one, jobs, workers=workers)


def _collect_one(cache: EnvCache, job: _Job) -> Episode:
    collection = job.collection
    kwargs = dict(collection.env_kwargs)
    if job.task is not None:
        kwargs["task"] = job.task
    env = cache.get(collection.env_id, kwargs)
    predictor = cache.build(job.factory) if job.factory is not None else None
    for attempt in range(collection.attempts):
        # The task enters by its text so that a collection of other tasks changes nothing.
        key = (*_task_key(job).encode(), 256, job.number, attempt)
        episode = run_episode(
            env,
            source=collection.source,
            seed=np.random.SeedSequence(collection.seed, spawn_key=key),
            noise=collection.noise,
            predictor=predictor,
            label=collection.label,
        )
        if episode.success:
            break
    origin: dict[str, str | int | float | bool | None] = {
        "env_id": collection.env_id,
        "collection": collection.signature(),
        "task_key": _task_key(job),
        "number": job.number,
    }
    for name in ("obs", "reward"):
        if name in kwargs:
            origin[name] = kwargs[name]
    return replace(episode, info={**origin, **episode.info})


def _task_key(job: _Job) -> str:
    return "" if job.task is None else str(job.task)


def _expert(env: gymnasium.Env, *, required: bool) -> Callable[[], np.ndarray] | None:
    base: Any = env.unwrapped
    if hasattr(base, "expert_action") and getattr(base, "has_expert", True):
        expert: Callable[[], np.ndarray] = base.expert_action
        return expert
    if required:
        name = env.spec.id if env.spec is not None else type(base).__name__
        raise ValueError(
            f"{name} has no scripted demonstrator for this task; use source 'random' or 'agent'"
        )
    return None


def _describe(env: gymnasium.Env) -> dict[str, str | int | float | bool | None]:
    """Origin of the episode, as far as the environment tells."""
    base: Any = env.unwrapped
    described: dict[str, str | int | float | bool | None] = {}
    index = getattr(base, "task_index", None)
    if index is not None:
        described["task"] = int(index)
        names = getattr(base, "task_names", None)
        if names:
            described["task_name"] = str(names[int(index)])
    for name, attribute in (("suite", "suite"), ("assets", "assets_kind")):
        value = getattr(base, attribute, None)
        if value is not None:
            described[name] = str(getattr(value, "name", value))
    return described


def _as_dict(observation: Any) -> dict[str, np.ndarray]:
    if isinstance(observation, dict):
        return {key: np.array(value) for key, value in observation.items()}
    return {"obs": np.array(observation)}


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
    "Predictor",
    "PredictorFactory",
    "collect",
    "collect_to_folder",
    "run_episode",
    "succeeded",
]
