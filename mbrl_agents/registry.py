"""Names to implementations: components, and the methods put together from them.

Everything is a string until somebody asks for it, so that listing methods needs no torch.  A new
world model, policy, planner or objective is one file and one line here.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Component:
    """Where a class and the config that goes with it live, as ``module:name``."""

    target: str
    config: str

    def load(self) -> tuple[type, type]:
        """Import both: the class and its config."""
        return resolve(self.target), resolve(self.config)


@dataclass(frozen=True)
class Method:
    """A named row of a comparison.

    Attributes:
        name: what users type.
        summary: one line for a table of methods.
        kind: "agent" (world model and planner), "baseline" (Stable-Baselines3) or "bound".
        world_model, policy, planner, objective: component names; empty for "not used".
        target: ``module:name`` of the agent's class, or of what builds a baseline or bound.
        config: ``module:name`` of a baseline's settings.
        training: ``module:name`` of an agent's training settings.
        behaviour: ``module:name`` of the settings of an actor-critic; empty for "none".
        shortcuts: short names of settings.
        demonstrations: whether it learns from recorded episodes.
        defaults: dotted overrides that belong to the method.
    """

    name: str
    summary: str
    kind: str = "agent"
    world_model: str = ""
    policy: str = ""
    planner: str = ""
    objective: str = ""
    target: str = "mbrl_agents.agents.mbrl_agent:MBRLAgent"
    config: str = ""
    training: str = "mbrl_agents.training.fitting:TrainingConfig"
    behaviour: str = ""
    demonstrations: bool = True
    defaults: Mapping[str, Any] = field(default_factory=dict)
    shortcuts: Mapping[str, str] = field(default_factory=dict)


def _component(module: str, name: str, config: str = "") -> Component:
    config = config or f"{name}Config"
    return Component(f"mbrl_agents.{module}:{name}", f"mbrl_agents.{module}:{config}")


WORLD_MODELS = {
    "dreamer_v3": _component("world_models.dreamer_v3", "DreamerV3"),
    "simple": _component("world_models.simple", "SimpleWorldModel"),
}
POLICIES = {
    "actor": _component("policies.actor_critic", "ActorPrior"),
    "gaussian": _component("policies.pose", "GaussianPolicy"),
}
PLANNERS = {
    "cem": _component("planners.cem", "CEMPlanner", "CEMConfig"),
    "policy-guided-cem": _component("planners.policy_guided", "PolicyGuidedCEM"),
    "policy": _component("planners.policy_guided", "PolicyPlanner"),
}
OBJECTIVES = {
    "return": _component("planners.objectives", "ReturnObjective"),
    "progress": _component("planners.objectives", "ProgressObjective"),
}

# A latent model that learns from recorded episodes within minutes on a CPU: docs/methods.md has the
# trials.  What the demonstrator looked at, a bowl of six pixels, has to outweigh the rest of the
# picture, and short sequences buy more gradient steps.  It plans on steps to go like the pose
# methods.
_DREAMER = {
    "world_model.progress": True,
    "world_model.imitation_weight": 100.0,
    "world_model.normalise": True,
    "world_model.reconstructed": 0.25,
    "world_model.strided": True,
    "training.optimizer": "laprop",
    "training.learning_rate": 2e-3,
    "training.batch_size": 16,
    "training.sequence_length": 16,
    "training.model_steps": 1600,
    "training.policy_learning_rate": 1e-3,
    "training.policy_steps": 800,
    "training.evaluate_every": 400,
}

METHODS = {
    method.name: method
    for method in (
        Method(
            "simple-cem",
            "random CEM on a learned pose model, planning on reward and steps to go",
            world_model="simple",
            planner="cem",
            objective="progress",
            # Far ahead, and only where the ensemble agrees: docs/methods.md has the trials.
            defaults={
                "planner.horizon": 36,
                "planner.hold": 3,
                "planner.replan": 3,
                "planner.iterations": 3,
                "planner.init_std": 0.7,
                "objective.mode": "mean",
                "objective.disagreement": 300.0,
                "objective.reward": 100.0,
                "objective.end_reward": 4.0,
            },
        ),
        Method(
            "simple-policy",
            "the cloned policy alone, no search",
            world_model="simple",
            policy="gaussian",
            planner="policy",
            objective="progress",
        ),
        Method(
            "simple-policy-cem",
            "CEM around the cloned policy's plan",
            world_model="simple",
            policy="gaussian",
            planner="policy-guided-cem",
            objective="progress",
            defaults={"objective.disagreement": 20.0},
        ),
        Method(
            "dreamer-cem",
            "random CEM over DreamerV3 latents, planning on the predicted reward",
            world_model="dreamer_v3",
            planner="cem",
            objective="progress",
            # Steps to go are learned from successes alone; searched far from them, they promise
            # success anywhere.  The weight leaves the choice to reward, and to ending.
            defaults=_DREAMER
            | {
                "planner.horizon": 12,
                "planner.hold": 3,
                "planner.replan": 3,
                "planner.samples": 40,
                "planner.iterations": 2,
                "planner.init_std": 0.5,
                "objective.mode": "mean",
                "objective.reward": 10_000.0,
                "objective.end_reward": 4.0,
            },
        ),
        Method(
            "dreamer-policy",
            "a policy cloned on DreamerV3 latents, no search",
            world_model="dreamer_v3",
            policy="gaussian",
            planner="policy",
            objective="progress",
            defaults=_DREAMER,
        ),
        Method(
            "dreamer-policy-cem",
            "CEM around the plan of a policy cloned on DreamerV3 latents",
            world_model="dreamer_v3",
            policy="gaussian",
            planner="policy-guided-cem",
            objective="progress",
            # One model cannot say where it is unsure: it must promise two steps to be believed.
            defaults=_DREAMER | {"planner.margin": 2.0},
        ),
        Method(
            "dreamer-actor-cem",
            "CEM around the plan of an actor learned in imagination on DreamerV3 latents",
            world_model="dreamer_v3",
            policy="actor",
            planner="policy-guided-cem",
            objective="progress",
            behaviour="mbrl_agents.training.imagination:ImaginationConfig",
            # Imitation, or the actor leaves what the model was shown.  A step of imagination costs
            # more than one of cloning, hence the smaller batch.
            defaults=_DREAMER
            | {
                "planner.margin": 2.0,
                "policy.imitation_weight": 1.0,
                "training.policy_batch_size": 256,
            },
        ),
        Method(
            "dreamer",
            "DreamerV3: actor and critic learned in imagination, from its own experience",
            world_model="dreamer_v3",
            target="mbrl_agents.agents.dreamer_agent:DreamerAgent",
            training="mbrl_agents.training.dreamer:DreamerTrainingConfig",
            behaviour="mbrl_agents.training.imagination:BehaviourConfig",
            demonstrations=False,
            shortcuts={"size": "world_model.size"},
        ),
        Method(
            "sb3-sac",
            "Stable-Baselines3 SAC",
            kind="baseline",
            target="mbrl_agents.agents.baselines:make_baseline",
            config="mbrl_agents.agents.baselines:SACSettings",
            demonstrations=False,
        ),
        Method(
            "sb3-ppo",
            "Stable-Baselines3 PPO",
            kind="baseline",
            target="mbrl_agents.agents.baselines:make_baseline",
            config="mbrl_agents.agents.baselines:PPOSettings",
            demonstrations=False,
        ),
        Method(
            "sb3-sac-demos",
            "Stable-Baselines3 SAC with the demonstrations in its replay buffer",
            kind="baseline",
            target="mbrl_agents.agents.baselines:make_baseline",
            config="mbrl_agents.agents.baselines:SACSettings",
        ),
        Method(
            "random",
            "uniformly random actions: the lower bound",
            kind="bound",
            target="mbrl_agents.agents.bounds:RandomAgent",
            demonstrations=False,
        ),
        Method(
            "expert",
            "the scripted demonstrator, which sees the simulation: the upper bound",
            kind="bound",
            target="mbrl_agents.agents.bounds:ExpertAgent",
            demonstrations=False,
        ),
    )
}


def methods() -> list[str]:
    """Names of all methods, agents first, then baselines and bounds."""
    return list(METHODS)


def lookup(table: Mapping[str, Any], name: str, what: str) -> Any:
    """``table[name]``.

    Raises:
        ValueError: for an unknown name, with the valid ones and the nearest.
    """
    if name in table:
        return table[name]
    close = difflib.get_close_matches(str(name), table, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise ValueError(f"unknown {what} {name!r}{hint} (valid: {', '.join(sorted(table))})")


def resolve(target: str) -> Any:
    """The object behind ``module:name``."""
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)
