"""The SB3 policy of a model-based agent: world model, prior, planner, and what acting carries."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from torch import Tensor

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


class PlanningPolicy(BasePolicy):
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
        super().__init__(observation_space, action_space, normalize_images=False)
        if not isinstance(action_space, spaces.Box) or not action_space.is_bounded():
            raise ValueError(f"planning needs a bounded Box of actions, got {action_space}")
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
        self.seed = seed
        self.use(config)
        self.eval()

    def use(self, config: MethodConfig) -> None:
        """Take planner and objective from ``config``; weights stay."""
        recipe = lookup(METHODS, config.method, "method")
        self.config = config
        self.planner: Any = PLANNERS[recipe.planner].load()[0](config.planner)
        self.objective: Any = OBJECTIVES[recipe.objective].load()[0](config.objective)

    # -- acting -------------------------------------------------------------------------

    def predict(
        self,
        observation: np.ndarray | dict[str, np.ndarray],
        state: Any = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, Any]:
        """Actions for a batch of observations, or for a single one.

        Args:
            observation: of one environment or a batch.
            state: what the previous call returned; None at the very start.
            episode_start: ``(B,)`` true where an episode begins.
            deterministic: execute the plan as it is; otherwise with the search's final std as
                noise on it.

        Returns:
            Actions in the environment's range, and the `ActingState` of the next call.

        Raises:
            ValueError: when ``state`` belongs to another number of environments.
        """
        tensors, vectorised = self.obs_to_tensor(observation)
        obs = tensors if isinstance(tensors, dict) else {"obs": tensors}
        with torch.inference_mode():
            actions, after = self.step(obs, state, episode_start, deterministic)
            low = torch.as_tensor(self.action_space.low)  # type: ignore[attr-defined]
            high = torch.as_tensor(self.action_space.high)  # type: ignore[attr-defined]
            scaled = low + 0.5 * (actions.cpu() + 1.0) * (high - low)
        result = np.clip(scaled.numpy(), low.numpy(), high.numpy())
        result = result.astype(self.action_space.dtype)
        return (result if vectorised else result[0]), after

    def step(
        self,
        obs: dict[str, Tensor],
        state: ActingState | None,
        episode_start: Any,
        deterministic: bool,
    ) -> tuple[Tensor, ActingState]:
        """Normalised actions ``(B, A)`` and the next state."""
        batch = len(next(iter(obs.values())))
        device = self.device
        if state is None:
            model_state = self.world_model.initial(batch)
            action = torch.zeros(batch, self.world_model.action_size, device=device)
            is_first = torch.ones(batch, dtype=torch.bool, device=device)
            plan, calls = None, torch.zeros(batch, dtype=torch.long)
            age = torch.zeros(batch, dtype=torch.long)
        else:
            model_state, action, plan, calls, age = state
            if len(action) != batch:
                raise ValueError(
                    f"the state belongs to {len(action)} environments, the observation to {batch}"
                )
            starts = np.zeros(batch, bool) if episode_start is None else episode_start
            is_first = torch.as_tensor(np.asarray(starts, dtype=bool), device=device)
        model_state = self.world_model.observe(model_state, obs, action, is_first)
        words = np.random.SeedSequence([self.seed, int(calls.max())]).generate_state(1)
        generator = torch.Generator().manual_seed(int(words[0]))
        due = is_first.cpu() | (age >= self.config.planner.replan)
        age = torch.where(due, 1, age + 1)
        plan = self._plan(model_state, plan, is_first, due, generator)
        action = plan.actions[:, 0]
        if not deterministic:
            noise = torch.randn(action.shape[1:], generator=generator).to(device)
            noisy = (action + plan.std[:, 0] * noise).clamp(-1.0, 1.0)
            noisy = torch.where(self.world_model.actions.binary, action, noisy)
            action = noisy
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
        return Plan(
            *(
                old.index_copy(0, rows, fresh)
                for old, fresh in (
                    (going_on.actions, new.actions),
                    (going_on.mean, new.mean),
                    (going_on.std, new.std),
                    (going_on.score, new.score),
                )
            ),
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

    def _predict(self, observation: Any, deterministic: bool = False) -> Tensor:
        """One memoryless step (SB3's hook); `predict` is what carries state."""
        obs = observation if isinstance(observation, dict) else {"obs": observation}
        action, _ = self.step(obs, None, None, deterministic)
        low = torch.as_tensor(self.action_space.low, device=action.device)  # type: ignore[attr-defined]
        high = torch.as_tensor(self.action_space.high, device=action.device)  # type: ignore[attr-defined]
        return low + 0.5 * (action + 1.0) * (high - low)

    def forward(self, observation: Any, deterministic: bool = False) -> Tensor:
        return self._predict(observation, deterministic)

    def parameter_counts(self) -> dict[str, int]:
        """Trainable parameters by component."""
        parts = {"world_model": self.world_model, "policy": self.prior}
        return {
            name: sum(p.numel() for p in part.parameters() if p.requires_grad)
            for name, part in parts.items()
            if part is not None
        }


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
