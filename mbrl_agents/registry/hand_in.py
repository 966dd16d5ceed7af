"""What the course calls the file that holds a model's architecture."""

from __future__ import annotations

from mbrl_agents.registry.kinds import AgentMethod

FILES = {
    "mbrl_agents.algorithms.simple": ("simple_world_model", "SimpleWorldModelAgent"),
    "mbrl_agents.algorithms.dreamer_v3": ("dreamerV3", "DreamerV3Agent"),
}
"""Name of the file, without suffix, and of the class in it, by the algorithm's module."""

OTHERS = ("grp_model", "WorldModelAgent")


def architecture(method: AgentMethod) -> tuple[str, str]:
    """File and class for a method."""
    return FILES.get(method.algorithm.partition(":")[0], OTHERS)


__all__ = ["architecture"]
