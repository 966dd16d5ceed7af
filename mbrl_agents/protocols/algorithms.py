"""What an algorithm is: modules, a way to act, and phases of training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn

from mbrl_agents.protocols.models import Metrics, Observation, WorldModel
from mbrl_agents.protocols.planning import ActionPrior

if TYPE_CHECKING:
    from mbrl_agents.data.buffer import SequenceBuffer

Job = TypeVar("Job")
Result = TypeVar("Result")

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

    One that keeps recorded stretches to measure its model's errors on has them as ``calibration``,
    a `mbrl_agents.training.optimism.Calibration` among its modules.  One that has more to show of
    itself than what its world model decodes has ``illustrate(episodes, generator=...)``: it takes
    recorded episodes, each a `Batch` of ``(N, ...)``, and returns `Illustration` objects, which
    ``mbrl imagine`` writes beside the rest.
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
class Illustration:
    """Something that an algorithm shows of itself: images, a video, curves, points or numbers.

    Attributes:
        name: of its files.
        images: ``(rows, columns, height, width, 3)`` in [0, 1].
        frames: ``(T, height, width, 3)`` in [0, 1], of a video.
        curves: ``(T,)`` by label, over ``axis``.
        points: ``(N, 2)`` of a scatter plot, coloured by ``shades`` ``(N,)``.
        shades: see there; ``shade`` says what they are.
        axis, shade, title: labels.
        numbers: scalars by name, for logs.
    """

    name: str
    title: str = ""
    images: Tensor | None = None
    frames: Tensor | None = None
    curves: Mapping[str, Tensor] = field(default_factory=dict)
    points: Tensor | None = None
    shades: Tensor | None = None
    axis: str = "control steps"
    shade: str = ""
    numbers: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Schedule:
    """When a phase is due.

    Attributes:
        updates: of an offline fit.
        start: environment steps before the first turn of ``learn``.
        every: environment steps between turns.
        per_turn: updates of each turn; fractions add up.
        first: updates of the first turn, ``per_turn`` when None.
        log_every, checkpoint_every: updates of ``fit`` between logs and between checkpoints, where
            an update of this phase takes longer than others; None for the training's own.
    """

    updates: int
    start: int = 0
    every: int = 1
    per_turn: float = 1.0
    first: int | None = None
    log_every: int | None = None
    checkpoint_every: int | None = None


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


class Rollouts(Protocol):
    """Environments like the agent's own, to act in: in worker processes or in this one."""

    def run(
        self, function: Callable[[Any, Job], Result], jobs: Iterable[Job], *, shared: Any = None
    ) -> Iterator[Result]:
        """``function(workplace, job)`` of every job, in the order of ``jobs``.

        A job may run twice, where a process died or hung, and anywhere: its result must depend on
        the job and on ``shared`` alone.

        Args:
            function: importable by name; its first argument is a
                `mbrl_agents.data.env_workers.Workplace`.
            jobs: picklable.
            shared: what all jobs read, picklable; sent to a process once while it stays the same
                object.
        """
        ...


@runtime_checkable
class ActingPhase(Phase, Protocol):
    """A phase whose updates act in environments of their own, such as a search among policies.

    Attributes:
        gathers: whether it records what it meets, so that a fit needs no recorded episodes.  It has
            no turns in ``learn``, which gathers experience by itself.
        env_steps: taken so far.
    """

    gathers: bool
    env_steps: int

    def use(self, rollouts: Rollouts | None) -> None:
        """Act in these environments from now on; None where there are none any more."""
        ...
