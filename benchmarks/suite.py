"""A benchmark suite: which methods, on which environments and tasks, with which data and budget.

A suite is a YAML file with the fields of `Suite`; ``suites/`` holds the project's own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import fields
from .conditions import condition_text
from .fields import check_known

if TYPE_CHECKING:
    from mbrl_agents.data.noise import NoiseConfig

SUITES_FOLDER = Path(__file__).parent / "suites"
STEPS_OF_DATA = "data"
SOURCES = ("expert", "noisy_expert", "random")
INITS = ("benchmark", "random")

RESULTS_VERSION = 6
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
        deterministic: passed to ``predict``.
        env_kwargs: changes to the environment in tests alone, such as ``{disturbance: heavy}``.
    """

    episodes: int = 20
    init: str = "benchmark"
    part: int = 10
    deterministic: bool = True
    env_kwargs: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_known(self.init, INITS, "evaluation.init")
        for name in ("episodes", "part"):
            fields.integer(getattr(self, name), f"evaluation.{name}", 1)
        fields.flag(self.deterministic, "evaluation.deterministic")


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
        episodes: learn from only the first so many recorded episodes of each task; None from all.
            They are collected once, as many as the suite's data say.
        check_every: environment steps of training between checks: as many fresh episodes as the
            evaluation has, acted without noise; 0 for none.
    """

    method: str
    label: str = ""
    envs: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    steps: int | str = 0
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    multitask: bool = False
    test_env_kwargs: dict[str, Any] = field(default_factory=dict)
    episodes: int | None = None
    check_every: int = 0

    def __post_init__(self) -> None:
        fields.integer(self.check_every, f"{self.name}: check_every", 0)
        if isinstance(self.steps, str) and self.steps != STEPS_OF_DATA:
            raise ValueError(f"{self.name}: steps must be a number or 'data', not {self.steps!r}")
        if not isinstance(self.steps, str):
            fields.integer(self.steps, f"{self.name}: steps")

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
            for env in row.envs:
                check_known(env, self.environments, f"environment of {row.name}")
        for env in self.targets:
            check_known(env, self.environments, "environment of targets")
        for env in self.environments:
            names = [row.name for row in self.rows(env)]
            twice = sorted({n for n in names if names.count(n) > 1})
            if twice:
                raise ValueError(f"rows need different names; give a label to: {', '.join(twice)}")
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

    def to_dict(self) -> dict[str, Any]:
        """Plain nested values, as in the YAML file."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain


def find_suite(name: str) -> Path:
    """The file of a suite, given as a path or as the name of one of the project's own.

    Raises:
        FileNotFoundError: neither; the message lists the project's own.
    """
    if Path(name).suffix in (".yaml", ".yml"):
        if Path(name).is_file():
            return Path(name)
    elif (SUITES_FOLDER / f"{name}.yaml").is_file():
        return SUITES_FOLDER / f"{name}.yaml"
    own = sorted(p.stem for p in SUITES_FOLDER.glob("*.yaml"))
    raise FileNotFoundError(f"no suite {name!r}: give a YAML file or one of {', '.join(own)}")


def load_suite(
    name: str, overrides: Sequence[str] = (), methods: Sequence[str] | None = None
) -> Suite:
    """Read a suite and change it.

    Args:
        name: path of a YAML file, or the name of one of the project's own.
        overrides: dotted, such as ``evaluation.episodes=5`` or ``env_kwargs.assets=official``.
        methods: keep only the rows with these names, or of these methods.

    Raises:
        FileNotFoundError: no such suite.
        ValueError: an unknown field or method, or a value that does not fit.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    path = find_suite(name)
    raw = fields.read_yaml(path)
    if not isinstance(raw, dict):
        raise ValueError(f"{path} must hold the fields of a suite: {fields.field_names(Suite)}")
    raw.setdefault("name", path.stem)
    for override in overrides:
        if "=" not in override:
            raise ValueError(f"{override!r} is not an override: write KEY=VALUE")
    try:
        merged = OmegaConf.merge(OmegaConf.create(raw), OmegaConf.from_dotlist(list(overrides)))
        plain = OmegaConf.to_container(merged, resolve=True)
    except (OmegaConfBaseException, YAMLError) as error:
        raise ValueError(f"{path}: {str(error).splitlines()[0]}") from error
    suite = suite_from_dict(plain, str(path))
    if methods is not None:
        # A method's name stands for all of its rows, unless one of them is called just that.
        labels = {row.name for row in suite.methods}
        known = list(dict.fromkeys(n for row in suite.methods for n in (row.name, row.method)))
        for wanted in methods:
            check_known(wanted, known, f"row of {suite.name}")
        rows = tuple(
            row
            for row in suite.methods
            if row.name in methods or (row.method in methods and row.method not in labels)
        )
        suite = replace(suite, methods=rows)
    return suite


def suite_from_dict(raw: Any, where: str = "suite") -> Suite:
    """Build and check a suite from plain values.

    Raises:
        ValueError: an unknown field, method or environment, or a value that does not fit; the
            message says where it stands and what was expected.
    """
    values = fields.known_fields(Suite, raw, where)
    if "methods" not in values:
        raise ValueError(f"{where} lacks the field 'methods'")
    methods = fields.entries(values["methods"], f"{where}: methods", "names and rows")
    seeds = fields.entries(values.get("seeds", (0,)), f"{where}: seeds", "whole numbers")
    tasks = fields.entries(values.get("tasks"), f"{where}: tasks", "numbers and names")
    for task in tasks:
        if not isinstance(task, str):
            fields.integer(task, f"{where}: a task that is not a name")
    targets = fields.mapping(values.get("targets"), f"{where}: targets", _TARGETS)
    multitask = fields.flag(values.get("multitask", False), f"{where}: multitask")
    expected = "a Gymnasium id; several go into the field 'envs'"
    return Suite(
        name=fields.text(values.get("name"), f"{where}: name"),
        env=fields.text(values.get("env", ""), f"{where}: env", expected),
        envs=fields.names(values.get("envs"), f"{where}: envs", "Gymnasium ids"),
        methods=tuple(_row(entry, where, multitask) for entry in methods),
        tasks=tuple(tasks),
        env_kwargs=fields.mapping(values.get("env_kwargs"), f"{where}: env_kwargs", _KWARGS),
        seeds=tuple(fields.integer(seed, f"{where}: each seed") for seed in seeds),
        data=_data(values.get("data") or {}, f"{where}: data"),
        evaluation=_evaluation(values.get("evaluation") or {}, f"{where}: evaluation"),
        targets={
            name: fields.number(value, f"{where}: the return of {name}")
            for name, value in targets.items()
        },
        multitask=multitask,
    )


_TARGETS = "a return for each environment"
_KWARGS = "keywords of gym.make and their values"


def _row(raw: Any, where: str, multitask: bool) -> Row:
    """One row, from a method's name or the fields of `Row`; ``multitask`` is the suite's."""
    from mbrl_agents.config import resolve_config
    from mbrl_agents.registry import METHODS

    where = f"{where}: methods"
    values = {"method": raw} if isinstance(raw, str) else fields.known_fields(Row, raw, where)
    if "method" not in values:
        raise ValueError(f"{where}: a row lacks the field 'method'")
    method = fields.text(values["method"], f"{where}: method")
    check_known(method, METHODS, "method")
    trained = bool(METHODS[method].train)
    shared = fields.flag(
        values.get("multitask", multitask and trained), f"{where}: multitask of {method}"
    )
    if shared and not trained:
        raise ValueError(f"{where}: {method} is a reference policy: multitask has nothing to train")
    episodes = values.get("episodes")
    if episodes is not None:
        episodes = fields.integer(episodes, f"{where}: episodes of {method}", 1)
    row = Row(
        method=method,
        label=fields.text(values.get("label", ""), f"{where}: label of {method}"),
        envs=fields.names(values.get("envs"), f"{where}: envs of {method}", "Gymnasium ids"),
        overrides=fields.names(
            values.get("overrides"),
            f"{where}: overrides of {method}",
            "settings such as planner.horizon=10",
        ),
        steps=values.get("steps", 0),
        env_kwargs=fields.mapping(
            values.get("env_kwargs"), f"{where}: env_kwargs of {method}", _KWARGS
        ),
        multitask=shared,
        test_env_kwargs=fields.mapping(
            values.get("test_env_kwargs"), f"{where}: test_env_kwargs of {method}", _KWARGS
        ),
        episodes=episodes,
        check_every=fields.integer(
            values.get("check_every", 0), f"{where}: check_every of {method}", 0
        ),
    )
    if multitask and trained and not row.label:
        # The suite says of all rows what a name would: only a row that differs is told apart.
        row = replace(row, label=row.told([] if shared else ["a model per task"]))
    if row.episodes is not None and not METHODS[method].demonstrations and row.steps != "data":
        raise ValueError(f"{where}: {method} reads no recorded episodes, so episodes says nothing")
    resolve_config(method, row.overrides)  # says what does not fit
    if METHODS[method].own_steps and not row.steps:
        raise ValueError(f"{where}: {method} needs steps, a number or 'data'")
    return row


def _evaluation(raw: Any, where: str) -> Evaluation:
    values = fields.known_fields(Evaluation, raw, where)
    kwargs = fields.mapping(values.get("env_kwargs"), f"{where}: env_kwargs", _KWARGS)
    return Evaluation(**{**values, "env_kwargs": kwargs})


def _data(raw: Any, where: str) -> Data:
    values = fields.known_fields(Data, raw, where)
    noise = fields.mapping(values.get("noise"), f"{where}: noise", "settings of the noise")
    noise_config(noise, f"{where}: noise")
    return Data(**{**values, "noise": noise})


def noise_config(noise: Mapping[str, Any], where: str = "noise") -> NoiseConfig:
    """The settings of the noise behind the plain values of `Data.noise`."""
    from mbrl_agents.data.noise import NoiseConfig

    found: dict[str, Any] = {}
    for name, value in fields.known_fields(NoiseConfig, noise, where).items():
        several = isinstance(getattr(NoiseConfig, name), tuple)
        parts = fields.entries(value, f"{where}.{name}", "numbers") if several else [value]
        for part in parts:
            fields.number(part, f"{where}.{name}")
        found[name] = tuple(parts) if several else value
    return NoiseConfig(**found)


def digest(value: Any) -> str:
    """A short name for plain values: equal values, equal names."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


__all__ = ["Data", "Evaluation", "Row", "Suite", "digest", "find_suite", "load_suite"]
