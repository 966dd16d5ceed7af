"""The SB3 policy of every agent: an algorithm that acts itself, or a planner over its model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from torch import Tensor

from mbrl_agents.data.actions import ActionCodec
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


class AgentPolicy(BasePolicy):
    """An algorithm's modules, and how it acts.

    Inside, actions are normalised to [-1, 1], discrete ones are one-hot.

    Args:
        observation_space: of the environment.
        action_space: a bounded Box, or a Discrete.
        algorithm: whose modules these are.
        planner, objective: to act by searching the algorithm's world model; None to let the
            algorithm act itself.
        explore_std: see `mbrl_agents.training.settings.TrainingSettings`.
        seed: of everything that is drawn while acting.

    Raises:
        ValueError: for other action spaces, or a planner without an objective.
    """

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        algorithm: Algorithm,
        planner: Planner | None = None,
        objective: Objective | None = None,
        *,
        explore_std: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__(observation_space, action_space, normalize_images=False)
        self.codec = ActionCodec(action_space)
        self.algorithm, self.explore_std, self.seed = algorithm, explore_std, seed
        for name, module in algorithm.modules.items():
            self.add_module(name, module)
        self.use(planner, objective)
        self.eval()

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
            deterministic: act without drawing actions.

        Returns:
            Actions in the environment's range, and the state of the next call.

        Raises:
            ValueError: when ``state`` belongs to another number of environments.
        """
        obs, vectorised = self.to_tensors(observation)
        after = self.step(obs, state, episode_start, deterministic=deterministic)
        result = self.codec.decode(after.action.cpu().numpy())
        return (result if vectorised else result[0]), after

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
        if state is None:
            starts = np.ones(size, bool)
        else:
            starts = np.zeros(size, bool) if episode_start is None else np.asarray(episode_start)
        is_first = torch.as_tensor(starts.astype(bool), device=device)
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
        words = np.random.SeedSequence([self.seed, int(calls.max())]).generate_state(1)
        return torch.Generator().manual_seed(int(words[0]))

    # -- SB3 ----------------------------------------------------------------------------

    def to_tensors(
        self, observation: np.ndarray | dict[str, np.ndarray]
    ) -> tuple[Observation, bool]:
        """An observation as a batch of tensors by key, and whether it was a batch."""
        tensors, vectorised = self.obs_to_tensor(observation)
        return (tensors if isinstance(tensors, dict) else {"obs": tensors}), vectorised

    def _predict(self, observation: Any, deterministic: bool = False) -> Tensor:
        """One memoryless step (SB3's hook); `predict` is what carries state."""
        obs = observation if isinstance(observation, dict) else {"obs": observation}
        action = self.step(obs, None, None, deterministic=deterministic).action
        return torch.as_tensor(self.codec.decode(action.cpu().numpy()), device=action.device)

    def forward(self, observation: Any, deterministic: bool = False) -> Tensor:
        return self._predict(observation, deterministic)

    def parameter_counts(self) -> dict[str, int]:
        """Trainable parameters by module."""
        return {
            name: count
            for name, module in self.algorithm.modules.items()
            if (count := sum(p.numel() for p in module.parameters() if p.requires_grad))
        }


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


__all__ = ["ActingState", "AgentPolicy", "ValuedModel", "select", "select_plan"]
