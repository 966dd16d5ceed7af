"""What other packages add to the registry.

They do so through entry points of the group ``mbrl_agents``: each names a function without
arguments that calls `add_method`, `add_world_model`, `add_planner` or `add_objective`, or registers
environments with Gymnasium.
"""

from __future__ import annotations

import importlib.metadata
import warnings
from typing import Any

from mbrl_agents.registry import METHODS, OBJECTIVES, PLANNERS, WORLD_MODELS, Component, Method

GROUP = "mbrl_agents"
"""Of the entry points by which other packages add to this registry."""


def add_method(method: Method) -> None:
    """Add a method; `methods`, the command line and benchmarks then treat it like ours.

    Raises:
        ValueError: when there is one of that name.
    """
    _add(METHODS, method.name, method, "method")


def add_world_model(name: str, target: str, config: str) -> None:
    """Add a world model to `make_world_model`; arguments as in `Component`."""
    _add(WORLD_MODELS, name, Component(target, config), "world model")


def add_planner(name: str, target: str, config: str) -> None:
    """Add a planner; arguments as in `Component`."""
    _add(PLANNERS, name, Component(target, config), "planner")


def add_objective(name: str, target: str, config: str) -> None:
    """Add an objective; arguments as in `Component`."""
    _add(OBJECTIVES, name, Component(target, config), "objective")


def _add(table: dict[str, Any], name: str, entry: Any, what: str) -> None:
    if table.get(name, entry) != entry:
        raise ValueError(f"there is a {what} {name!r} already")
    table[name] = entry


def load_entry_points() -> None:
    """Let other packages add theirs; one that fails is reported and left out."""
    for point in importlib.metadata.entry_points(group=GROUP):
        try:
            point.load()()
        except Exception as error:  # somebody else's code must not stop ours
            warnings.warn(
                f"the entry point {point.name!r} of group {GROUP} ({point.value}) failed: "
                f"{type(error).__name__}: {error}",
                RuntimeWarning,
                stacklevel=2,
            )
