"""Checks of the plain values of a suite: each says what was expected where a value does not fit."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from dataclasses import fields
from typing import Any

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
    "check_known",
    "entries",
    "field_names",
    "flag",
    "integer",
    "known_fields",
    "mapping",
    "names",
    "number",
    "text",
]
