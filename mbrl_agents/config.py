"""The settings of a method: a tree of frozen dataclasses with dotted overrides."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mbrl_agents.registry import (
    METHODS,
    OBJECTIVES,
    PLANNERS,
    POLICIES,
    WORLD_MODELS,
    lookup,
    resolve,
)

SECTIONS = {
    "world_model": WORLD_MODELS,
    "policy": POLICIES,
    "planner": PLANNERS,
    "objective": OBJECTIVES,
}


class ConfigError(ValueError):
    """A key that does not exist or a value that does not fit; the message says what would."""


@dataclass(frozen=True)
class MethodConfig:
    """All settings of one method; a section it does not use is None.

    Attributes:
        method: name in the registry.
        world_model, policy, planner, objective: the configs of its components.
        training: of an agent, such as `mbrl_agents.training.fitting.TrainingConfig`.
        behaviour: how an actor-critic learns in imagination, one of the configs in
            `mbrl_agents.training.imagination`.
        baseline: settings of a Stable-Baselines3 baseline.
    """

    method: str
    world_model: Any = None
    policy: Any = None
    planner: Any = None
    objective: Any = None
    training: Any = None
    behaviour: Any = None
    baseline: Any = None

    def to_dict(self) -> dict[str, Any]:
        """Plain nested dict without the unused sections."""
        tree = dataclasses.asdict(self)
        return {key: _plain(value) for key, value in tree.items() if value is not None}

    def to_yaml(self) -> str:
        """As YAML that `resolve_config` can read back through `from_yaml`."""
        from omegaconf import OmegaConf

        return OmegaConf.to_yaml(OmegaConf.create(self.to_dict()))


def resolve_config(
    method: str, overrides: Sequence[str] | Mapping[str, Any] | None = None
) -> MethodConfig:
    """The settings of ``method`` with overrides applied.

    Args:
        method: see `mbrl_agents.methods`.
        overrides: ``["planner.horizon=10", ...]`` or a dict, nested or with dotted keys.

    Raises:
        ValueError: for an unknown method; `ConfigError` for a key or value that does not fit.
    """
    recipe = lookup(METHODS, method, "method")
    classes: dict[str, type] = {}
    for section, table in SECTIONS.items():
        name = getattr(recipe, section)
        if name:
            classes[section] = table[name].load()[1]
    if recipe.kind == "agent":
        classes["training"] = resolve(recipe.training)
    if recipe.behaviour:
        classes["behaviour"] = resolve(recipe.behaviour)
    if recipe.config:
        classes["baseline"] = resolve(recipe.config)
    tree = _merged(classes, recipe.defaults)
    overrides = {recipe.shortcuts.get(key, key): value for key, value in _pairs(overrides)}
    return MethodConfig(method, **_apply(classes, tree, overrides, where=f"method {method!r}"))


def from_yaml(text: str) -> MethodConfig:
    """The settings `MethodConfig.to_yaml` wrote."""
    from omegaconf import OmegaConf

    tree = OmegaConf.to_container(OmegaConf.create(text))
    if not isinstance(tree, dict) or "method" not in tree:
        raise ConfigError("a method's config needs the key 'method'")
    method = str(tree.pop("method"))
    return resolve_config(method, {str(key): value for key, value in tree.items()})


def build_config(cls: type, overrides: Sequence[str] | Mapping[str, Any] | None = None) -> Any:
    """One component's config with overrides (``{"horizon": 10}``), checked likewise."""
    classes = {"config": cls}
    flat = {f"config.{key}": value for key, value in _pairs(overrides)}
    return _apply(classes, _merged(classes, {}), flat, where=cls.__name__)["config"]


def _merged(classes: Mapping[str, type], defaults: Mapping[str, Any]) -> Any:
    from omegaconf import OmegaConf

    tree = OmegaConf.create({name: OmegaConf.structured(cls) for name, cls in classes.items()})
    OmegaConf.set_readonly(tree, False)
    for name in classes:
        OmegaConf.set_readonly(tree[name], False)
    OmegaConf.set_struct(tree, True)
    for key, value in defaults.items():
        OmegaConf.update(tree, key, value)
    return tree


def _apply(
    classes: Mapping[str, type],
    tree: Any,
    overrides: Sequence[str] | Mapping[str, Any] | None,
    where: str,
) -> dict[str, Any]:
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    known = [f"{name}.{f.name}" for name, cls in classes.items() for f in dataclasses.fields(cls)]
    for key, value in _pairs(overrides):
        if key in classes and value is None:
            continue
        if key not in known:
            raise ConfigError(_unknown(key, known, where))
        try:
            OmegaConf.update(tree, key, value)
        except OmegaConfBaseException as error:
            reason = str(error).splitlines()[0]
            raise ConfigError(f"{key}={value!r} does not fit {where}: {reason}") from error
    result = {}
    for name, cls in classes.items():
        values: Any = OmegaConf.to_container(tree[name])
        for f in dataclasses.fields(cls):
            if isinstance(values[f.name], list) and str(f.type).startswith("tuple"):
                values[f.name] = tuple(values[f.name])
        try:
            result[name] = cls(**values)
        except ValueError as error:
            raise ConfigError(f"{name}: {error}") from error
    return result


def _unknown(key: str, known: list[str], where: str) -> str:
    short = key.removeprefix("config.")
    names = [name.removeprefix("config.") for name in known]
    close = difflib.get_close_matches(short, names, n=1, cutoff=0.5)
    same = [name for name in names if name.rsplit(".", 1)[-1] == short.rsplit(".", 1)[-1]]
    hint = (same or close)[:1]
    message = f"{where} has no setting {short!r}"
    return f"{message}; did you mean {hint[0]!r}?" if hint else f"{message} (valid: {names})"


def _pairs(
    overrides: Sequence[str] | Mapping[str, Any] | None,
) -> Iterator[tuple[str, Any]]:
    """Dotted keys and values of overrides in either form."""
    if overrides is None:
        return
    if isinstance(overrides, Mapping):
        for key, value in overrides.items():
            if isinstance(value, Mapping):
                yield from ((f"{key}.{inner}", v) for inner, v in _pairs(value))
            else:
                yield str(key), list(value) if isinstance(value, tuple) else value
        return
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    for item in overrides:
        key, equals, _ = item.partition("=")
        if not equals or not key:
            raise ConfigError(f"an override looks like planner.horizon=10, got {item!r}")
        try:
            parsed = OmegaConf.from_dotlist([item])
            value = OmegaConf.select(parsed, key)
        except (OmegaConfBaseException, ValueError) as error:
            raise ConfigError(f"cannot read the override {item!r}: {error}") from error
        yield key, OmegaConf.to_container(value) if OmegaConf.is_config(value) else value


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(entry) for entry in value]
    return value
