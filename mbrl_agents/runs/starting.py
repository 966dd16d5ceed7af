"""Going on from another run's weights with own experience."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mbrl_agents.agents.saving import CONFIG_FILE
from mbrl_agents.config import from_yaml, resolve_config
from mbrl_agents.names import lookup
from mbrl_agents.registry import METHODS, AgentMethod
from mbrl_agents.runs.spec import RunInfo


def check_start(folder: str | Path, method: str) -> None:
    """Raise for a run whose weights ``method`` cannot go on from.

    Raises:
        FileNotFoundError: no finished run there.
        ValueError: it trained other weights.
    """
    recipe = lookup(METHODS, method, "method")
    if not isinstance(recipe, AgentMethod):
        raise ValueError(f"{method} does not start from another run's weights")
    found = lookup(METHODS, RunInfo.read(folder).spec.method, "method")
    if not recipe.reads_weights_of(found):
        raise ValueError(f"{folder} is a run of {found.name}: {method} needs other weights")


def settings_of_start(folder: str | Path, method: str) -> list[str]:
    """Overrides by which ``method`` builds modules like those of a run.

    Settings of training, planner and objective are not among them: they are the new run's own.

    Raises:
        FileNotFoundError, ValueError: see `check_start`.
    """
    check_start(folder, method)
    recipe = lookup(METHODS, method, "method")
    assert isinstance(recipe, AgentMethod)
    there = from_yaml((Path(folder) / CONFIG_FILE).read_text(encoding="utf-8")).to_dict()
    here = resolve_config(method).to_dict()
    return [
        f"{name}.{key}={json.dumps(value)}"
        for name in recipe.modules
        for key, value in _flat(there[name])
        if dict(_flat(here[name])).get(key) != value
    ]


def _flat(tree: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Leaves by dotted key."""
    found: list[tuple[str, Any]] = []
    for key, value in tree.items():
        if isinstance(value, Mapping):
            found += _flat(value, f"{prefix}{key}.")
        else:
            found.append((prefix + key, value))
    return found


__all__ = ["check_start", "settings_of_start"]
