"""The SB3 policy of a model-based agent: world model, prior, planner, and what acting carries."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import torch
from gymnasium import spaces
from torch import Tensor, nn

from mbrl_agents.agents.acting_policy import ActingPolicy
from mbrl_agents.config import MethodConfig
from mbrl_agents.protocols import Plan, tree_map
from mbrl_agents.registry import METHODS, OBJECTIVES, PLANNERS, POLICIES, WORLD_MODELS, lookup


class ActingState(NamedTuple):
    """What `PlanningPolicy.predict` returns as ``state``, batch first over environments.

    Attributes:
        model: the world model's state.
        action: ``(B, A)`` the normalised action executed last.
        plan: the last plan, to warm-start the next.
        calls: ``(B,)`` how often this state was advanced: with the agent's seed it fixes the
            planner's noise.
    """

    model: Any
    action: Tensor
    plan: Plan
    calls: Tensor


class PlanningPolicy(ActingPolicy):
    """World model and action prior as one module; planner and objective beside them.

    Inside, actions are normalised to [-1, 1].

    Args:
        observation_space, action_space: of the environment; the action space a bounded Box.
        config: the method's settings.
        seed: of the weights and the planning noise.

    Raises:
        ValueError: for unbounded actions, or spaces the world model cannot read.
    """

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        config: MethodConfig,
        *,
        seed: int = 0,
    ) -> None:
        super().__init__(observation_space, action_space, seed=seed)
        recipe = lookup(METHODS, config.method, "method")
        generator = torch.Generator().manual_seed(seed)
        model_class, _ = lookup(WORLD_MODELS, recipe.world_model, "world model").load()
        self.world_model: Any = model_class(
            config.world_model, observation_space, action_space, generator=generator
        )
        self.prior: Any = None
        if recipe.policy:
            policy_class, _ = lookup(POLICIES, recipe.policy, "policy").load()
            self.prior = policy_class(
                config.policy,
                self.world_model.feature_size,
                self.world_model.action_size,
                generator=generator,
            )
        self.config = config
        self.use(config)
        self.eval()

    def use(self, config: MethodConfig) -> None:
        """Take planner and objective from ``config``; weights stay."""
        recipe = lookup(METHODS, config.method, "method")
        self.config = config
        self.planner: Any = PLANNERS[recipe.planner].load()[0](config.planner)
        self.objective: Any = OBJECTIVES[recipe.objective].load()[0](config.objective)

    def found_binary(self, dims: tuple[int, ...]) -> None:
        """Tell the planner which action dimensions are binary, unless its settings say so."""
        planner = self.config.planner
        if getattr(planner, "binary_dims", ()) is None:
            self.use(replace(self.config, planner=replace(planner, binary_dims=dims)))

    # -- acting --------------------------------------------------------------------------

    def step(
        self,
        obs: dict[str, Tensor],
        state: Any,
        episode_start: Any,
        deterministic: bool,
    ) -> tuple[Tensor, ActingState]:
        """Normalised actions ``(B, A)`` and the next state.

        Unless ``deterministic``, the search's final std is added to the plan as noise.
        """
        previous = None if state is None else state.action
        action, is_first = self.begin(obs, previous, episode_start)
        if state is None:
            model_state = self.world_model.initial(len(action))
            plan, calls = None, torch.zeros(len(action), dtype=torch.long)
        else:
            model_state, _, plan, calls = state
        model_state = self.world_model.observe(model_state, obs, action, is_first)
        generator = self.noise(calls)
        plan = self.planner.plan(
            self.world_model,
            model_state,
            objective=self.objective,
            prior=self.prior,
            warm_start=plan,
            is_first=is_first,
            generator=generator,
        )
        action = plan.actions[:, 0]
        if not deterministic:
            noise = torch.randn(action.shape[1:], generator=generator).to(action.device)
            noisy = (action + plan.std[:, 0] * noise).clamp(-1.0, 1.0)
            binary = list(getattr(self.config.planner, "binary_dims", None) or ())
            noisy[:, binary] = action[:, binary]
            action = noisy
        return action, ActingState(model_state, action, plan, calls + 1)

    def modules_by_name(self) -> dict[str, nn.Module | None]:
        return {"world_model": self.world_model, "policy": self.prior}


def select(state: ActingState, rows: Any) -> ActingState:
    """The acting state of some of its environments."""
    plan = state.plan
    return ActingState(
        tree_map(lambda x: x[rows], state.model),
        state.action[rows],
        Plan(plan.actions[rows], plan.mean[rows], plan.std[rows], plan.score[rows], plan.info),
        state.calls[rows],
    )
