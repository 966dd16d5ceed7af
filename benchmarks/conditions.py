"""What sets a test environment apart from that of the training, in a word or two."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

UNDISTURBED = "undisturbed"

_NAMED = {"disturbance", "randomise"}  # whose presets speak for themselves


def condition_text(kwargs: Mapping[str, Any]) -> str:
    """Keywords of ``gym.make`` in names and plots: "heavy", "object_mass=2", "fixtures=random"."""
    if len(kwargs) == 1 and kwargs.keys() <= _NAMED:
        (inner,) = kwargs.values()
        if inner is None:
            return UNDISTURBED
        return condition_text(inner) if isinstance(inner, Mapping) else str(inner)
    return ", ".join(f"{name}={value}" for name, value in kwargs.items()) or UNDISTURBED


__all__ = ["UNDISTURBED", "condition_text"]
