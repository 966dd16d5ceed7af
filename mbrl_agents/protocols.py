"""The protocols everything plugs into, and the shape glossary.

A world model predicts, an objective scores what it predicted, an action prior says where
to look, a planner searches for the actions that score best.  An algorithm is a published system:
its modules, what it stores beside a recorded step, how it acts, and its training phases.  Nothing
here knows about Gymnasium or Stable-Baselines3: tensors in, tensors out.

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

Actions are normalised: those of a Box lie in [-1, 1], those of a Discrete are one-hot, ``A`` of
them.  A *state* is a pytree of tensors (nested dicts, tuples or lists), batch first.  It travels
through arguments and return values and is never kept on the model, so one model serves any
number of environments and candidate plans at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from mbrl_agents.data.buffer import SequenceBuffer
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


@dataclass(frozen=True)
class Proposal:
    """Where an action prior expects good plans.

    Attributes:
        mean: ``(B, H, A)`` the mean of a Gaussian over plans; for discrete actions the probability
            of each.
        std: ``(B, H, A)`` its standard deviation; zeros for discrete actions.
    """

    mean: Tensor
    std: Tensor


@runtime_checkable
class ActionPrior(Protocol):
    """Says where good actions lie: a learned policy, rolled through the model."""

    def propose(self, model: WorldModel[S], state: S, horizon: int) -> Proposal:
        """A distribution over plans of ``horizon`` steps, from states ``(B, ...)``."""
        ...


@runtime_checkable
class Objective(Protocol):
    """Scores imagined rollouts; higher is better."""

    def score(self, rollout: Rollout) -> Tensor:
        """``(B,)`` score of each rollout in the batch."""
        ...

    def reads_value(self, *, steps_to_go: bool) -> bool:
        """Whether rollouts, with ``steps_to_go`` or without, need a value as well."""
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
    """Searches for the actions that score best inside a world model.

    Attributes:
        replan: control steps between searches; the plan goes on being executed in between.
    """

    replan: int

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


Carry = Any
"""What acting carries from step to step: a pytree, batch first."""


@runtime_checkable
class Algorithm(Protocol):
    """A published system: what it consists of, how it acts, and how it learns.

    Built as ``Class(sections, observation_space, action_space, seed=...)``, where ``sections`` are
    the configs its entry in the registry names, by section.

    Attributes:
        modules: trained modules by name; each becomes a file of a saved agent.
        world_model: what a planner searches in.
        prior: where a planner's search may start, or None.
        value: ``(..., F)`` features to ``(...)`` returns from there on, or None; a planner's
            rollouts carry it where its objective reads a value.
        extras: shape and dtype of what is stored beside each recorded step, by name; empty where
            training begins every sequence from nothing.
        phases: of training, in order.
    """

    modules: Mapping[str, nn.Module]
    world_model: WorldModel[Any]
    prior: ActionPrior | None
    value: Callable[[Tensor], Tensor] | None
    extras: Mapping[str, tuple[tuple[int, ...], Any]]
    phases: Sequence[Phase]

    def initial(self, batch: int) -> Carry:
        """What acting carries before the first observation."""
        ...

    def act(
        self,
        carry: Carry,
        obs: Observation,
        prev_action: Tensor,
        is_first: Tensor,
        *,
        explore: bool = False,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Carry]:
        """Normalised actions ``(B, A)`` of the algorithm's own policy, and the next carry.

        Args:
            carry, obs, prev_action, is_first: as `WorldModel.observe` takes them.
            explore: whether to add the noise that experience is gathered with.
            generator: source of latents and actions; None takes the most likely of both.

        Raises:
            ValueError: for an algorithm that acts through a planner only.
        """
        ...

    def extras_of(self, carry: Carry) -> Mapping[str, Tensor]:
        """What is stored beside the step that ``carry`` has just seen, ``(B, ...)`` by name."""
        ...


@dataclass(frozen=True)
class Schedule:
    """When a phase is due.

    Attributes:
        updates: of an offline fit.
        start: environment steps before the first turn of ``learn``.
        every: environment steps between turns.
        per_turn: updates of each turn; fractions add up.
        first: updates of the first turn, ``per_turn`` when None.
    """

    updates: int
    start: int = 0
    every: int = 1
    per_turn: float = 1.0
    first: int | None = None


@runtime_checkable
class Phase(Protocol):
    """One part of an algorithm's training: gradient steps, or generations of a search.

    A *turn* is a number of updates in a row: an offline fit is one turn, ``learn`` gives a phase
    one turn after another, in step with the environments.

    Attributes:
        name: of logs and checkpoints.
        schedule: when it is due.
        needs_labels: whether it learns from a demonstrator's actions only.
    """

    name: str
    schedule: Schedule
    needs_labels: bool

    def ready(self, buffer: SequenceBuffer) -> bool:
        """Whether there is enough data for an update."""
        ...

    def begin(self, buffer: SequenceBuffer, updates: int, *, seed: int, refit: bool) -> None:
        """A turn of ``updates`` begins.

        Args:
            seed: of what the turn draws, where a turn has draws of its own.
            refit: whether an earlier turn was finished: normalisers then stay as they are.
        """
        ...

    def update(self, buffer: SequenceBuffer) -> Metrics:
        """One update.

        Raises:
            FloatingPointError: when a gradient is not finite.
        """
        ...

    def evaluate(self, buffer: SequenceBuffer) -> dict[str, float]:
        """Metrics on held-out data; empty where nothing is held out."""
        ...

    def end(self, buffer: SequenceBuffer) -> dict[str, float]:
        """The turn is over; returns metrics on held-out data where weights were changed by it."""
        ...

    def tensors(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """What the phase goes on from beside the algorithm's modules: tensors, and JSON values."""
        ...

    def restore(self, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
        """Take back what `tensors` gave."""
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
    "Algorithm",
    "Batch",
    "Carry",
    "Metrics",
    "Objective",
    "Observation",
    "Phase",
    "Plan",
    "Planner",
    "Proposal",
    "Rollout",
    "Schedule",
    "WorldModel",
    "shifted",
    "tree_map",
]
