"""What figures of an environment depend on beside the agent: versions, physics, assets, images.

An environment tells in its attribute ``conditions``, a dict of plain values; LIBERO's do.  Two
success rates are comparable where these are equal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import gymnasium

Conditions = Mapping[str, Any]


def conditions_of(env: gymnasium.Env[Any, Any]) -> dict[str, Any] | None:
    """The conditions of an environment, its step limit among them; None where it tells none."""
    told = getattr(env.unwrapped, "conditions", None)
    if not isinstance(told, Mapping):  # somebody else may mean something else by the name
        return None
    limit = None if env.spec is None else env.spec.max_episode_steps
    return {**told, "step_limit": limit}


def merged(several: Iterable[Conditions | None]) -> dict[str, Any] | None:
    """One dict of those of several episodes or rows; what differs becomes the list of its values.

    Returns:
        None where none tells anything.
    """
    found: dict[str, list[Any]] = {}
    for conditions in several:
        for name, value in (conditions or {}).items():
            values = found.setdefault(name, [])
            values += [
                v for v in (value if isinstance(value, list) else [value]) if v not in values
            ]
    if not found:
        return None
    return {name: v[0] if len(v) == 1 else sorted(v, key=str) for name, v in found.items()}


def sentence(conditions: Conditions) -> str:
    """The conditions in one line, such as "MuJoCo 3.8.1, contact rule reference, ..."."""

    def text(value: Any) -> str:
        return " or ".join(map(text, value)) if isinstance(value, list) else str(value)

    return ", ".join(f"{name.replace('_', ' ')} {text(x)}" for name, x in conditions.items())


__all__ = ["Conditions", "conditions_of", "merged", "sentence"]
