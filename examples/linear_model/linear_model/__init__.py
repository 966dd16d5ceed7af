"""A linear world model for mbrl_agents, and the method `linear-cem` that plans in it."""

from mbrl_agents.plugins import add_method, add_world_model
from mbrl_agents.registry import AgentMethod

MODEL, CONFIG = "linear_model.model:LinearModel", "linear_model.model:LinearModelConfig"


def register() -> None:
    """Add both to the registry, by name: torch is imported when somebody asks for them."""
    add_world_model("linear", MODEL, CONFIG)
    add_method(
        AgentMethod(
            "linear-cem",
            "random CEM in a linear model with a quadratic reward",
            algorithm="linear_model.model:Linear",
            planner="cem",
            objective="return",
            sections={"world_model": CONFIG, "training": "mbrl_agents.training.fit:FitSettings"},
        )
    )
