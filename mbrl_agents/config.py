"""The settings of a method: a tree of frozen dataclasses with presets and dotted overrides."""

from __future__ import annotations

import dataclasses
import importlib.resources
import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from mbrl_agents.errors import UsageError
from mbrl_agents.names import did_you_mean, lookup, resolve
from mbrl_agents.registry import METHODS, OBJECTIVES, PLANNERS, Method
from mbrl_agents.yaml_text import check_yaml, dotlist, parse_yaml

PRESETS_FILE = "presets.yaml"

SEARCH = ("planner", "objective")
"""Sections of a method's settings that its search alone reads: no weights depend on them."""

NAME = "name"
"""``planner.name`` and ``objective.name`` choose these parts; the rest are their settings."""

OBJECTIVE_OF_A_PLANNER = "return"
"""Of a planner that is put on a method which acts by itself."""


class ConfigError(UsageError):
    """A key that does not exist or a value that does not fit; the message says what would."""


@dataclass(frozen=True)
class MethodConfig:
    """All settings of one method.

    Attributes:
        method: name in the registry.
        sections: configs by section, such as ``world_model``, ``planner`` and ``training``; each
            is an attribute as well.
        search: names of the planner and the objective; empty for one that acts by itself.
    """

    method: str
    sections: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    search: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("_") and name in self.sections:
            return self.sections[name]
        raise AttributeError(f"the settings have no section {name!r}")

    @property
    def seed(self) -> int:
        """``training.seed``, or 0 for a method without such a setting."""
        return int(self.sections["training"].seed) if "training" in self.sections else 0

    def to_dict(self) -> dict[str, Any]:
        """Plain nested dict; a planner or objective that is not the method's own has a ``name``."""
        tree = {name: dataclasses.asdict(value) for name, value in self.sections.items()}
        for part, name in self.search.items():
            if METHODS[self.method].search.get(part) != name:
                tree[part] = {NAME: name, **tree[part]}
        return {"method": self.method, **_plain(tree)}

    def to_yaml(self) -> str:
        """As YAML that `resolve_config` can read back through `from_yaml`."""
        from omegaconf import OmegaConf

        return OmegaConf.to_yaml(OmegaConf.create(self.to_dict()))


def resolve_config(
    method: str,
    overrides: Sequence[str] | Mapping[str, Any] | None = None,
    *,
    success: bool = True,
) -> MethodConfig:
    """The settings of ``method``: defaults, its presets, presets asked for, then overrides.

    Args:
        method: see `mbrl_agents.methods`.
        overrides: ``["planner.horizon=10", ...]`` or a dict, nested or with dotted keys;
            ``preset=NAME`` takes over a preset of the method's algorithm, ``planner.name=NAME`` and
            ``objective.name=NAME`` (or ``planner=NAME``) take another planner or objective.
            Presets are written for the method's own: another begins with its class's settings.
        success: whether the environment tells success.  Where it does not, methods whose objective
            counts the steps to it have another (`Method.without_success`).

    Raises:
        ValueError: for an unknown method; `ConfigError` for a key or value that does not fit.
    """
    recipe: Method = lookup(METHODS, method, "method")
    given = {recipe.shortcuts.get(key, key): value for key, value in _pairs(overrides)}
    search, fallback = _search(recipe, given, success)
    classes = {name: resolve(target) for name, target in _configs(recipe, search).items()}
    asked = given.pop("preset", ())
    names = asked if isinstance(asked, list | tuple) else [asked]
    own_classes = {name: resolve(target) for name, target in recipe.configs().items()}
    own: dict[str, Any] = {}
    for name in (*recipe.presets, *names):
        own |= _preset(recipe, str(name), own_classes)
    # A preset serves every method of an algorithm, with a planner and without.
    other = {part for part, name in search.items() if recipe.search.get(part) != name}
    own = {k: v for k, v in own.items() if k.split(".")[0] in classes.keys() - other}
    named = [f"{part} {search[part]!r}" for part in SEARCH if part in other]
    where = f"method {method!r}" + (f" with {' and '.join(named)}" if named else "")
    settings = own | fallback | given
    try:
        sections = _apply(classes, _tree(classes), settings, where)
    except ConfigError as error:
        if not fallback:
            raise
        raise ConfigError(
            f"{error}; as this environment tells no success, the objective is "
            f"{search['objective']!r} unless objective.name={recipe.search['objective']} is given"
        ) from error
    return MethodConfig(method, sections, search)


def check_config(method: str, overrides: Sequence[str] | Mapping[str, Any] | None = None) -> int:
    """Refuse settings that fit no environment, before there is one; the seed that they say.

    Raises:
        ValueError: see `resolve_config`.
    """
    try:
        return resolve_config(method, overrides).seed
    except ConfigError as error:
        try:
            return resolve_config(method, overrides, success=False).seed
        except ConfigError:
            raise error from None


def _search(
    recipe: Method, given: dict[str, Any], success: bool
) -> tuple[dict[str, str], dict[str, Any]]:
    """Names of planner and objective, which are taken out of ``given``; settings they begin with.

    Raises:
        ConfigError: for an unknown name, or an objective without a planner.
    """
    if recipe.kind != "agent":
        return {}, {}
    asked: dict[str, str] = {}
    for part, table in zip(SEARCH, (PLANNERS, OBJECTIVES), strict=True):
        for key in (part, f"{part}.{NAME}"):
            if isinstance(given.get(key), str):
                asked[part] = given.pop(key)
                try:
                    lookup(table, asked[part], part)
                except ValueError as error:
                    raise ConfigError(str(error)) from None
    found = {**recipe.search, **asked}
    if found.keys() == {"planner"}:
        found["objective"] = OBJECTIVE_OF_A_PLANNER
    elif found.keys() == {"objective"}:
        raise ConfigError(
            f"method {recipe.name!r} acts by itself: an objective needs a planner beside it, as in "
            "planner.name=cem"
        )
    fallback = dict(recipe.without_success)
    if success or "objective" in asked or not fallback:
        return found, {}
    found["objective"] = fallback.pop(f"objective.{NAME}")
    return found, fallback


def _configs(recipe: Method, search: Mapping[str, str]) -> dict[str, str]:
    """Config classes by section, as ``module:name``, with planner and objective of ``search``."""
    found = dict(recipe.sections)
    for part, table in zip(SEARCH, (PLANNERS, OBJECTIVES), strict=True):
        if part in search:
            found[part] = lookup(table, search[part], part).config
    return found


def presets(method: str) -> list[str]:
    """Names of the presets that ``preset=NAME`` takes for a method.

    They are those of its algorithm that change a setting of the method, and none that it lacks in
    a section that it has.

    Raises:
        ValueError: for an unknown method.
    """
    recipe: Method = lookup(METHODS, method, "method")
    return _fitting(recipe, {name: resolve(target) for name, target in recipe.configs().items()})


def _fitting(recipe: Method, classes: Mapping[str, type]) -> list[str]:
    known = _known(classes)
    found = []
    for name, settings in _flat_presets(recipe).items():
        read = [key for key in settings if key.split(".")[0] in classes]
        if name in recipe.presets or (read and all(key in known for key in read)):
            found.append(name)
    return found


def _preset(recipe: Method, name: str, classes: Mapping[str, type]) -> dict[str, Any]:
    valid = _fitting(recipe, classes)
    if name not in valid:
        raise ConfigError(
            f"method {recipe.name!r} has no preset {name!r}{did_you_mean(name, valid)} "
            f"(valid: {', '.join(valid) or 'none'})"
        )
    return _flat_presets(recipe)[name]


def _flat_presets(recipe: Method) -> dict[str, dict[str, Any]]:
    """The settings of every preset of a method's algorithm, by dotted key."""
    return {name: dict(_pairs(tree)) for name, tree in _presets(recipe.presets_package).items()}


@cache
def _presets(package: str) -> dict[str, Any]:
    spec = importlib.util.find_spec(package) if package else None
    if spec is not None and spec.submodule_search_locations is None:
        # An algorithm may stand in a module of its package.
        package = spec.parent or ""
    if not package:
        return {}
    file = importlib.resources.files(package) / PRESETS_FILE
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    return parse_yaml(text, PRESETS_FILE) or {}


def from_yaml(text: str) -> MethodConfig:
    """The settings `MethodConfig.to_yaml` wrote.

    Raises:
        ValueError: for a text that is no YAML or too large; `ConfigError` for settings that this
            version does not have.
    """
    from omegaconf import OmegaConf

    check_yaml(text, "the config")
    tree = OmegaConf.to_container(OmegaConf.create(text))
    if not isinstance(tree, dict) or "method" not in tree:
        raise ConfigError("a method's config needs the key 'method'")
    method = str(tree.pop("method"))
    return resolve_config(method, {str(key): value for key, value in tree.items()})


def build_config(cls: type, overrides: Sequence[str] | Mapping[str, Any] | None = None) -> Any:
    """One component's config with overrides (``{"horizon": 10}``), checked likewise."""
    classes = {"config": cls}
    flat = {f"config.{key}": value for key, value in _pairs(overrides)}
    return _apply(classes, _tree(classes), flat, where=cls.__name__)["config"]


def _tree(classes: Mapping[str, type]) -> Any:
    from omegaconf import OmegaConf

    tree = OmegaConf.create({name: OmegaConf.structured(cls) for name, cls in classes.items()})
    OmegaConf.set_readonly(tree, False)
    for name in classes:
        OmegaConf.set_readonly(tree[name], False)
    OmegaConf.set_struct(tree, True)
    return tree


def _apply(
    classes: Mapping[str, type],
    tree: Any,
    overrides: Sequence[str] | Mapping[str, Any] | None,
    where: str,
) -> dict[str, Any]:
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    known = _known(classes)
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


def _known(classes: Mapping[str, type]) -> list[str]:
    """Dotted names of all settings."""
    return [f"{name}.{f.name}" for name, cls in classes.items() for f in dataclasses.fields(cls)]


def _unknown(key: str, known: list[str], where: str) -> str:
    short = key.removeprefix("config.")
    names = [name.removeprefix("config.") for name in known]
    same = [name for name in names if name.rsplit(".", 1)[-1] == short.rsplit(".", 1)[-1]]
    hint = f"; did you mean {same[0]!r}?" if same else did_you_mean(short, names, 0.5)
    return f"{where} has no setting {short!r}" + (hint or f" (valid: {names})")


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
        key = item.partition("=")[0]
        try:
            value = OmegaConf.select(dotlist([item]), key)
        except (OmegaConfBaseException, ValueError) as error:
            raise ConfigError(str(error)) from error
        yield key, OmegaConf.to_container(value) if OmegaConf.is_config(value) else value


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(entry) for entry in value]
    return value
