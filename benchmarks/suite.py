"""A benchmark suite: which methods, on which environments and tasks, with which data and budget.

A suite is a YAML file with the fields of `Suite`; ``suites/`` holds the project's own.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

SUITES_FOLDER = Path(__file__).parent / "suites"
STEPS_OF_DATA = "data"

RESULTS_VERSION = 3
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


@dataclass(frozen=True)
class Evaluation:
    """What every method is tested on.

    Attributes:
        episodes: per task and seed; with ``init="benchmark"`` the official initial states
            0, 1, ...
        init: "benchmark" or "random".
        part: episodes of one job of an agent; several share the processors better than one.
        deterministic: passed to ``predict``.
    """

    episodes: int = 20
    init: str = "benchmark"
    part: int = 10
    deterministic: bool = True


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Attributes:
        method: name from the registry.
        label: name in the table, the method's by default.
        envs: environments of the suite to run it on; empty for all.  Two rows of one name on
            different environments are one method with settings of its own for each.
        overrides: dotted settings of the method.
        steps: environment steps of own experience; "data" means as many as the recorded
            episodes have.  Baselines need some; agents learn from the data alone at 0.
        env_kwargs: changes to the suite's, such as ``{obs: image}``.
    """

    method: str
    label: str = ""
    envs: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    steps: int | str = 0
    env_kwargs: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.label or self.method

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
        tasks: task keywords; every method is trained once per task.  Empty: the environment's
            own default.
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
            for env in row.envs:
                _check_known(env, self.environments, f"environment of {row.name}")
        for env in self.targets:
            _check_known(env, self.environments, "environment of targets")
        for env in self.environments:
            names = [row.name for row in self.rows(env)]
            twice = sorted({n for n in names if names.count(n) > 1})
            if twice:
                raise ValueError(f"rows need different names; give a label to: {', '.join(twice)}")
        if self.evaluation.episodes < 1 or self.evaluation.part < 1:
            raise ValueError("evaluation.episodes and evaluation.part must be at least 1")
        for kwargs in (self.env_kwargs, *(row.env_kwargs for row in self.methods)):
            if kwargs.get("init", "random") != "random":
                raise ValueError(
                    "env_kwargs.init must be 'random': the official initial states are the test "
                    "set, and evaluation.init chooses them for the evaluation alone"
                )
        for row in self.methods:
            if isinstance(row.steps, str) and row.steps != STEPS_OF_DATA:
                raise ValueError(f"{row.name}: steps must be a number or 'data', not {row.steps!r}")

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
        methods: keep only the rows with these names.

    Raises:
        FileNotFoundError: no such suite.
        ValueError: an unknown field or method, or a value that does not fit.
    """
    import yaml
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    path = find_suite(name)
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(raw, dict):
        raise ValueError(f"{path} must hold the fields of a suite: {_names(Suite)}")
    raw.setdefault("name", path.stem)
    for override in overrides:
        if "=" not in override:
            raise ValueError(f"{override!r} is not an override: write KEY=VALUE")
    try:
        merged = OmegaConf.merge(OmegaConf.create(raw), OmegaConf.from_dotlist(list(overrides)))
        plain = OmegaConf.to_container(merged, resolve=True)
    except OmegaConfBaseException as error:
        raise ValueError(str(error).splitlines()[0]) from error
    suite = suite_from_dict(plain, str(path))
    if methods is not None:
        known = list(dict.fromkeys(row.name for row in suite.methods))
        for wanted in methods:
            _check_known(wanted, known, f"row of {suite.name}")
        rows = tuple(row for row in suite.methods if row.name in methods)
        suite = Suite(**{**_shallow(suite), "methods": rows})
    return suite


def suite_from_dict(raw: Any, where: str = "suite") -> Suite:
    """Build and check a suite from plain values."""
    from mbrl_agents.config import resolve_config
    from mbrl_agents.registry import METHODS

    values = _checked(Suite, raw, where)
    if "methods" not in values:
        raise ValueError(f"{where} lacks the field 'methods'")
    rows = []
    for entry in values["methods"]:
        entry = {"method": entry} if isinstance(entry, str) else entry
        row = _checked(Row, entry, f"{where}: methods")
        if "method" not in row:
            raise ValueError(f"{where}: a row lacks the field 'method'")
        _check_known(row["method"], METHODS, "method")
        row["overrides"] = tuple(row.get("overrides") or ())
        row["envs"] = _names_in(row.get("envs"), f"{where}: envs of {row['method']}")
        recipe = METHODS[row["method"]]
        if recipe.kind != "bound":
            resolve_config(row["method"], row["overrides"])  # says what does not fit
        if recipe.kind == "baseline" and not row.get("steps"):
            raise ValueError(f"{where}: {row['method']} needs steps, a number or 'data'")
        rows.append(Row(**row))
    values["methods"] = tuple(rows)
    if not isinstance(values.get("env", ""), str):
        raise ValueError(f"{where}: env must be a Gymnasium id; several go into the field 'envs'")
    values["envs"] = _names_in(values.get("envs"), f"{where}: envs")
    values["targets"] = _targets(values.get("targets") or {}, f"{where}: targets")
    values["tasks"] = tuple(values.get("tasks") or ())
    values["seeds"] = tuple(values.get("seeds", (0,)))
    values["data"] = Data(**_checked(Data, values.get("data") or {}, f"{where}: data"))
    values["evaluation"] = Evaluation(
        **_checked(Evaluation, values.get("evaluation") or {}, f"{where}: evaluation")
    )
    return Suite(**values)


def digest(value: Any) -> str:
    """A short name for plain values: equal values, equal names."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _checked(cls: type, raw: Any, where: str) -> dict[str, Any]:
    if not isinstance(raw, Mapping):
        raise ValueError(f"{where} must hold fields ({_names(cls)}), not {raw!r}")
    known = [f.name for f in fields(cls)]
    for name in raw:
        _check_known(str(name), known, f"field of {where}")
    return dict(raw)


def _names_in(raw: Any, where: str) -> tuple[str, ...]:
    """A list of environment names; a name alone is refused, being a sequence of letters too."""
    names = [] if raw is None else raw
    if not isinstance(names, list | tuple) or not all(isinstance(n, str) for n in names):
        raise ValueError(f"{where} must be a list of Gymnasium ids, not {raw!r}")
    return tuple(names)


def _targets(raw: Any, where: str) -> dict[str, float]:
    if not isinstance(raw, Mapping):
        raise ValueError(f"{where} must hold a return for each environment, not {raw!r}")
    for name, value in raw.items():
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise ValueError(f"{where}: the return of {name} must be a number, not {value!r}")
    return {str(name): float(value) for name, value in raw.items()}


def _check_known(name: str, known: Any, what: str) -> None:
    if name not in known:
        close = difflib.get_close_matches(name, list(known), n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"unknown {what}: {name!r}{hint} (valid: {', '.join(known)})")


def _names(cls: type) -> str:
    return ", ".join(f.name for f in fields(cls))


def _shallow(suite: Suite) -> dict[str, Any]:
    return {f.name: getattr(suite, f.name) for f in fields(suite)}


__all__ = ["Data", "Evaluation", "Row", "Suite", "digest", "find_suite", "load_suite"]
