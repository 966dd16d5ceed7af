"""Names to implementations: components, and the methods put together from them.

Everything is a string until somebody asks for it, so that listing methods needs no torch.  A new
algorithm is a folder and a few lines in `entries`; other packages add theirs through
`mbrl_agents.plugins`.
"""

from __future__ import annotations

from mbrl_agents.names import lookup
from mbrl_agents.registry.components import (
    OBJECTIVES,
    PLANNERS,
    WORLD_MODELS,
    Component,
    component,
)
from mbrl_agents.registry.entries import METHODS
from mbrl_agents.registry.kinds import AgentMethod, BaselineMethod, Method, ReferenceMethod


def methods() -> list[str]:
    """Names of all methods: agents first, then baselines and reference policies."""
    order = ("agent", "baseline", "reference")
    return sorted(METHODS, key=lambda name: order.index(METHODS[name].kind))


def agent_method(name: str) -> AgentMethod:
    """The entry of an agent.

    Raises:
        ValueError: for another method, or an unknown one.
    """
    found = lookup(METHODS, name, "method")
    if not isinstance(found, AgentMethod):
        raise ValueError(f"{name!r} is not a model-based agent")
    return found


__all__ = [
    "METHODS",
    "OBJECTIVES",
    "PLANNERS",
    "WORLD_MODELS",
    "AgentMethod",
    "BaselineMethod",
    "Component",
    "Method",
    "ReferenceMethod",
    "agent_method",
    "component",
    "methods",
]
