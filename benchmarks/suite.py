"""A benchmark suite: which methods, on which environments and tasks, with which data and budget.

A suite is a YAML file with the fields of `Suite`; ``suites/`` holds the project's own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from mbrl_agents.config import SEARCH

from . import fields
from .conditions import condition_text
from .fields import check_known

STEPS_OF_DATA = "data"
SOURCES = ("expert", "noisy_expert", "random")
INITS = ("benchmark", "random")

RESULTS_VERSION = 9
"""Raised with every change after which a job of the same settings gives another result."""


@dataclass(frozen=True)
class Data:
    """The episodes that methods learn from: `mbrl_agents.data.collect.Collection`'s fields.

    Attributes:
        source: "expert", "noisy_expert" or "random".
        episodes: per task.
        noise: settings of the noise of "noisy_expert".
        attempts: tries per episode until it succeeds.
        seed: of the collection; the same for every seed of the methods.
    """

    source: str = "noisy_expert"
    episodes: int = 50
    noise: dict[str, Any] = field(default_factory=dict)
    attempts: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        check_known(self.source, SOURCES, "source of data")
        for name in ("episodes", "attempts"):
            fields.integer(getattr(self, name), f"data.{name}", 1)
        fields.integer(self.seed, "data.seed")


@dataclass(frozen=True)
class Evaluation:
    """What every method is tested on.

    Attributes:
        episodes: per task and seed; with ``init="benchmark"`` the official initial states
            0, 1, ...
        init: "benchmark" or "random".
        part: episodes of one job of an agent; several share the processors better than one.
        check_episodes: of each test during training (a row's ``check_every``); None for as many as
            ``episodes``.
        deterministic: passed to ``predict``.
        env_kwargs: changes to the environment in tests alone, such as ``{disturbance: heavy}``.
    """

    episodes: int = 20
    init: str = "benchmark"
    part: int = 10
    check_episodes: int | None = None
    deterministic: bool = True
    env_kwargs: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_known(self.init, INITS, "evaluation.init")
        for name in ("episodes", "part"):
            fields.integer(getattr(self, name), f"evaluation.{name}", 1)
        if self.check_episodes is not None:
            fields.integer(self.check_episodes, "evaluation.check_episodes", 1)
        fields.flag(self.deterministic, "evaluation.deterministic")


@dataclass(frozen=True)
class Imagination:
    """What every world model of a suite is asked to imagine, on the same episodes.

    They are collected once for each environment and task and nothing is trained on them.

    Attributes:
        episodes: per environment and task.
        source: of their actions, as of `Data`.
        seed: of the collection.
        context, horizon, windows: observations shown at least, steps imagined at most, stretches at
            most, see `mbrl_agents.evaluation.imagined.imagine_windows`.
    """

    episodes: int = 32
    source: str = "random"
    seed: int = 1000
    context: int = 3
    horizon: int = 15
    windows: int = 64

    def __post_init__(self) -> None:
        check_known(self.source, SOURCES, "source of imagination")
        for name in ("episodes", "context", "horizon", "windows"):
            fields.integer(getattr(self, name), f"imagination.{name}", 1)
        fields.integer(self.seed, "imagination.seed")


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Attributes:
        method: name from the registry.
        label: name in the table; by default the method's, followed by what sets the row apart from
            the suite, as in "METHOD (all tasks, 5 episodes)".
        envs: environments of the suite to run it on; empty for all.  Two rows of one name on
            different environments are one method with settings of its own for each.
        overrides: dotted settings of the method.
        steps: environment steps of own experience; "data" means as many as the recorded
            episodes have.  Baselines need some; agents learn from the data alone at 0.
        env_kwargs: changes to the suite's, such as ``{obs: image}``.
        multitask: one training per seed on the episodes of all tasks of the suite, in place of one
            per task; "data" as ``steps`` is then their sum.
        test_env_kwargs: changes to the environment in this row's tests alone, to those of
            ``evaluation.env_kwargs``.  Rows that differ in nothing else share a training.
        test_overrides: settings of the search, ``planner`` and ``objective``, in this row's tests
            alone, beside ``overrides``: own steps may be gathered with a quicker one.
        episodes: learn from only the first so many recorded episodes of each task; None from all.
            They are collected once, as many as the suite's data say.
        check_every: environment steps of training between checks, without own ``steps`` updates of
            the fit to the recorded episodes: as many fresh episodes as the evaluation has, acted
            without noise; 0 for none.
        seeds: train it with only the first so many seeds of the suite, where more take too long;
            None for all.
        tests: test it on only the first so many episodes of the evaluation, where a plan takes too
            long for all; None, or more than there are, for all.
        start: name of the row whose training this one goes on from with its own steps, in place
            of learning from the recorded episodes first; they stay in its data.
    """

    method: str
    label: str = ""
    envs: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    steps: int | str = 0
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    multitask: bool = False
    test_env_kwargs: dict[str, Any] = field(default_factory=dict)
    test_overrides: tuple[str, ...] = ()
    episodes: int | None = None
    check_every: int = 0
    start: str = ""
    seeds: int | None = None
    tests: int | None = None

    def __post_init__(self) -> None:
        fields.integer(self.check_every, f"{self.name}: check_every", 0)
        for name in ("seeds", "tests"):
            if getattr(self, name) is not None:
                fields.integer(getattr(self, name), f"{self.name}: {name}", 1)
        if isinstance(self.steps, str) and self.steps != STEPS_OF_DATA:
            raise ValueError(f"{self.name}: steps must be a number or 'data', not {self.steps!r}")
        if not isinstance(self.steps, str):
            fields.integer(self.steps, f"{self.name}: steps")
        if self.start and not self.steps:
            raise ValueError(f"{self.name}: a row with start goes on with own steps: give steps")
        for override in self.test_overrides:
            if override.split(".")[0] not in SEARCH:
                raise ValueError(
                    f"{self.name}: test_overrides are settings of {' and '.join(SEARCH)}, which no "
                    f"weights depend on, not {override!r}"
                )

    @property
    def tested(self) -> tuple[str, ...]:
        """Dotted settings of the method in tests."""
        return self.overrides + self.test_overrides

    @property
    def checked(self) -> bool:
        """Whether it shows checks during training, which know nothing of changes in its tests."""
        return bool(self.check_every) and not self.test_env_kwargs

    @property
    def name(self) -> str:
        return self.label or self.told(["all tasks"] * self.multitask)

    def told(self, apart: Sequence[str]) -> str:
        """The method's name with ``apart`` and what else sets the row apart."""
        apart = list(apart)
        if self.episodes is not None:
            apart.append(f"{self.episodes} episode{'s' * (self.episodes != 1)}")
        apart += [condition_text(self.test_env_kwargs)] if self.test_env_kwargs else []
        return self.method + (f" ({', '.join(apart)})" if apart else "")

    def runs_on(self, env: str) -> bool:
        return not self.envs or env in self.envs


@dataclass(frozen=True)
class Suite:
    """A whole comparison.

    Attributes:
        name: of the suite.
        env: Gymnasium id.
        envs: several of them, in place of ``env``; every method is trained once in each.
        methods: rows of the table; at least one.
        tasks: task keywords; every method is trained once per task, or once on all of them, see
            ``multitask``.  Empty: the environment's own default.
        multitask: what rows that are trained and do not say it have for their ``multitask``.
        env_kwargs: keywords of ``gym.make`` for training and evaluation.
        seeds: every method is trained once per seed.
        targets: by environment the least mean return that counts as solved.
        starts: rows that are trained for others to start from, and not tested.
        imagination: what the world models of all rows are tested on; None for nothing.
    """

    name: str
    env: str = ""
    envs: tuple[str, ...] = ()
    methods: tuple[Row, ...] = ()
    tasks: tuple[int | str, ...] = ()
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    seeds: tuple[int, ...] = (0,)
    data: Data = field(default_factory=Data)
    evaluation: Evaluation = field(default_factory=Evaluation)
    targets: dict[str, float] = field(default_factory=dict)
    multitask: bool = False
    starts: tuple[Row, ...] = ()
    imagination: Imagination | None = None

    def __post_init__(self) -> None:
        if bool(self.env) == bool(self.envs):
            raise ValueError("a suite needs either the field 'env' or a list in the field 'envs'")
        if len(set(self.envs)) < len(self.envs):
            raise ValueError(f"envs names an environment twice: {', '.join(self.envs)}")
        if not self.methods:
            raise ValueError("a suite needs at least one method")
        if not self.seeds:
            raise ValueError("a suite needs at least one seed")
        for row in self.methods:
            if row.multitask and not self.tasks:
                raise ValueError(f"{row.name}: multitask needs the suite's field 'tasks'")
            if row.episodes is not None and row.episodes > self.data.episodes:
                raise ValueError(
                    f"{row.name}: episodes is {row.episodes}, but data.episodes, which are "
                    f"collected of each task, is {self.data.episodes}"
                )
            if row.multitask and self.imagination is not None:
                raise ValueError(f"{row.name}: imagination is tested of one task, not of multitask")
            if row.seeds is not None and row.seeds > len(self.seeds):
                raise ValueError(
                    f"{row.name}: seeds is {row.seeds}, but the suite has {len(self.seeds)}"
                )
            for env in row.envs:
                check_known(env, self.environments, f"environment of {row.name}")
        for env in self.targets:
            check_known(env, self.environments, "environment of targets")
        for env in self.environments:
            names = [row.name for row in self.rows(env)]
            twice = sorted({n for n in names if names.count(n) > 1})
            if twice:
                raise ValueError(f"rows need different names; give a label to: {', '.join(twice)}")
            for row in self.rows(env):
                if row.start:
                    self._check_start(row, self.start_of(row, env))
        tests = (self.evaluation.env_kwargs, *(row.test_env_kwargs for row in self.methods))
        for kwargs in tests:
            if twice := sorted({"init", "task"} & kwargs.keys()):
                raise ValueError(
                    f"{twice[0]} is no keyword for tests alone: evaluation.init and tasks say it"
                )
        for kwargs in (self.env_kwargs, *(row.env_kwargs for row in self.methods)):
            if kwargs.get("init", "random") != "random":
                raise ValueError(
                    "env_kwargs.init must be 'random': the official initial states are the test "
                    "set, and evaluation.init chooses them for the evaluation alone"
                )

    @property
    def environments(self) -> tuple[str, ...]:
        """Gymnasium ids, one or several."""
        return self.envs or (self.env,)

    def rows(self, env: str) -> tuple[Row, ...]:
        """The rows that run on an environment."""
        return tuple(row for row in self.methods if row.runs_on(env))

    def seeds_of(self, row: Row) -> tuple[int, ...]:
        """The seeds that a row is trained with."""
        return self.seeds if row.seeds is None else self.seeds[: row.seeds]

    def start_of(self, row: Row, env: str) -> Row:
        """The row whose training ``row`` goes on from in an environment.

        Raises:
            ValueError: there is none of that name.
        """
        known = {r.name: r for r in (*self.starts, *self.methods) if r.runs_on(env)}
        check_known(row.start, list(known), f"start of {row.name}")
        return known[row.start]

    @staticmethod
    def _check_start(row: Row, start: Row) -> None:
        """Raise ValueError for rows of which one's weights are of no use to the other."""
        from mbrl_agents.config import resolve_config
        from mbrl_agents.registry import METHODS

        if METHODS[row.method].kind != "agent":
            raise ValueError(f"{row.name}: {row.method} cannot start from another training")
        if start.start:
            raise ValueError(f"{row.name} starts from {start.name}, which has a start itself")
        if not METHODS[row.method].reads_weights_of(METHODS[start.method]):
            raise ValueError(f"{row.name} cannot start from the weights of {start.name}")
        wanted, found = (
            METHODS[r.method].trained(resolve_config(r.method, r.overrides).to_dict())
            for r in (row, start)
        )
        other = [name for name, value in wanted.items() if value != found[name]]
        if other := [name for name in other if name != "training"]:
            raise ValueError(
                f"{row.name} starts from {start.name} and needs its settings of {', '.join(other)}"
            )
        for name in ("env_kwargs", "multitask", "episodes"):
            if getattr(row, name) != getattr(start, name):
                raise ValueError(f"{row.name} starts from {start.name} and needs its {name}")

    def to_dict(self) -> dict[str, Any]:
        """Plain nested values, as in the YAML file."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain


def digest(value: Any) -> str:
    """A short name for plain values: equal values, equal names."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


__all__ = ["Data", "Evaluation", "Imagination", "Row", "Suite", "digest"]
