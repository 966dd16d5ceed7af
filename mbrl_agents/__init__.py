"""Model-based reinforcement learning agents for robot manipulation.

Importing this package registers its Gymnasium environments and nothing heavier: torch and the
simulator are imported when something needs them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mbrl_agents.envs import register_envs
from mbrl_agents.plugins import load_entry_points
from mbrl_agents.registry import methods

if TYPE_CHECKING:
    from mbrl_agents.factories import load, make_agent, make_planner, make_world_model

__version__ = "0.2.0"

register_envs()
load_entry_points()

_LAZY = ("load", "make_agent", "make_planner", "make_world_model")

__all__ = [
    "__version__",
    "load",
    "make_agent",
    "make_planner",
    "make_world_model",
    "methods",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        from mbrl_agents import factories

        return getattr(factories, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
