"""What a world model is, and the data it learns from and gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor

if TYPE_CHECKING:
    from mbrl_agents.nn.actions import ActionStatistics

S = TypeVar("S")
"""A model's state: any pytree of tensors whose leaves are batch first."""

Observation = dict[str, Tensor]
"""Observations by key, each ``(B, ...)``; a plain Box observation has the key ``"obs"``."""

Metrics = dict[str, Tensor]
"""Detached scalars by name."""


@dataclass(frozen=True)
class Batch:
    """Sequences of observations; entry ``t`` of every field belongs to the same observation.

    Every field is ``(B, T, ...)``; a single episode, ``(N, ...)``, has the same form.

    Attributes:
        obs: what was seen, by key.
        prev_action: ``(B, T, A)`` the normalised action that led here; zeros where ``is_first``.
        reward: received on arrival; 0 where an episode begins.
        is_first: an episode begins here.
        is_last: the episode ended here, or was cut off after this observation.
        terminal: the episode ended here for good: no reward can follow.
        steps_to_go: control steps from here to the episode's success; NaN where unknown.
        label: ``(B, T, A)`` the demonstrator's action here; NaN where there is none.
        mask: false where a short episode was padded.
    """

    obs: Observation
    prev_action: Tensor
    reward: Tensor
    is_first: Tensor
    is_last: Tensor
    terminal: Tensor
    steps_to_go: Tensor
    label: Tensor
    mask: Tensor

    def __len__(self) -> int:
        return len(self.reward)

    def __getitem__(self, index: Any) -> Batch:
        """The same slice of every field."""
        return self._mapped(lambda x: x[index])

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        return self._mapped(lambda x: x.to(device, non_blocking=True))

    def _mapped(self, function: Callable[[Tensor], Tensor]) -> Batch:
        return Batch(**{name: tree_map(function, value) for name, value in vars(self).items()})

    @staticmethod
    def cat(parts: Sequence[Batch]) -> Batch:
        """Batches of equally long sequences, one after another."""
        if len(parts) == 1:
            return parts[0]
        names = [vars(part) for part in parts]
        return Batch(
            **{
                name: tree_map(lambda *x: torch.cat(x), value, *(v[name] for v in names[1:]))
                for name, value in names[0].items()
            }
        )


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
        bounds: computes, when it is called, the lowest and the highest observation that members of
            an ensemble predict when each of them imagines alone, by key ``(B, H, ...)``; None for
            a single model.
    """

    features: Tensor | None
    reward: Tensor
    continues: Tensor | None = None
    value: Tensor | None = None
    disagreement: Tensor | None = None
    steps_to_go: Tensor | None = None
    bounds: Callable[[], tuple[Observation, Observation]] | None = None


@runtime_checkable
class WorldModel(Protocol[S]):
    """Predicts the next state and reward from the present state and action.

    These members are all that planners, priors, agents and images of imagination read of a
    model; `tests/contracts` holds every registered one to it.  Where a method takes a
    ``generator``, a stochastic model draws its latents from it; without one it takes the most
    likely, so that planning and evaluation are functions of their inputs.

    Attributes:
        action_size: ``A``.
        feature_size: ``F``.
        actions: statistics of the actions the model was fitted to: planners search as widely as
            the data reach, switch binary dimensions instead of trembling, and draw whole actions
            where they are discrete.
    """

    action_size: int
    feature_size: int
    actions: ActionStatistics

    def initial(self, batch: int) -> S:
        """The state before the first observation, for ``batch`` environments."""
        ...

    def observe(
        self,
        state: S,
        obs: Observation,
        prev_action: Tensor,
        is_first: Tensor,
        *,
        generator: torch.Generator | None = None,
    ) -> S:
        """Filter one real step.

        Args:
            state: the state before this observation, leaves ``(B, ...)``.
            obs: the observation, each entry ``(B, ...)``.
            prev_action: ``(B, A)`` the action that led here; ignored where ``is_first``.
            is_first: ``(B,)`` bool, true where an episode begins: there ``state`` counts as
                ``initial``.
            generator: source of latents; None takes the most likely.
        """
        ...

    def features(self, state: S) -> Tensor:
        """``(..., F)``: what heads and policies read of a state."""
        ...

    def imagine_step(
        self, state: S, action: Tensor, *, generator: torch.Generator | None = None
    ) -> S:
        """The imagined state after ``action`` ``(B, A)``; no observation is involved."""
        ...

    def imagine(
        self,
        state: S,
        actions: Tensor,
        *,
        generator: torch.Generator | None = None,
        keep_features: bool = False,
    ) -> Rollout:
        """Imagine ``actions`` ``(B, H, A)`` open loop and predict what a planner needs.

        Args:
            keep_features: whether the rollout must hold features, which a search does not read.
        """
        ...

    def decode(self, state: S) -> Observation:
        """Predicted observations of states ``(B, ...)``.

        Vectors in their own units ``(B, D)``, images ``(B, height, width, channels)`` in [0, 1].
        """
        ...


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
