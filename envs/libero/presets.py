"""Keywords that are the name of a preset, or a mapping of kinds and sizes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, TypeVar

Ranges = Mapping[str, tuple[float, float]]
"""The least and the largest size of each kind; whole numbers where the bounds are."""

T = TypeVar("T")


def check_sizes(keyword: str, sizes: Mapping[str, Any], ranges: Ranges) -> None:
    """Refuse what is no number, or out of range.

    Raises:
        ValueError: with what was expected.
    """
    for name, (low, high) in ranges.items():
        value, whole = sizes[name], isinstance(low, int)
        kinds = int if whole else (int, float)
        number = isinstance(value, kinds) and not isinstance(value, bool)
        if not number or not math.isfinite(value) or not low <= value <= high:
            raise ValueError(
                f"{keyword}: {name} must be a {'whole ' * whole}number from {low:g} to "
                f"{high:g}, got {value!r}"
            )


def parse_preset(
    keyword: str, noun: str, value: Any, usual: T, presets: Mapping[str, T], ranges: Ranges
) -> T:
    """What such a keyword says.

    Args:
        keyword: its name.
        noun: what it is about, as messages have it.
        value: name of a preset; a mapping of kinds to sizes, to which ``preset`` may add those of
            one; None for ``usual``.
        usual: a dataclass whose attributes are the kinds; it changes nothing.

    Raises:
        ValueError: for an unknown preset or kind, or a size out of range; the message lists what
            is valid.
    """
    if value is None:
        return usual
    valid = f"{', '.join(presets)}, or a mapping of {', '.join(ranges)}"
    given = {"preset": value} if isinstance(value, str) else value
    if not isinstance(given, Mapping):
        raise ValueError(f"{keyword} must be {valid}, got {value!r}")
    sizes = dict(given)
    preset = sizes.pop("preset", None)
    if preset is not None and preset not in presets:
        raise ValueError(f"unknown {noun} {preset!r}; valid: {valid}")
    for name in sizes:
        if name not in ranges:
            raise ValueError(f"unknown kind of {noun} {name!r}; valid: {valid}")
    base: Any = usual if preset is None else presets[preset]
    return type(usual)(**{**asdict(base), **sizes})


def told(
    value: T, presets: Mapping[str, T], sizes: Mapping[str, float], usual: Mapping[str, Any]
) -> str:
    """Such as "heavy (object_mass=5)"; "none" where every size is the usual one."""
    name = next((name for name, preset in presets.items() if preset == value), "")
    text = " and ".join(f"{k}={v:g}" for k, v in sizes.items() if v != usual[k])
    return f"{name} ({text})" if name else text or "none"


__all__ = ["Ranges", "check_sizes", "parse_preset", "told"]
