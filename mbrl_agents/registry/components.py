"""World models, planners and objectives by name."""

from __future__ import annotations

from dataclasses import dataclass

from mbrl_agents.names import resolve


@dataclass(frozen=True)
class Component:
    """Where a class and the config that goes with it live, as ``module:name``."""

    target: str
    config: str

    def load(self) -> tuple[type, type]:
        """Import both: the class and its config."""
        return resolve(self.target), resolve(self.config)


def component(module: str, name: str, config: str = "") -> Component:
    """A component of this library, with the config ``NAMEConfig`` unless it has another."""
    config = config or f"{name}Config"
    return Component(f"mbrl_agents.{module}:{name}", f"mbrl_agents.{module}:{config}")


WORLD_MODELS = {
    "dreamer_lite": component("algorithms.dreamer_lite", "DreamerLiteModel", "DreamerLiteConfig"),
    "dreamer_v1": component("algorithms.dreamer_v1", "DreamerV1Model", "DreamerV1Config"),
    "dreamer_v2": component("algorithms.dreamer_v2", "DreamerV2Model", "DreamerV2Config"),
    "dreamer_v3": component("algorithms.dreamer_v3", "DreamerV3Model", "DreamerV3Config"),
    "iris": component("algorithms.iris", "IrisModel", "IrisConfig"),
    "mbpo": component("algorithms.mbpo", "MBPOModel"),
    "simple": component("algorithms.simple", "SimpleWorldModel"),
    "world_models": component("algorithms.world_models", "WorldModelsModel", "WorldModelsConfig"),
}
PLANNERS = {
    "cem": component("planners.cem", "CEMPlanner", "CEMConfig"),
    "policy-guided-cem": component("planners.policy_guided", "PolicyGuidedCEM"),
    "policy": component("planners.policy_guided", "PolicyPlanner"),
}
OBJECTIVES = {
    "return": component("planners.objectives", "ReturnObjective"),
    "progress": component("planners.objectives", "ProgressObjective"),
}


__all__ = ["OBJECTIVES", "PLANNERS", "WORLD_MODELS", "Component", "component"]
