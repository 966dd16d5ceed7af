"""Runs any predictor on an environment and records every episode."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

import gymnasium
import numpy as np

from mbrl_agents.data.conditions import conditions_of
from mbrl_agents.data.parallel import EnvCache, make_env, ordered_map
from mbrl_agents.data.rollout import Acting, Predictor, PredictorFactory, Step, play, succeeded
from mbrl_agents.evaluation.executed import executed_optimism


@dataclass(frozen=True)
class EpisodeRecord:
    """The outcome of one evaluated episode.

    Attributes:
        task: index of the task, or None where the environment has no tasks.
        init_state: number of the official initial state, or None for a random placement.
        seed: of the environment and the predictor in this episode.
        success: whether the environment reported success; None where the last step's info says
            nothing of it, as in environments that know no success but only a return.
        episode_return: sum of rewards.
        steps: control steps taken.
        plan_ms: wall time of each call of ``predict`` that decided anew, see `Acting`.
        assets: which models the simulation used, where the environment tells.
        conditions: what the outcome depends on beside the agent, see `data.conditions`; not in
            `to_json`, as it is the same for all episodes.
        optimism: of a planner along what it executed, see `evaluation.executed`; None for others.
    """

    task: int | None
    init_state: int | None
    seed: int
    success: bool | None
    episode_return: float
    steps: int
    plan_ms: tuple[float, ...] = field(repr=False)
    assets: str | None = None
    suite: str | None = None
    conditions: Mapping[str, Any] | None = field(default=None, repr=False)
    optimism: Mapping[str, float] | None = None

    @property
    def reward_per_step(self) -> float:
        return self.episode_return / self.steps

    def to_json(self) -> dict[str, Any]:
        """One line of ``episodes.jsonl``; ``plan_ms`` becomes its mean."""
        return {
            "suite": self.suite,
            "task": self.task,
            "init_state": self.init_state,
            "seed": self.seed,
            "success": self.success,
            "return": round(self.episode_return, 4),
            "reward_per_step": round(self.reward_per_step, 4),
            "steps": self.steps,
            "plan_ms": round(float(np.mean(self.plan_ms)), 3),
            "assets": self.assets,
            "optimism": None if self.optimism is None else dict(self.optimism),
        }


@dataclass(frozen=True)
class _Job:
    factory: PredictorFactory
    env_id: str
    env_kwargs: Mapping[str, Any]
    task: int | str | None
    number: int
    init_state: int | None
    seed: int
    deterministic: bool


def evaluate(
    factory: PredictorFactory,
    env_id: str,
    env_kwargs: Mapping[str, Any] | None = None,
    *,
    episodes: int | Sequence[int] = 20,
    init: str | None = None,
    tasks: Sequence[int | str] | None = None,
    seed: int = 0,
    workers: int = 1,
    deterministic: bool = True,
    on_episode: Callable[[EpisodeRecord], None] | None = None,
) -> list[EpisodeRecord]:
    """Run ``episodes`` episodes of each task and record them.

    Args:
        factory: builds the predictor for an environment; called in each process for every
            environment that it builds, which is whenever the task changes.
        env_id, env_kwargs: of ``gym.make``.
        episodes: how many, or the numbers of those to run.
        init: "benchmark" goes through the official initial states 0, 1, ...; "random" draws
            placements; None is "benchmark" where the environment has official states.
        tasks: task keywords to go through; None leaves the task to ``env_kwargs``.
        seed: seed and episode number decide an episode, whatever the number of workers.
        deterministic: passed to ``predict``.
        on_episode: called with each record as it comes in, in order.

    Raises:
        ValueError: more episodes asked for than there are official initial states.
    """
    if init is None:
        task = {} if not tasks else {"task": tasks[0]}
        init = default_init(env_id, {**(env_kwargs or {}), **task})
    if init not in ("benchmark", "random"):
        raise ValueError(f"init must be 'benchmark' or 'random', got {init!r}")
    numbers = range(episodes) if isinstance(episodes, int) else episodes
    if len(numbers) < 1:
        raise ValueError(f"episodes must be at least 1, got {episodes}")
    kwargs = keywords_of_init(env_kwargs or {}, init)
    jobs = [
        _Job(
            factory=factory,
            env_id=env_id,
            env_kwargs=kwargs,
            task=task,
            number=number,
            init_state=number if init == "benchmark" else None,
            seed=seed,
            deterministic=deterministic,
        )
        for task in ([None] if tasks is None else tasks)
        for number in numbers
    ]
    records = []
    with closing(ordered_map(_evaluate_one, jobs, workers=workers)) as found:
        for record in found:
            records.append(record)
            if on_episode is not None:
                on_episode(record)
    return records


def keywords_of_init(env_kwargs: Mapping[str, Any], init: str) -> dict[str, Any]:
    """Keywords of ``gym.make`` with ``init``, which only environments with official states know."""
    kwargs = {k: v for k, v in env_kwargs.items() if k != "init"}
    return {**kwargs, "init": init} if init == "benchmark" else kwargs


def default_init(env_id: str, env_kwargs: Mapping[str, Any] | None = None) -> str:
    """ "benchmark" for an environment with official initial states, else "random"."""
    from mbrl_agents.envs.registration import defaults

    known = defaults(env_id).init  # without building an environment, which may take seconds
    if known is not None:
        return known
    env = make_env(env_id, {k: v for k, v in (env_kwargs or {}).items() if k != "init"})
    try:
        official = getattr(env.unwrapped, "n_init_states", None) is not None
    finally:
        env.close()
    return "benchmark" if official else "random"


def run_episode(
    env: gymnasium.Env,
    predictor: Predictor,
    *,
    seed: int,
    init_state: int | None = None,
    deterministic: bool = True,
    on_step: Callable[[gymnasium.Env], None] | None = None,
) -> EpisodeRecord:
    """Run one episode; the predictor starts without state and with ``seed``.

    Args:
        init_state: official initial state to start from, or None.
        on_step: called with the environment after its reset and after every step.
    """
    acting = Acting(predictor, seed, deterministic)
    options = None if init_state is None else {"init_state": init_state}
    answers: list[Step] = []
    states: list[Any] = []
    for step in play(env, acting, seed=seed, options=options):
        if answers:
            states.append(acting.state)
        # Observations may be images, and are not looked at again.
        answers.append(replace(step, observation=None))
        if on_step is not None:
            on_step(env)
    base: Any = env.unwrapped
    task, suite = getattr(base, "task_index", None), getattr(base, "suite", None)
    return EpisodeRecord(
        task=None if task is None else int(task),
        init_state=init_state,
        seed=seed,
        success=succeeded(step.info) if "is_success" in step.info else None,
        episode_return=sum(answer.reward for answer in answers),
        steps=len(states),
        plan_ms=tuple(acting.plan_ms),
        assets=getattr(base, "assets_kind", None),
        suite=None if suite is None else str(getattr(suite, "name", suite)),
        conditions=conditions_of(env),
        optimism=executed_optimism(predictor, states, answers),
    )


def _evaluate_one(cache: EnvCache, job: _Job) -> EpisodeRecord:
    kwargs = dict(job.env_kwargs)
    if job.task is not None:
        kwargs["task"] = job.task
    env = cache.get(job.env_id, kwargs)
    available = getattr(env.unwrapped, "n_init_states", None)
    if job.init_state is not None and available is not None and job.init_state >= available:
        raise ValueError(
            f"{job.env_id} has {available} official initial states, so at most {available} "
            "episodes; init='random' has no such limit"
        )
    seed = int(np.random.SeedSequence(job.seed, spawn_key=(job.number,)).generate_state(1)[0])
    return run_episode(
        env,
        cache.build(job.factory),
        seed=seed,
        init_state=job.init_state,
        deterministic=job.deterministic,
    )


__all__ = [
    "EpisodeRecord",
    "default_init",
    "evaluate",
    "run_episode",
]
