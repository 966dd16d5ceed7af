"""Turns a suite into jobs: collect, train, evaluate, and what needs what.

A job's key is a digest of everything that decides its result, the jobs it needs and the version
of the code included.  A finished job is therefore found again by its key, and changing a setting
reruns exactly what depends on it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from mbrl_agents import __version__
from mbrl_agents.config import SEARCH, resolve_config
from mbrl_agents.data.recording import views_of
from mbrl_agents.registry import METHODS
from mbrl_agents.runs.tasks import one_at_a_time

from .suite import RESULTS_VERSION, STEPS_OF_DATA, Row, Suite, digest

# Rough cost of the kinds of job, in seconds: decides only the order, longest chain first.
_COLLECTING = 60.0
_IMAGINING = 10.0
_LOOKING = 1.0
_HINTS = ("overrides", "views")
"""Parts of a job's spec that decide nothing."""


@dataclass(frozen=True)
class Job:
    """One process' work.

    Attributes:
        kind: "collect", "train", "evaluate" or "imagine".
        title: for people.
        spec: plain values that decide the result.
        needs: keys of the jobs whose results this one reads.
        after: keys of jobs that may have done its work before it starts; it can do without.
        cost: rough seconds.
        wide: may use all workers itself, and then runs alone.
    """

    kind: str
    title: str
    spec: dict[str, Any]
    needs: tuple[str, ...] = ()
    cost: float = 0.0
    wide: bool = False
    after: tuple[str, ...] = ()
    key: str = field(init=False)

    def __post_init__(self) -> None:
        # Overrides are how a job is told its settings; the digest of these stands for them, so that
        # a preset and the same values written out are one job.  Views are done for other jobs, and
        # which of them there are depends on the rows that were asked for.
        decides = {
            "kind": self.kind,
            "spec": {name: value for name, value in self.spec.items() if name not in _HINTS},
            "needs": self.needs,
            "code": [__version__, RESULTS_VERSION],
        }
        object.__setattr__(self, "key", digest(decides))


@dataclass(frozen=True)
class Cell:
    """One trained-and-evaluated instance of a row: an environment, a task and a seed.

    The cells of the tasks of a row with ``multitask`` have one training.  ``imagination`` is the
    job that tests a world model, where the suite asks for it and the method has one.
    """

    row: Row
    env: str
    task: int | str | None
    seed: int
    training: str | None
    evaluations: tuple[str, ...]
    imagination: str | None = None


@dataclass(frozen=True)
class BenchmarkPlan:
    """All jobs by key, and which of them make up each cell of the table."""

    jobs: dict[str, Job]
    cells: tuple[Cell, ...]

    def priorities(self) -> dict[str, float]:
        """For every job the rough seconds from its start to the end of what waits for it."""
        followers: dict[str, list[str]] = {key: [] for key in self.jobs}
        for job in self.jobs.values():
            for before in (*job.needs, *job.after):
                followers[before].append(job.key)
        found: dict[str, float] = {}

        def chain(key: str) -> float:
            if key not in found:
                found[key] = self.jobs[key].cost + max(map(chain, followers[key]), default=0.0)
            return found[key]

        return {key: chain(key) for key in self.jobs}


def make_plan(suite: Suite) -> BenchmarkPlan:
    """The jobs of a suite."""
    # Jobs of a row share its settings; what a name stands for may have changed since the last plan.
    _resolved.cache_clear()
    jobs: dict[str, Job] = {}
    cells: list[Cell] = []

    def add(job: Job) -> str:
        jobs.setdefault(job.key, job)
        return job.key

    for env in suite.environments:
        rows = suite.rows(env)
        all_rows = (*rows, *(row for row in suite.starts if row.runs_on(env)))
        teachers, observed = _teachers(all_rows), _observed_at_once(suite, env, all_rows)
        for task, seed in itertools.product(suite.tasks or (None,), suite.seeds):
            place = _Place(suite, env, task, observed)
            for row in rows:
                if seed not in suite.seeds_of(row):
                    continue
                training = imagination = None
                if METHODS[row.method].train:
                    training = _training(place, teachers, row, seed, add)
                evaluations = tuple(add(job) for job in _evaluations(place, row, seed, training))
                imagines = METHODS[row.method].imagines and not row.test_env_kwargs
                if training is not None and suite.imagination and imagines:
                    imagination = _imagination(place, row, seed, training, add)
                cells.append(Cell(row, env, task, seed, training, evaluations, imagination))
    return BenchmarkPlan(jobs, tuple(cells))


@dataclass(frozen=True)
class _Place:
    """Where cells run: one environment and task of a suite."""

    suite: Suite
    env: str
    task: int | str | None
    observed: tuple[str, ...] = ()
    """Values of ``obs`` under which one job records its rows' episodes, that job's own first."""

    def env_kwargs(self, row: Row) -> dict[str, Any]:
        kwargs = {**self.suite.env_kwargs, **row.env_kwargs}
        if self.task is not None:
            kwargs["task"] = self.task
        return kwargs

    def test_env_kwargs(self, row: Row) -> dict[str, Any]:
        """Those of tests: a disturbed environment, say, for what was trained without."""
        kwargs = self.env_kwargs(row)
        if row.multitask:
            kwargs = {**one_at_a_time(kwargs), "task": self.task}
        return {**kwargs, **self.suite.evaluation.env_kwargs, **row.test_env_kwargs}

    def __str__(self) -> str:
        """For titles, which name the environment only where there are several."""
        words = f" in {self.env}" if len(self.suite.environments) > 1 else ""
        return words if self.task is None else f"{words} of task {self.task}"


def _teachers(rows: Sequence[Row]) -> dict[str, Row]:
    """For each row of an environment the row whose training gives its weights.

    Methods that train the same components with the same settings share one training: a planner
    without a policy uses the world model of the method that trains both.
    """
    rows = [row for row in rows if METHODS[row.method].train]
    trained = {row.name: _trained_parts(row) for row in rows}
    teachers = {}
    for row in rows:
        covering = [
            other
            for other in rows
            if trained[row.name]
            and (row.steps, row.env_kwargs) == (other.steps, other.env_kwargs)
            and (row.multitask, row.episodes) == (other.multitask, other.episodes)
            # Own experience depends on the planner that gathered it, and checks on how a row acts.
            and row.steps == 0
            and (other is row or not row.check_every)
            and trained[row.name].items() <= trained[other.name].items()
        ]
        # The one that trains most; the first of equals, so that all of them agree.
        teachers[row.name] = max(covering, key=lambda o: len(trained[o.name]), default=row)
    return teachers


def _trained_parts(row: Row) -> dict[str, str]:
    """Digest of the settings of each trained component, by name."""
    config = _resolved(row.method, row.overrides)
    parts = METHODS[row.method].trained(config)
    return {name: digest(value) for name, value in parts.items()}


@cache
def _resolved(method: str, overrides: tuple[str, ...]) -> dict[str, Any]:
    return resolve_config(method, overrides).to_dict()


def _settings(row: Row, overrides: tuple[str, ...], unread: Sequence[str] = ()) -> str:
    """Digest of a row's resolved settings, so that a changed default counts like an override."""
    config = _resolved(row.method, overrides)
    return digest({part: value for part, value in config.items() if part not in unread})


def _observed_at_once(suite: Suite, env: str, rows: Sequence[Row]) -> tuple[str, ...]:
    """The values of ``obs`` by which rows that learn from recorded episodes differ, images first.

    The physics of an episode takes about as long as drawing it.  Empty where there is nothing to
    share: the rows differ in more, or the environment shows one thing at a time.
    """
    kwargs = [
        {**suite.env_kwargs, **row.env_kwargs}
        for row in rows
        if METHODS[row.method].demonstrations or row.steps == STEPS_OF_DATA
    ]
    if not all(isinstance(own.get("obs"), str) for own in kwargs):
        return ()
    shown = list(dict.fromkeys(str(own["obs"]) for own in kwargs))
    others = [{name: own[name] for name in own if name != "obs"} for own in kwargs]
    if len(shown) < 2 or any(own != others[0] for own in others):
        return ()
    if not set(shown) <= set(views_of(env)):
        return ()
    # What draws images can show all the rest; the other way round it would need a renderer.
    return tuple(sorted(shown, key=lambda obs: obs != "image"))


def _collection(place: _Place, row: Row) -> Job:
    """The job that records a row's episodes.

    Where rows see the same episodes in several ways, the first of these jobs fills the folders of
    the others too, which then find nothing missing; where it failed they record their own.
    """
    kwargs = place.env_kwargs(row)
    job = _collection_in(place, kwargs)
    if not place.observed:
        return job
    keys = {obs: _collection_in(place, {**kwargs, "obs": obs}).key for obs in place.observed}
    first = place.observed[0]
    if kwargs["obs"] != first:
        return replace(job, after=(keys[first],), cost=_LOOKING)
    return replace(job, spec={**job.spec, "views": {o: k for o, k in keys.items() if o != first}})


def _collection_in(place: _Place, kwargs: dict[str, Any]) -> Job:
    data = place.suite.data
    spec = {
        "env_id": place.env,
        "env_kwargs": kwargs,
        "source": data.source,
        "episodes": data.episodes,
        "attempts": data.attempts,
        "seed": data.seed,
        "noise": data.noise,
    }
    title = f"collect {data.episodes} {data.source} episodes{place}"
    return Job("collect", title, spec, cost=_COLLECTING, wide=True)


def _training(place: _Place, teachers: dict[str, Row], row: Row, seed: int, add: Any) -> str:
    row = teachers[row.name]
    start: str | None = None
    if row.start:
        start = _training(place, teachers, place.suite.start_of(row, place.env), seed, add)
    recipe = METHODS[row.method]
    kwargs, places = place.env_kwargs(row), [place]
    if row.multitask:
        tasks = place.suite.tasks
        kwargs["task"] = list(tasks)
        # Each task's episodes are those that a row of specialists learns from.
        places = [replace(place, task=task) for task in tasks]
        place = replace(place, task=None)
    needs: tuple[str, ...] = ()
    if recipe.demonstrations or row.steps == STEPS_OF_DATA:
        needs = tuple(add(_collection(one, row)) for one in places)
    overrides = list(row.overrides)
    unread: tuple[str, ...] = ()
    if recipe.searches and row.steps == 0:
        # What only the search reads is given again at evaluation, so changing it trains nothing.
        unread = SEARCH
        overrides = [o for o in overrides if o.partition("=")[0].split(".")[0] not in unread]
    spec = {
        "method": row.method,
        "env_id": place.env,
        "env_kwargs": kwargs,
        "overrides": overrides,
        "seed": seed,
        "steps": row.steps,
        "demonstrations": recipe.demonstrations,
        "settings": _settings(row, row.overrides, unread),
    }
    if row.check_every:
        test = place.suite.evaluation
        spec["checks"] = [row.check_every, test.check_episodes or test.episodes]
    if needs and row.episodes is not None and row.episodes < place.suite.data.episodes:
        spec["limit"] = row.episodes
    if start is not None:
        spec["start"], needs = start, (*needs, start)
    title = f"train {row.name}{place}, seed {seed}"
    key: str = add(Job("train", title, spec, needs, recipe.cost))
    return key


def _evaluations(place: _Place, row: Row, seed: int, training: str | None) -> Iterator[Job]:
    test = place.suite.evaluation
    recipe = METHODS[row.method]
    # Only planning takes long enough to be worth a second process.
    episodes = min(row.tests or test.episodes, test.episodes)
    part = test.part if recipe.searches else episodes
    kwargs = place.test_env_kwargs(row)
    for first in range(0, episodes, part):
        last = min(first + part, episodes)
        spec = {
            "method": row.method,
            "overrides": list(row.tested),
            "env_id": place.env,
            "env_kwargs": kwargs,
            "seed": seed,
            "first": first,
            "last": last,
            "init": test.init,
            "deterministic": test.deterministic,
            "settings": _settings(row, row.tested),
        }
        title = f"evaluate {row.name}{place}, seed {seed}, episodes {first} to {last - 1}"
        yield Job("evaluate", title, spec, (training,) if training else (), recipe.evaluation_cost)


def _imagination(place: _Place, row: Row, seed: int, training: str, add: Any) -> str:
    """The test of a world model on held-out episodes, which are collected first."""
    asked = place.suite.imagination
    assert asked is not None
    spec = {
        "env_id": place.env,
        "env_kwargs": place.env_kwargs(row),
        "source": asked.source,
        "episodes": asked.episodes,
        "attempts": 1,
        "seed": asked.seed,
        "noise": {},
    }
    title = f"collect {asked.episodes} held-out episodes{place}"
    collection = add(Job("collect", title, spec, cost=_COLLECTING, wide=True))
    looks = {"context": asked.context, "horizon": asked.horizon, "windows": asked.windows}
    title = f"imagine with {row.name}{place}, seed {seed}"
    spec = {"env_kwargs": place.env_kwargs(row), **looks}
    key: str = add(Job("imagine", title, spec, (training, collection), cost=_IMAGINING))
    return key


__all__ = ["BenchmarkPlan", "Cell", "Job", "make_plan"]
