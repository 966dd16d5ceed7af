"""Reading a suite from its file, with changes, and saying where something does not fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mbrl_agents.names import did_you_mean
from mbrl_agents.yaml_text import dotlist, read_yaml

from . import fields
from .fields import check_known
from .suite import Data, Evaluation, Imagination, Row, Suite

if TYPE_CHECKING:
    from mbrl_agents.data.noise import NoiseConfig

SUITES_FOLDER = Path(__file__).parent / "suites"

SPEED = "speed"
"""What ``mbrl bench`` measures without a suite's file."""


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
    own = sorted([SPEED, *(p.stem for p in SUITES_FOLDER.glob("*.yaml"))])
    raise FileNotFoundError(
        f"no suite {name!r}{did_you_mean(name, own)} (give a YAML file or one of {', '.join(own)})"
    )


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

    path = find_suite(name)
    raw = read_yaml(path)
    if not isinstance(raw, dict):
        raise ValueError(f"{path} must hold the fields of a suite: {fields.field_names(Suite)}")
    raw.setdefault("name", path.stem)
    changes = dotlist(overrides)
    try:
        merged = OmegaConf.merge(OmegaConf.create(raw), changes)
        plain = OmegaConf.to_container(merged, resolve=True)
    except OmegaConfBaseException as error:
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
        needed = {row.start for row in rows}
        others = tuple(r for r in suite.methods if r.name in needed and r not in rows)
        suite = replace(suite, methods=rows, starts=(*suite.starts, *others))
    return suite


def check_keywords(suite: Suite) -> None:
    """Refuse keywords that the environments of a suite do not take, before anything runs.

    Raises:
        ValueError: with the field, the nearest keyword and those that there are.
    """
    from mbrl_agents.envs.keywords import env_keywords

    for env in suite.environments:
        given = [("env_kwargs", suite.env_kwargs)]
        given.append(("evaluation.env_kwargs", suite.evaluation.env_kwargs))
        for row in suite.rows(env):
            given.append((f"env_kwargs of {row.name}", row.env_kwargs))
            given.append((f"test_env_kwargs of {row.name}", row.test_env_kwargs))
        known = env_keywords(env) if any(kwargs for _, kwargs in given) else None
        for where, kwargs in given:
            for name in kwargs if known is not None else ():
                check_known(name, known or (), f"keyword of {env} in {where}")


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
        starts=tuple(
            _row(entry, where, multitask)
            for entry in fields.entries(values.get("starts"), f"{where}: starts", "rows")
        ),
        imagination=_imagination(values.get("imagination"), f"{where}: imagination"),
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
    if values.get("check_every") and not trained:
        raise ValueError(f"{where}: {method} is a reference policy: no training to check")
    counts: dict[str, int | None] = {
        name: fields.integer(values[name], f"{where}: {name} of {method}", 1)
        for name in ("episodes", "seeds", "tests")
        if values.get(name) is not None
    }
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
        test_overrides=fields.names(
            values.get("test_overrides"),
            f"{where}: test_overrides of {method}",
            "settings such as planner.samples=100",
        ),
        check_every=fields.integer(
            values.get("check_every", 0), f"{where}: check_every of {method}", 0
        ),
        start=fields.text(values.get("start", ""), f"{where}: start of {method}"),
        **counts,
    )
    if multitask and trained and not row.label:
        # The suite says of all rows what a name would: only a row that differs is told apart.
        row = replace(row, label=row.told([] if shared else ["a model per task"]))
    if row.episodes is not None and not METHODS[method].demonstrations and row.steps != "data":
        raise ValueError(f"{where}: {method} reads no recorded episodes, so episodes says nothing")
    resolve_config(method, row.tested)  # says what does not fit
    if METHODS[method].own_steps and not row.steps:
        raise ValueError(f"{where}: {method} needs steps, a number or 'data'")
    return row


def _evaluation(raw: Any, where: str) -> Evaluation:
    values = fields.known_fields(Evaluation, raw, where)
    kwargs = fields.mapping(values.get("env_kwargs"), f"{where}: env_kwargs", _KWARGS)
    return Evaluation(**{**values, "env_kwargs": kwargs})


def _imagination(raw: Any, where: str) -> Imagination | None:
    if raw is None:
        return None
    return Imagination(**fields.known_fields(Imagination, raw, where))


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


__all__ = [
    "SPEED",
    "SUITES_FOLDER",
    "check_keywords",
    "find_suite",
    "load_suite",
    "noise_config",
    "suite_from_dict",
]
