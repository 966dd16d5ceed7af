"""Names to implementations: components, and the methods put together from them.

Everything is a string until somebody asks for it, so that listing methods needs no torch.  A new
algorithm is a folder and a few lines here; other packages add theirs through
`mbrl_agents.plugins`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from mbrl_agents.names import lookup, resolve


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
    """A named row of a comparison; subclasses say what kind of thing it is.

    Attributes:
        name: what users type.
        summary: one line for a table of methods.
        kind: of rows in results: "agent", "baseline" or "reference".
        make: ``module:name`` of what builds it.
        train: ``module:name`` of what trains it into a run folder; empty where nothing is trained.
        load: ``module:name`` of what reads it back from one.
        demonstrations: whether it learns from recorded episodes.
        gathers: whether its training gathers what it learns from in environments of its own, so
            that it needs neither episodes nor steps.
        own_steps: whether it learns from its own experience alone, and needs to know how much.
        searches: whether it takes long enough to decide for an evaluation to be split.
        sections: config classes by section of its settings, as ``module:name``.
        presets: names of presets that belong to it, applied in order.
        shortcuts: short names of settings.
        cost, evaluation_cost: rough seconds, for the order of a benchmark's jobs.
    """

    name: str
    summary: str
    demonstrations: bool = False
    sections: Mapping[str, str] = field(default_factory=dict)
    presets: tuple[str, ...] = ()
    shortcuts: Mapping[str, str] = field(default_factory=dict)
    cost: float = 120.0
    gathers: bool = False

    kind: ClassVar[str] = ""
    make: ClassVar[str] = ""
    train: ClassVar[str] = ""
    load: ClassVar[str] = ""
    own_steps: ClassVar[bool] = False
    searches: ClassVar[bool] = False
    evaluation_cost: ClassVar[float] = 10.0

    @property
    def presets_package(self) -> str:
        """The package whose ``presets.yaml`` holds its presets; empty without any."""
        return ""

    def configs(self) -> dict[str, str]:
        """Config classes of all its settings by section, as ``module:name``."""
        return dict(self.sections)

    def components(self) -> dict[str, str]:
        """What it is put together from, by part."""
        return {}

    def reads_weights_of(self, other: Method) -> bool:
        """Whether it can act on the weights that another method trained."""
        return other is self

    def trained(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """What decides trained weights, by part: of two methods of which one's is contained in the
        other's, both can act on what the latter trains.  Empty where nothing is ever shared."""
        return {}

    def used_modules(self, names: Sequence[str]) -> list[str]:
        """Which of the modules that a training gave it acts by: shared weights may have more."""
        return list(names)

    def notes(self, settings: Any) -> list[str]:
        """What has to be known to compare its budget with those of others."""
        return []


@dataclass(frozen=True)
class AgentMethod(Method):
    """An algorithm of this library, acting by itself or through a planner.

    Attributes:
        algorithm: ``module:name`` of the class; the module is, or lies in, a package that may
            hold ``presets.yaml``.
        planner, objective: component names; empty for an algorithm that acts by itself.
    """

    demonstrations: bool = True
    algorithm: str = ""
    planner: str = ""
    objective: str = ""

    kind: ClassVar[str] = "agent"
    make: ClassVar[str] = "mbrl_agents.agents.agent:make_model_based"
    train: ClassVar[str] = "mbrl_agents.runs.training:train_agent"
    load: ClassVar[str] = "mbrl_agents.runs.loading:load_agent"
    searches: ClassVar[bool] = True
    evaluation_cost: ClassVar[float] = 60.0

    @property
    def presets_package(self) -> str:
        return self.algorithm.partition(":")[0]

    def configs(self) -> dict[str, str]:
        found = dict(self.sections)
        if self.planner:
            found["planner"] = lookup(PLANNERS, self.planner, "planner").config
            found["objective"] = lookup(OBJECTIVES, self.objective, "objective").config
        return found

    def components(self) -> dict[str, str]:
        parts = {"algorithm": self.algorithm, "planner": self.planner, "objective": self.objective}
        return {name: value for name, value in parts.items() if value}

    @property
    def modules(self) -> dict[str, str]:
        """Sections whose settings decide trained weights, without those of training itself."""
        return {name: config for name, config in self.sections.items() if name != "training"}

    def reads_weights_of(self, other: Method) -> bool:
        if not isinstance(other, AgentMethod):
            return False
        return self.algorithm == other.algorithm and self.modules.items() <= other.modules.items()

    def used_modules(self, names: Sequence[str]) -> list[str]:
        unused = () if "policy" in self.sections or "actor" in self.sections else ("policy",)
        return [name for name in names if name not in unused]

    def trained(self, config: Mapping[str, Any]) -> dict[str, Any]:
        parts = {name: [target, config[name]] for name, target in self.sections.items()}
        return {"algorithm": self.algorithm, **parts}


@dataclass(frozen=True)
class BaselineMethod(Method):
    """An algorithm of Stable-Baselines3.

    Attributes:
        target: ``module:name`` of its class.
    """

    target: str = ""
    cost: float = 100.0

    kind: ClassVar[str] = "baseline"
    make: ClassVar[str] = "mbrl_agents.agents.sb3:make_baseline"
    train: ClassVar[str] = "mbrl_agents.runs.training:train_baseline"
    load: ClassVar[str] = "mbrl_agents.runs.loading:load_baseline"
    own_steps: ClassVar[bool] = True

    def notes(self, settings: Any) -> list[str]:
        shown = ["env steps include those of the demonstrations"] if self.demonstrations else []
        return [*settings.baseline.notes(), *shown]


@dataclass(frozen=True)
class ReferenceMethod(Method):
    """A policy that is not trained: what a table's figures lie between.

    Attributes:
        target: ``module:name`` of its class.
    """

    target: str = ""

    kind: ClassVar[str] = "reference"
    make: ClassVar[str] = "mbrl_agents.agents.reference:make_reference"


def component(module: str, name: str, config: str = "") -> Component:
    """A component of this library, with the config ``NAMEConfig`` unless it has another."""
    config = config or f"{name}Config"
    return Component(f"mbrl_agents.{module}:{name}", f"mbrl_agents.{module}:{config}")


WORLD_MODELS = {
    "dreamer_lite": component("algorithms.dreamer_lite", "DreamerLiteModel", "DreamerLiteConfig"),
    "dreamer_v1": component("algorithms.dreamer_v1", "DreamerV1Model", "DreamerV1Config"),
    "dreamer_v2": component("algorithms.dreamer_v2", "DreamerV2Model", "DreamerV2Config"),
    "dreamer_v3": component("algorithms.dreamer_v3", "DreamerV3Model", "DreamerV3Config"),
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

_FIT = {"training": "mbrl_agents.training.fit:FitSettings"}
_CLONED = {"policy": "mbrl_agents.policies.cloned:ClonedPolicyConfig"}
_SIMPLE = {"world_model": "mbrl_agents.algorithms.simple:SimpleWorldModelConfig"} | _FIT
_V3 = "mbrl_agents.algorithms.dreamer_v3"
_LATENT = {"world_model": f"{_V3}:DreamerV3Config"} | _FIT


def _simple(name: str, summary: str, preset: str, planner: str, **others: Any) -> AgentMethod:
    return AgentMethod(
        name,
        summary,
        algorithm="mbrl_agents.algorithms.simple:Simple",
        planner=planner,
        objective="progress",
        presets=(preset,),
        **others,
    )


def _fitted_v3(name: str, summary: str, preset: str, planner: str, **others: Any) -> AgentMethod:
    return AgentMethod(
        name,
        summary,
        algorithm=f"{_V3}:FittedDreamerV3",
        planner=planner,
        objective="progress",
        presets=("episodes", preset),
        cost=350.0,
        **others,
    )


def _dreamer(name: str, summary: str, version: int, **others: Any) -> AgentMethod:
    """A Dreamer that learns actor and critic in imagination, from its own experience."""
    package, title = f"mbrl_agents.algorithms.dreamer_v{version}", f"DreamerV{version}"
    sections = {
        "world_model": f"{package}:{title}Config",
        "actor_critic": f"{package}:ActorCriticConfig",
        "training": f"{package}:{title}TrainingConfig",
    }
    return AgentMethod(
        name,
        summary,
        algorithm=f"{package}:{title}",
        sections=sections,
        demonstrations=False,
        cost=350.0,
        **others,
    )


def _mbpo(name: str, summary: str, **others: Any) -> AgentMethod:
    package = "mbrl_agents.algorithms.mbpo"
    return AgentMethod(
        name,
        summary,
        algorithm=f"{package}:MBPO",
        sections={
            "world_model": f"{package}:MBPOModelConfig",
            "model_free": "mbrl_agents.training.model_free:ModelFreeConfig",
            "training": f"{package}:MBPOTrainingConfig",
        },
        demonstrations=False,
        cost=250.0,
        **others,
    )


def _dreamer_lite(name: str, summary: str, **others: Any) -> AgentMethod:
    package = "mbrl_agents.algorithms.dreamer_lite"
    return AgentMethod(
        name,
        summary,
        algorithm=f"{package}:DreamerLite",
        sections={
            "world_model": f"{package}:DreamerLiteConfig",
            "actor_critic": f"{package}:ActorCriticConfig",
            "model_free": "mbrl_agents.training.model_free:ModelFreeConfig",
            "training": f"{package}:DreamerLiteTrainingConfig",
        },
        demonstrations=False,
        cost=200.0,
        **others,
    )


def _world_models(name: str, summary: str, **others: Any) -> AgentMethod:
    package = "mbrl_agents.algorithms.world_models"
    sections = {
        "world_model": f"{package}:WorldModelsConfig",
        "training": f"{package}:WorldModelsTrainingConfig",
    }
    if "planner" not in others:
        sections["controller"] = f"{package}:ControllerConfig"
    return AgentMethod(
        name,
        summary,
        algorithm=f"{package}:WorldModels",
        sections=sections,
        demonstrations=False,
        gathers=True,
        cost=5000.0,
        **others,
    )


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        _simple(
            "simple-cem",
            "random CEM on a learned pose model, planning on reward and steps to go",
            "cem",
            "cem",
            sections=_SIMPLE,
        ),
        _simple(
            "simple-policy",
            "the cloned policy alone, no search",
            "policy",
            "policy",
            sections=_SIMPLE | _CLONED,
        ),
        _simple(
            "simple-policy-cem",
            "CEM around the cloned policy's plan",
            "policy-cem",
            "policy-guided-cem",
            sections=_SIMPLE | _CLONED,
        ),
        _fitted_v3(
            "dreamer-cem",
            "random CEM over DreamerV3 latents, planning on the predicted reward",
            "episodes-cem",
            "cem",
            sections=_LATENT,
        ),
        _fitted_v3(
            "dreamer-policy",
            "a policy cloned on DreamerV3 latents, no search",
            "episodes-policy",
            "policy",
            sections=_LATENT | _CLONED,
        ),
        _fitted_v3(
            "dreamer-policy-cem",
            "CEM around the plan of a policy cloned on DreamerV3 latents",
            "episodes-policy-cem",
            "policy-guided-cem",
            sections=_LATENT | _CLONED,
        ),
        _fitted_v3(
            "dreamer-actor-cem",
            "CEM around the plan of an actor learned in imagination on DreamerV3 latents",
            "episodes-actor-cem",
            "policy-guided-cem",
            sections=_LATENT
            | {
                "actor": f"{_V3}:ImaginedPriorConfig",
                "imagination": f"{_V3}:ImaginationConfig",
            },
        ),
        _dreamer(
            "dreamer",
            "DreamerV3: actor and critic learned in imagination, from its own experience",
            3,
            shortcuts={"size": "world_model.size"},
        ),
        _dreamer(
            "dreamer-v3-cem",
            "DreamerV3 from its own experience, acting by CEM around the actor's plan",
            3,
            planner="policy-guided-cem",
            objective="return",
            shortcuts={"size": "world_model.size"},
        ),
        _dreamer("dreamer-v1", "DreamerV1: Gaussian latents, gradients through the dynamics", 1),
        _dreamer(
            "dreamer-v1-cem",
            "random CEM over DreamerV1 latents, PlaNet's way, from its own experience",
            1,
            planner="cem",
            objective="return",
        ),
        _dreamer("dreamer-v2", "DreamerV2: discrete latents, KL balancing, REINFORCE", 2),
        _dreamer(
            "dreamer-v2-cem",
            "random CEM over DreamerV2 latents, from its own experience",
            2,
            planner="cem",
            objective="return",
        ),
        _mbpo(
            "mbpo",
            "MBPO: SAC or DQN on real transitions and short rollouts of an ensemble",
        ),
        _mbpo(
            "mbpo-cem",
            "MBPO acting by CEM around its policy's plan",
            planner="policy-guided-cem",
            objective="return",
        ),
        _dreamer_lite(
            "dreamer-lite",
            "latent MLP model, an actor-critic in it, and SAC or DQN on real data beside it",
        ),
        _dreamer_lite(
            "dreamer-lite-cem",
            "Dreamer-Lite acting by CEM around its actor's plan",
            planner="policy-guided-cem",
            objective="return",
        ),
        BaselineMethod(
            "sb3-dqn",
            "Stable-Baselines3 DQN",
            target="stable_baselines3:DQN",
            sections={"baseline": "mbrl_agents.agents.sb3:DQNSettings"},
        ),
        _world_models(
            "world-models",
            "World Models: an autoencoder, a recurrent mixture, a linear controller by CMA-ES",
        ),
        _world_models(
            "world-models-cem",
            "random CEM over World Models' latents, planning on the predicted reward",
            planner="cem",
            objective="return",
        ),
        BaselineMethod(
            "sb3-sac",
            "Stable-Baselines3 SAC",
            target="stable_baselines3:SAC",
            sections={"baseline": "mbrl_agents.agents.sb3:SACSettings"},
        ),
        BaselineMethod(
            "sb3-ppo",
            "Stable-Baselines3 PPO",
            target="stable_baselines3:PPO",
            sections={"baseline": "mbrl_agents.agents.sb3:PPOSettings"},
        ),
        BaselineMethod(
            "sb3-sac-demos",
            "Stable-Baselines3 SAC with the demonstrations in its replay buffer",
            target="mbrl_agents.agents.sb3:DemonstratedSAC",
            sections={"baseline": "mbrl_agents.agents.sb3:SACSettings"},
            demonstrations=True,
        ),
        ReferenceMethod(
            "random",
            "uniformly random actions: what a policy has to beat",
            target="mbrl_agents.agents.reference:RandomAgent",
        ),
        ReferenceMethod(
            "expert",
            "the scripted demonstrator, which sees the simulation",
            target="mbrl_agents.agents.reference:ExpertAgent",
        ),
    )
}


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
