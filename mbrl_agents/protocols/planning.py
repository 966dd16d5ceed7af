"""What searches in a world model: proposals, objectives, planners."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from mbrl_agents.protocols.models import Rollout, S, WorldModel


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

    A planner may have a method ``calibrate(errors)``: it is called before the first search in a
    model and whenever the model has changed, with a function from a horizon to ``(N,)`` predicted
    minus realised scores of recorded actions, in units of the objective.

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


def shifted(plan: Tensor) -> Tensor:
    """A plan ``(B, H, A)`` one control step later: the first step dropped, the last repeated."""
    return torch.cat([plan[:, 1:], plan[:, -1:]], 1)
