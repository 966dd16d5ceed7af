"""The SB3 policy of a model-based agent: world model, prior, planner, and what acting carries."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from gymnasium import spaces
from torch import Tensor, nn

from mbrl_agents.agents.acting_policy import ActingPolicy
from mbrl_agents.config import MethodConfig
from mbrl_agents.protocols import Plan, shifted, tree_map
from mbrl_agents.registry import METHODS, OBJECTIVES, PLANNERS, POLICIES, WORLD_MODELS, lookup


class ActingState(NamedTuple):
    """What `PlanningPolicy.predict` returns as ``state``, batch first over environments.

    Attributes:
        model: the world model's state.
        action: ``(B, A)`` the normalised action executed last.
        plan: the last plan, to warm-start the next.
        calls: ``(B,)`` how often this state was advanced: with the agent's seed it fixes the
            planner's noise.
        age: ``(B,)`` steps of the plan that were executed.
    """

    model: Any
    action: Tensor
    plan: Plan
    calls: Tensor
    age: Tensor

    @property
    def searched(self) -> bool:
        """Whether the call that gave this state searched, for any of the environments."""
        return bool((self.age == 1).any())


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
        value = getattr(self.prior, "value", None)
        if value is not None and hasattr(self.world_model, "attach_value"):
            # A critic that nobody reads would cost a fifth of a search.
            steps = bool(getattr(config.world_model, "progress", False))
            read = self.objective.reads_value(steps_to_go=steps)
            self.world_model.attach_value(value if read else None)

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
            age = torch.zeros(len(action), dtype=torch.long)
        else:
            model_state, _, plan, calls, age = state
        model_state = self.world_model.observe(model_state, obs, action, is_first)
        generator = self.noise(calls)
        due = is_first.cpu() | (age >= self.config.planner.replan)
        age = torch.where(due, 1, age + 1)
        plan = self._plan(model_state, plan, is_first, due, generator)
        action = plan.actions[:, 0]
        if not deterministic:
            noise = torch.randn(action.shape[1:], generator=generator).to(action.device)
            noisy = (action + plan.std[:, 0] * noise).clamp(-1.0, 1.0)
            seen = getattr(self.world_model, "actions", None)
            action = noisy if seen is None else torch.where(seen.binary, action, noisy)
        return action, ActingState(model_state, action, plan, calls + 1, age)

    def _plan(
        self,
        state: Any,
        plan: Plan | None,
        is_first: Tensor,
        due: Tensor,
        generator: torch.Generator,
    ) -> Plan:
        """A new plan for the environments that are ``due``, the rest of the old for the others."""
        if plan is None or bool(due.all()):
            return self._search(state, plan, is_first, generator)
        going_on = Plan(
            shifted(plan.actions), shifted(plan.mean), shifted(plan.std), plan.score, plan.info
        )
        rows = due.nonzero()[:, 0].to(is_first.device)
        if not len(rows):
            return going_on
        new = self._search(
            tree_map(lambda x: x[rows], state), select_plan(plan, rows), is_first[rows], generator
        )

        def merged(old: Tensor, fresh: Tensor) -> Tensor:
            return old.index_copy(0, rows, fresh)

        return Plan(
            merged(going_on.actions, new.actions),
            merged(going_on.mean, new.mean),
            merged(going_on.std, new.std),
            merged(going_on.score, new.score),
            new.info,
        )

    def _search(
        self, state: Any, plan: Plan | None, is_first: Tensor, generator: torch.Generator
    ) -> Plan:
        found: Plan = self.planner.plan(
            self.world_model,
            state,
            objective=self.objective,
            prior=self.prior,
            warm_start=plan,
            is_first=is_first,
            generator=generator,
        )
        return found

    def modules_by_name(self) -> dict[str, nn.Module | None]:
        return {"world_model": self.world_model, "policy": self.prior}


def select_plan(plan: Plan, rows: Any) -> Plan:
    """The plans of some environments."""
    return Plan(plan.actions[rows], plan.mean[rows], plan.std[rows], plan.score[rows], plan.info)


def select(state: ActingState, rows: Any) -> ActingState:
    """The acting state of some of its environments."""
    return ActingState(
        tree_map(lambda x: x[rows], state.model),
        state.action[rows],
        select_plan(state.plan, rows),
        state.calls[rows],
        state.age[rows],
    )
