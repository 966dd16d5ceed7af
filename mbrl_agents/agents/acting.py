"""What an agent does with an observation: the algorithm acts, or a planner searches its model.

Nothing here knows Stable-Baselines3, Gymnasium or NumPy: exported agents act by this code.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mbrl_agents.protocols import (
    Algorithm,
    Carry,
    Objective,
    Observation,
    Plan,
    Planner,
    Rollout,
    WorldModel,
    shifted,
    tree_map,
)


class ActingState(NamedTuple):
    """What `AgentPolicy.predict` returns as ``state``, batch first over environments.

    Attributes:
        carry: what the algorithm carries; with a planner, the world model's state.
        action: ``(B, A)`` the normalised action executed last.
        plan: the last plan, to warm-start the next; None without a planner.
        calls: ``(B,)`` how often this state was advanced: with the seed it fixes the noise.
        age: ``(B,)`` steps of the plan that were executed.
    """

    carry: Carry
    action: Tensor
    plan: Plan | None
    calls: Tensor
    age: Tensor

    @property
    def searched(self) -> bool:
        """Whether the call that gave this state decided anew, for any of the environments."""
        return bool((self.age == 1).any())


class ValuedModel:
    """A world model whose rollouts carry a value, where an objective reads one.

    Other members are the model's own.

    Args:
        model: imagines.
        value: of features ``(..., F)``.
        objective: is asked whether it reads a value.
    """

    def __init__(
        self, model: WorldModel[Any], value: Callable[[Tensor], Tensor], objective: Objective
    ) -> None:
        self._model, self._value, self._objective = model, value, objective
        self._read = True  # until a rollout shows that the objective needs none

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def imagine(self, state: Any, actions: Tensor, **arguments: Any) -> Rollout:
        """See `mbrl_agents.protocols.WorldModel.imagine`."""
        if not self._read:
            # A value that is not read would cost a fifth of a search.
            return self._model.imagine(state, actions, **arguments)
        rollout = self._model.imagine(state, actions, **{**arguments, "keep_features": True})
        known = rollout.steps_to_go is not None
        self._read = self._objective.reads_value(steps_to_go=known)
        if not self._read or rollout.features is None:
            return rollout
        return replace(rollout, value=self._value(rollout.features))


class Acting:
    """An algorithm that acts, or a planner over its world model.

    A subclass sets the attributes and says which generator a call draws from (`_noise`).

    Attributes:
        algorithm: whose modules act.
        codec: of the environment's actions: the ``size`` of normalised ones, and whether they are
            ``discrete``, one-hot.
        explore_std: of the noise that experience is gathered with.
        device: of the modules.
    """

    algorithm: Algorithm
    codec: Any
    explore_std: float
    device: Any

    def use(self, planner: Planner | None, objective: Objective | None) -> None:
        """Act by another planner and objective from now on; weights stay."""
        if planner is not None and objective is None:
            raise ValueError("a planner needs an objective")
        self.planner, self.objective = planner, objective
        self._calibrated = -1
        self._valued: ValuedModel | None = None
        if objective is not None and self.algorithm.value is not None:
            self._valued = ValuedModel(self.algorithm.world_model, self.algorithm.value, objective)

    @property
    def searched_model(self) -> Any:
        """What a planner searches in: the world model, with a value where there is one."""
        # Not an attribute: as a second name of a module it would be saved twice.
        return self.algorithm.world_model if self._valued is None else self._valued

    def step(
        self,
        obs: Observation,
        state: ActingState | None,
        episode_start: Any,
        *,
        deterministic: bool = False,
        explore: bool = False,
        generator: torch.Generator | None = None,
    ) -> ActingState:
        """The next state; its ``action`` is the one to execute.

        An algorithm draws latents and actions, or, when ``deterministic``, takes the most likely.
        A planner's noise is drawn in any case; unless ``deterministic``, its final std is added
        to the plan.

        Args:
            explore: act with the noise that experience is gathered with.
            generator: of everything that is drawn; by default the seed and the number of calls
                decide it.
        """
        size, device = len(next(iter(obs.values()))), self.device
        if state is not None and len(state.action) != size:
            raise ValueError(
                f"the state belongs to {len(state.action)} environments, the observation to {size}"
            )
        calls = torch.zeros(size, dtype=torch.long) if state is None else state.calls
        is_first = torch.full((size,), state is None, device=device)
        if state is not None and episode_start is not None:
            is_first = torch.as_tensor(episode_start, device=device).bool()
        previous = torch.zeros(size, self.codec.size, device=device)
        # A planner goes on from the state of what it searches in, whatever the algorithm carries.
        acting = self.algorithm if self.planner is None else self.algorithm.world_model
        carry = acting.initial(size) if state is None else state.carry
        if state is not None:
            previous = state.action
        if generator is None:
            generator = self._noise(calls)
        with torch.inference_mode():
            if self.planner is None:
                draws = None if deterministic else generator
                action, carry = self.algorithm.act(
                    carry, obs, previous, is_first, explore=explore, generator=draws
                )
                return ActingState(carry, action, None, calls + 1, torch.ones_like(calls))
            model = self.algorithm.world_model
            carry = model.observe(carry, obs, previous, is_first)
            age = torch.zeros_like(calls) if state is None else state.age
            due = is_first.cpu() | (age >= self.planner.replan)
            plan = self._plan(carry, state, is_first, due, generator)
            action = plan.actions[:, 0]
            if explore:
                action = self._explore(action, generator)
            elif not deterministic:
                action = self._disturbed(action, plan.std[:, 0], generator)
        return ActingState(carry, action, plan, calls + 1, torch.where(due, 1, age + 1))

    def _plan(
        self,
        carry: Any,
        state: ActingState | None,
        is_first: Tensor,
        due: Tensor,
        generator: torch.Generator,
    ) -> Plan:
        """A new plan for the environments that are ``due``, the rest of the old for the others."""
        old = None if state is None else state.plan
        if old is None or bool(due.all()):
            return self._search(carry, old, is_first, generator)
        going_on = Plan(
            shifted(old.actions), shifted(old.mean), shifted(old.std), old.score, old.info
        )
        rows = due.nonzero()[:, 0].to(is_first.device)
        if not len(rows):
            return going_on
        new = self._search(
            tree_map(lambda x: x[rows], carry), select_plan(old, rows), is_first[rows], generator
        )

        def merged(kept: Tensor, fresh: Tensor) -> Tensor:
            return kept.index_copy(0, rows, fresh)

        return Plan(
            merged(going_on.actions, new.actions),
            merged(going_on.mean, new.mean),
            merged(going_on.std, new.std),
            merged(going_on.score, new.score),
            new.info,
        )

    def _search(
        self, carry: Any, plan: Plan | None, is_first: Tensor, generator: torch.Generator
    ) -> Plan:
        assert self.planner is not None
        assert self.objective is not None
        self._calibrate()
        return self.planner.plan(
            self.searched_model,
            carry,
            objective=self.objective,
            prior=self.algorithm.prior,
            warm_start=plan,
            is_first=is_first,
            generator=generator,
        )

    def _calibrate(self) -> None:
        """Tell the planner how far the model may be trusted, whenever that has changed."""
        calibration = getattr(self.algorithm, "calibration", None)
        calibrate = getattr(self.planner, "calibrate", None)
        if calibration is None or calibrate is None or calibration.version == self._calibrated:
            return
        self._calibrated = calibration.version
        model, objective = self.searched_model, self.objective
        calibrate(lambda horizon: calibration.errors(model, objective, horizon))

    def _disturbed(self, action: Tensor, std: Tensor, generator: torch.Generator) -> Tensor:
        """A plan's action with noise ``(A,)`` or ``(B, A)``; binary and discrete ones stay."""
        actions = self.algorithm.world_model.actions
        if actions.discrete:
            return action
        noise = torch.randn(action.shape[1:], generator=generator).to(action.device)
        noisy = (action + std * noise).clamp(-1.0, 1.0)
        return torch.where(actions.binary, action, noisy)

    def _explore(self, action: Tensor, generator: torch.Generator) -> Tensor:
        """A plan's action with the noise that experience is gathered with, per environment."""
        if self.algorithm.world_model.actions.discrete:
            random = self.random(len(action), generator).to(action.device)
            swap = torch.rand(len(action), 1, generator=generator).to(action.device)
            return torch.where(swap < self.explore_std, random, action)
        noise = torch.randn(action.shape, generator=generator).to(action.device)
        return (action + self.explore_std * noise).clamp(-1.0, 1.0)

    def random(self, size: int, generator: torch.Generator) -> Tensor:
        """Uniformly random normalised actions ``(size, A)``."""
        if self.codec.discrete:
            chosen = torch.randint(self.codec.size, (size,), generator=generator)
            return torch.nn.functional.one_hot(chosen, self.codec.size).float()
        return 2.0 * torch.rand(size, self.codec.size, generator=generator) - 1.0

    def _noise(self, calls: Tensor) -> torch.Generator:
        """What is drawn from after ``calls`` ``(B,)`` calls."""
        raise NotImplementedError


def select_plan(plan: Plan, rows: Any) -> Plan:
    """The plans of some environments."""
    return Plan(plan.actions[rows], plan.mean[rows], plan.std[rows], plan.score[rows], plan.info)


def select(state: ActingState, rows: Any) -> ActingState:
    """The acting state of some of its environments."""
    return ActingState(
        tree_map(lambda x: x[rows], state.carry),
        state.action[rows],
        None if state.plan is None else select_plan(state.plan, rows),
        state.calls[rows],
        state.age[rows],
    )


__all__ = ["Acting", "ActingState", "ValuedModel", "select", "select_plan"]
