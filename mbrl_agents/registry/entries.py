"""The methods of this library, put together from components and settings."""

from __future__ import annotations

from typing import Any

from mbrl_agents.registry.kinds import AgentMethod, BaselineMethod, Method, ReferenceMethod

_FIT = {"training": "mbrl_agents.training.fit:FitSettings"}
_CLONED = {"policy": "mbrl_agents.policies.cloned:ClonedPolicyConfig"}
_SIMPLE = {"world_model": "mbrl_agents.algorithms.simple:SimpleWorldModelConfig"} | _FIT
_V3 = "mbrl_agents.algorithms.dreamer_v3"
_LATENT = {"world_model": f"{_V3}:DreamerV3Config"} | _FIT

# Steps to go are learned from successes.  The value of a pose model is a function of them, so that
# without any the predicted rewards alone are left.
_REWARD = {"objective.name": "return", "objective.terminal_value": False}
_RETURN = {"objective.name": "return"}


def _simple(name: str, summary: str, preset: str, planner: str, **others: Any) -> AgentMethod:
    return AgentMethod(
        name,
        summary,
        algorithm="mbrl_agents.algorithms.simple:Simple",
        planner=planner,
        objective="progress",
        fallback=_REWARD,
        observations=("vectors",),
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
        fallback=_RETURN,
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
        observations=("vectors",),
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
        observations=("vectors",),
        demonstrations=False,
        cost=200.0,
        **others,
    )


def _iris(name: str, summary: str, **others: Any) -> AgentMethod:
    package = "mbrl_agents.algorithms.iris"
    sections = {
        "world_model": f"{package}:IrisConfig",
        "training": f"{package}:IrisTrainingConfig",
    }
    if "planner" not in others:
        sections["actor_critic"] = f"{package}:ActorCriticConfig"
    return AgentMethod(
        name,
        summary,
        algorithm=f"{package}:Iris",
        sections=sections,
        needs_images=True,
        demonstrations=False,
        cost=3000.0,
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
        needs_images=True,
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
        _iris(
            "iris",
            "IRIS: images as tokens, a transformer over them, an actor-critic in what it imagines",
        ),
        _iris(
            "iris-cem",
            "random CEM over IRIS's tokens, planning on the predicted sign of rewards",
            planner="cem",
            objective="return",
        ),
        BaselineMethod(
            "sb3-dqn",
            "Stable-Baselines3 DQN",
            target="stable_baselines3:DQN",
            sections={"baseline": "mbrl_agents.agents.sb3:DQNSettings"},
            actions=("Discrete",),
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
            actions=("Box",),
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
            actions=("Box",),
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


__all__ = ["METHODS"]
