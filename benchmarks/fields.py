"""Reads YAML files that people write, and says what was expected where a value does not fit."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

LARGEST = 100_000
"""Characters of a file's values once every alias is written out; the project's suites have 2,000 at
most."""


def read_yaml(path: Path) -> Any:
    """The values of a YAML file.

    Aliases (``*name``) are counted as often as they are used, before anything is built of them: ten
    lines can stand for a billion values.

    Raises:
        ValueError: for a file that is not text, not YAML, or larger than `LARGEST` characters.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a text file in UTF-8: {error.reason}") from error
    try:
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            if _size(node, {}) > LARGEST:
                raise ValueError(
                    f"{path} holds more than {LARGEST} characters of values once its aliases "
                    "(*name) are written out; expected the few fields of a suite"
                )
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not valid YAML: {error}") from error
    except RecursionError as error:
        raise ValueError(f"the values of {path} are nested too deeply") from error


def _size(node: yaml.Node, known: dict[int, float]) -> float:
    """Characters of a node with every alias written out; infinite for one that holds itself."""
    if id(node) not in known:
        known[id(node)] = float("inf")  # found again inside of itself
        if isinstance(node, yaml.ScalarNode):
            total = len(node.value) + 1.0
        elif isinstance(node, yaml.MappingNode):
            total = 1.0 + sum(_size(key, known) + _size(value, known) for key, value in node.value)
        else:
            total = 1.0 + sum(_size(entry, known) for entry in node.value)
        known[id(node)] = total
    return known[id(node)]


# -- checks ---------------------------------------------------------------------------------
# Each returns the value, or raises ValueError with what stands where and what was expected.


def known_fields(cls: type, raw: Any, where: str) -> dict[str, Any]:
    """A mapping with no other keys than the fields of a dataclass."""
    if not isinstance(raw, Mapping):
        raise ValueError(f"{where} must hold fields ({field_names(cls)}), not {raw!r}")
    names = [f.name for f in fields(cls)]
    for name in raw:
        check_known(str(name), names, f"field of {where}")
    return dict(raw)


def field_names(cls: type) -> str:
    """The fields of a dataclass in words."""
    return ", ".join(f.name for f in fields(cls))


def check_known(name: str, known: Collection[str], what: str) -> None:
    """Refuse a name that is not among those known; the message names the nearest."""
    if name not in known:
        close = difflib.get_close_matches(name, list(known), n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"unknown {what}: {name!r}{hint} (valid: {', '.join(known)})")


def text(raw: Any, where: str, expected: str = "a name") -> str:
    if not isinstance(raw, str):
        raise ValueError(f"{where} must be {expected}, not {raw!r}")
    return raw


def flag(raw: Any, where: str) -> bool:
    if not isinstance(raw, bool):
        raise ValueError(f"{where} must be true or false, not {raw!r}")
    return raw


def integer(raw: Any, where: str, least: int = 0) -> int:
    if not isinstance(raw, int) or isinstance(raw, bool):
        raise ValueError(f"{where} must be a whole number, not {raw!r}")
    if raw < least:
        raise ValueError(f"{where} must be at least {least}, not {raw}")
    return raw


def number(raw: Any, where: str) -> float:
    if not isinstance(raw, int | float) or isinstance(raw, bool):
        raise ValueError(f"{where} must be a number, not {raw!r}")
    return float(raw)


def entries(raw: Any, where: str, expected: str) -> list[Any]:
    """A list; None, an empty field of a file, is an empty one."""
    if raw is None:
        return []
    if not isinstance(raw, list | tuple):
        raise ValueError(f"{where} must be a list of {expected}, not {raw!r}")
    return list(raw)


def names(raw: Any, where: str, expected: str) -> tuple[str, ...]:
    """A list of words; one alone is refused, being a sequence of letters too."""
    found = entries(raw, where, expected)
    if not all(isinstance(entry, str) for entry in found):
        raise ValueError(f"{where} must be a list of {expected}, not {raw!r}")
    return tuple(found)


def mapping(raw: Any, where: str, expected: str) -> dict[str, Any]:
    """A mapping by name; None is an empty one."""
    if raw is None:
        return {}
    if not isinstance(raw, Mapping) or not all(isinstance(key, str) for key in raw):
        raise ValueError(f"{where} must hold {expected}, not {raw!r}")
    return dict(raw)


__all__ = [
    "LARGEST",
    "check_known",
    "entries",
    "field_names",
    "flag",
    "integer",
    "known_fields",
    "mapping",
    "names",
    "number",
    "read_yaml",
    "text",
]
