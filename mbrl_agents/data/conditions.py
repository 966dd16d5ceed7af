"""What figures of an environment depend on beside the agent: versions, physics, assets, images.

An environment tells in its attribute ``conditions``, a dict of plain values; LIBERO's do.  Two
success rates are comparable where these are equal.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import gymnasium

Conditions = Mapping[str, Any]


def conditions_of(env: gymnasium.Env[Any, Any], view: str | None = None) -> dict[str, Any] | None:
    """The conditions of an environment, its step limit among them; None where it tells none.

    Args:
        view: those of an environment with this value of the keyword ``obs`` instead.
    """
    base: Any = env.unwrapped
    told = getattr(base, "conditions", None) if view is None else base.conditions_as(view)
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
    """The conditions in one line, such as "MuJoCo 3.8.1, contact rule reference, ...".

    What is None everywhere, such as the disturbance of environments without one, is left out.
    """

    def text(value: Any) -> str:
        if value is None:
            return "none"
        return " or ".join(map(text, value)) if isinstance(value, list) else str(value)

    told = {name: value for name, value in conditions.items() if value is not None}
    return ", ".join(f"{name.replace('_', ' ')} {text(value)}" for name, value in told.items())


def check_same_conditions(
    folder: str | Path, infos: Iterable[Mapping[str, Any]], told: Any
) -> None:
    """Refuse episodes that look or move otherwise than those in a folder.

    Args:
        folder: for the message.
        infos: of the episodes in it.
        told: the entry ``conditions`` of a new episode's info: JSON, or None.

    Raises:
        ValueError: with what differs.
    """
    new = json.loads(str(told or "{}"))
    for known in {str(info.get("conditions") or "{}") for info in infos}:
        old = json.loads(known)
        for name in sorted(old.keys() | new.keys()):
            if name != "renderer" and old.get(name) != new.get(name):
                raise ValueError(
                    f"{folder} holds episodes with {name}={old.get(name)!r}, "
                    f"not {new.get(name)!r}; use another folder"
                )


__all__ = ["Conditions", "check_same_conditions", "conditions_of", "merged", "sentence"]
