"""The four protocols everything plugs into, and the shape glossary.

A world model predicts, an objective scores what it predicted, an action prior says where
to look, a planner searches for the actions that score best.  Nothing here knows about
Gymnasium or Stable-Baselines3: tensors in, tensors out.

Shape glossary, used in every comment and docstring of the library:

=====  =======================================================
``B``  environments or batch entries
``K``  candidate plans of one environment
``H``  planning horizon, in control steps
``T``  time in a training sequence
``A``  action size
``F``  feature size (what a model's heads and policies read)
``E``  members of an ensemble
=====  =======================================================

A *state* is a pytree of tensors (nested dicts, tuples or lists), batch first.  It travels
through arguments and return values and is never kept on the model, so one model serves any
number of environments and candidate plans at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor
from torch.distributions import Normal

S = TypeVar("S")
"""A model's state: any pytree of tensors whose leaves are batch first."""

Observation = dict[str, Tensor]
"""Observations by key, each ``(B, ...)``; a plain Box observation has the key ``"obs"``."""


@dataclass(frozen=True)
class Rollout:
    """What a world model imagined after each of ``H`` actions.

    Attributes:
        features: ``(B, H, F)`` features of the imagined states, or None where they were not kept.
        reward: ``(B, H)`` predicted reward of each step.
        continues: ``(B, H)`` probability in [0, 1] that the episode goes on after the step, or
            None for a model that knows no ends.
        value: ``(B, H)`` estimate of the discounted return from each imagined state on, or
            None where the model has no value head.
        disagreement: ``(B, H)`` non-negative epistemic uncertainty of each step (0 where the
            members of an ensemble agree), or None for a single model.
        steps_to_go: ``(B, H)`` estimated control steps until success, or None.  It is
            ``log(value) / log(discount)`` of a sparse success reward: linear in progress
            where the value itself is nearly flat far from the goal.
    """

    features: Tensor | None
    reward: Tensor
    continues: Tensor | None = None
    value: Tensor | None = None
    disagreement: Tensor | None = None
    steps_to_go: Tensor | None = None


@runtime_checkable
class WorldModel(Protocol[S]):
    """Predicts the next state and reward from the present state and action.

    A model may also have ``actions``, the `nn.ActionStatistics` of the data it was fitted to:
    planners then search as widely as the data reach, and switch binary dimensions instead of
    trembling.
    """

    action_size: int
    feature_size: int

    def initial(self, batch: int) -> S:
        """The state before the first observation, for ``batch`` environments."""
        ...

    def observe(self, state: S, obs: Observation, prev_action: Tensor, is_first: Tensor) -> S:
        """Filter one real step.

        Args:
            state: the state before this observation, leaves ``(B, ...)``.
            obs: the observation, each entry ``(B, ...)``.
            prev_action: ``(B, A)`` the action that led here; ignored where ``is_first``.
            is_first: ``(B,)`` bool, true where an episode begins: there ``state`` counts as
                ``initial``.
        """
        ...

    def features(self, state: S) -> Tensor:
        """``(B, F)``: what heads and policies read of a state."""
        ...

    def imagine_step(self, state: S, action: Tensor) -> S:
        """The imagined state after ``action`` ``(B, A)``; no observation is involved."""
        ...

    def imagine(self, state: S, actions: Tensor, *, keep_features: bool = False) -> Rollout:
        """Imagine ``actions`` ``(B, H, A)`` open loop and predict what a planner needs.

        Args:
            keep_features: whether the rollout must hold features, which a search does not read.
        """
        ...

    def loss(
        self, batch: SequenceBatch, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Training loss on a batch of sequences and its detached components by name.

        Args:
            batch: sequences.
            generator: source of what the loss draws (latents, noise).  None draws nothing: the
                loss is then a function of weights and batch, as held-out data wants it.
        """
        ...


@dataclass(frozen=True)
class SequenceBatch:
    """A batch of equally long sequences; entry ``t`` of every field belongs together.

    ``obs[t]`` was seen, then ``action[t]`` executed, which gave ``reward[t]`` and
    ``next_obs[t]``; ``terminated[t]`` says that ``next_obs[t]`` ended the episode for good.

    Attributes:
        obs, next_obs: each entry ``(B, T, ...)``.
        action: ``(B, T, A)`` executed action.
        prev_action: ``(B, T, A)`` the action before ``obs``; zeros where ``is_first``.
        label: ``(B, T, A)`` the demonstrator's action at ``obs``; NaN where there is none.
        reward: ``(B, T)``.
        terminated, is_first: ``(B, T)`` bool.
        steps_to_go: ``(B, T)`` control steps from ``next_obs`` to the episode's success, 0 at
            success itself; NaN in episodes without success.
        mask: ``(B, T)`` bool, false where a short episode was padded.
    """

    obs: Observation
    next_obs: Observation
    action: Tensor
    prev_action: Tensor
    label: Tensor
    reward: Tensor
    terminated: Tensor
    is_first: Tensor
    steps_to_go: Tensor
    mask: Tensor


@runtime_checkable
class ActionPrior(Protocol):
    """Says where good actions lie: a learned policy, rolled through the model."""

    def propose(self, model: WorldModel[S], state: S, horizon: int) -> Normal:
        """A Gaussian over plans, mean and standard deviation ``(B, H, A)``."""
        ...


@runtime_checkable
class Objective(Protocol):
    """Scores imagined rollouts; higher is better."""

    def score(self, rollout: Rollout) -> Tensor:
        """``(B,)`` score of each rollout in the batch."""
        ...


@dataclass(frozen=True)
class Plan:
    """What a planner found, and what it needs to go on from there at the next step.

    Attributes:
        actions: ``(B, H, A)`` the actions to execute, within the action bounds.
        mean, std: ``(B, H, A)`` the search distribution at the end (the next warm start).
        score: ``(B,)`` the objective of ``actions``.
        info: scalars about the search, such as ``iterations``, for logging.
    """

    actions: Tensor
    mean: Tensor
    std: Tensor
    score: Tensor
    info: dict[str, float] = field(default_factory=dict)


@runtime_checkable
class Planner(Protocol):
    """Searches for the actions that score best inside a world model."""

    def plan(
        self,
        model: WorldModel[S],
        state: S,
        *,
        objective: Objective,
        prior: ActionPrior | None = None,
        warm_start: Plan | None = None,
        is_first: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Plan:
        """Plan for a batch of environments at once.

        Args:
            model: imagines the candidates.
            state: present states, leaves ``(B, ...)``.
            objective: scores the candidates.
            prior: where to start the search; planners that need one raise ValueError without.
            warm_start: the previous step's plan; it is shifted by one step.
            is_first: ``(B,)`` bool, true where ``warm_start`` belongs to an ended episode.
            generator: source of all randomness.
        """
        ...


def shifted(plan: Tensor) -> Tensor:
    """A plan ``(B, H, A)`` one control step later: the first step dropped, the last repeated."""
    return torch.cat([plan[:, 1:], plan[:, -1:]], 1)


def tree_map(function: Any, tree: Any, *others: Any) -> Any:
    """Apply ``function`` to the tensors of one or several pytrees of equal structure."""
    if isinstance(tree, Tensor):
        return function(tree, *others)
    if isinstance(tree, dict):
        return {k: tree_map(function, v, *(o[k] for o in others)) for k, v in tree.items()}
    if isinstance(tree, tuple | list):
        items = [tree_map(function, *vs) for vs in zip(tree, *others, strict=True)]
        return type(tree)(*items) if hasattr(tree, "_fields") else type(tree)(items)
    raise TypeError(f"a state must be a pytree of tensors, got a leaf of type {type(tree)!r}")


__all__ = [
    "ActionPrior",
    "Objective",
    "Observation",
    "Plan",
    "Planner",
    "Rollout",
    "SequenceBatch",
    "WorldModel",
    "shifted",
    "tree_map",
]
