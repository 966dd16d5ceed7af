"""Looking things up by name."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from typing import Any


def lookup(table: Mapping[str, Any], name: str, what: str) -> Any:
    """``table[name]``.

    Raises:
        ValueError: for an unknown name, with the valid ones and the nearest.
    """
    if name in table:
        return table[name]
    valid = ", ".join(sorted(table))
    raise ValueError(f"unknown {what} {name!r}{did_you_mean(name, table)} (valid: {valid})")


def did_you_mean(name: Any, names: Any, cutoff: float = 0.6) -> str:
    """``; did you mean 'X'?`` for the nearest of ``names``, or nothing."""
    close = difflib.get_close_matches(str(name), list(names), n=1, cutoff=cutoff)
    return f"; did you mean {close[0]!r}?" if close else ""


def resolve(target: str) -> Any:
    """The object behind ``module:name``."""
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)
