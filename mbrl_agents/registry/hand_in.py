"""What the course calls its files, those of models' architectures among them."""

from __future__ import annotations

from mbrl_agents.registry.kinds import AgentMethod

FILES = {
    "mbrl_agents.algorithms.simple": ("simple_world_model", "SimpleWorldModelAgent"),
    "mbrl_agents.algorithms.dreamer_v3": ("dreamerV3", "DreamerV3Agent"),
}
"""Name of the file, without suffix, and of the class in it, by the algorithm's module."""

CODE = (
    "dreamer_model_trainer.py",
    "simple_world_model.py",
    "planning.py",
    "dreamerV3.py",
    "world_model.py",
    "sim_eval.py",
)
"""The code that is submitted."""

OTHERS = ("grp_model", "WorldModelAgent")


def architecture(method: AgentMethod) -> tuple[str, str]:
    """File and class for a method."""
    return FILES.get(method.algorithm.partition(":")[0], OTHERS)


__all__ = ["CODE", "architecture"]
