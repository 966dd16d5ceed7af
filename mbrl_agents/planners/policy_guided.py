"""Planners that start from a learned policy."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mbrl_agents.nn.actions import one_hot
from mbrl_agents.planners.cem import CEMPlanner
from mbrl_agents.planners.search import CEMConfig, Search, Start
from mbrl_agents.protocols import ActionPrior, Objective, Plan, WorldModel


@dataclass(frozen=True)
class PolicyGuidedCEMConfig(CEMConfig):
    """Settings of `PolicyGuidedCEM`, with those of `CEMConfig`.

    Attributes:
        policy_samples: candidates of the first iteration drawn from the policy alone.
        std_scale: of the policy's std where the search starts; discrete actions have none.
        pull: penalty, in units of the objective, per squared policy std that a plan's mean action
            lies from the policy's; of discrete actions, per nat that a plan's mean log-probability
            under the policy lies below that of the policy's likeliest plan.  Keeps the search
            where the policy was trained.
        confidence: in [0, 1), with which another plan must be better than the policy's own to
            replace it: it must promise more than the model's errors on held-out stretches exceed
            in all but this share of cases (see `conformal_margin`).  0 believes every promise.
        margin: what a plan must promise besides, in units of the objective.
    """

    samples: int = 32
    elites: int = 4
    iterations: int = 2
    init_std: float = 0.3
    min_std: float = 0.03
    warm_mass: float = 0.8
    policy_samples: int = 8
    std_scale: float = 1.0
    pull: float = 2.0
    confidence: float = 0.9
    margin: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.confidence < 1:
            raise ValueError(f"confidence must lie in [0, 1), got {self.confidence}")
        if not 0 <= self.policy_samples < self.samples:
            raise ValueError(
                f"policy_samples must lie in 0..{self.samples - 1}, got {self.policy_samples}"
            )


class PolicyGuidedCEM(CEMPlanner):
    """CEM around the plan a policy proposes.

    The first iteration tries the policy's own plan, a few draws from the policy and, with a warm
    start, the previous plan; TD-MPC2 (Hansen et al. 2024) mixes policy trajectories in likewise.
    """

    config: PolicyGuidedCEMConfig
    needs_prior = True

    def __init__(self, config: PolicyGuidedCEMConfig | None = None) -> None:
        super().__init__(config or PolicyGuidedCEMConfig())
        self.calibrated = 0.0

    def calibrate(self, errors: Callable[[int], Tensor]) -> None:
        """Set how much a plan must promise, before `margin`.

        Args:
            errors: of a horizon, ``(N,)`` how much more than came of it the model promised of
                recorded actions, in units of the objective.
        """
        if self.config.confidence > 0:
            self.calibrated = conformal_margin(errors(self.config.horizon), self.config.confidence)

    def _start(
        self,
        model: WorldModel[Any],
        state: Any,
        search: Search,
        prior: ActionPrior | None,
        warm: Start | None,
        generator: torch.Generator,
    ) -> Start:
        config = self.config
        proposal = _require(prior).propose(model, state, config.horizon)
        draws = search.draw(proposal, config.policy_samples, generator)
        start = search.proposed(proposal, config.std_scale)
        start.extras = draws if warm is None else torch.cat([warm.extras, draws], 1)
        return start

    def _adjusted(self, scores: Tensor, actions: Tensor, start: Start, search: Search) -> Tensor:
        if not self.config.pull:
            return scores
        return scores - self.config.pull * search.deviation(actions, start)

    def _choose(self, search: Search, first: tuple[Tensor, Tensor]) -> None:
        plan, score = first
        stay = search.best_score < score + self.calibrated + self.config.margin
        search.best = torch.where(stay[:, None, None], plan, search.best)
        search.best_score = torch.where(stay, score, search.best_score)


def conformal_margin(errors: Tensor, confidence: float) -> float:
    """What a promise must exceed to be believed with ``confidence``: a split conformal quantile.

    Of the errors' deviations from their median: two plans from the same state share what the model
    gets wrong of that state.  Infinite where there are too few errors to say.

    Args:
        errors: ``(N,)`` predicted minus realised scores.
        confidence: in (0, 1).

    Source: Papadopoulos et al. 2002; Lei et al. 2018, section 2.
    """
    count = len(errors)
    rank = math.ceil((count + 1) * confidence)
    if rank > count:
        return math.inf
    off = (errors - errors.median()).sort().values
    return max(0.0, float(off[rank - 1]))


@dataclass(frozen=True)
class PolicyPlannerConfig:
    """Settings of `PolicyPlanner`.

    Attributes:
        horizon: control steps the policy is rolled ahead.
        replan: control steps between proposals; the rest of a proposal is executed in between.
        low, high: bounds of continuous actions.
    """

    horizon: int = 1
    replan: int = 1
    low: float = -1.0
    high: float = 1.0

    def __post_init__(self) -> None:
        if not 1 <= self.replan <= self.horizon:
            raise ValueError(f"need 1 <= replan <= horizon, got {self.replan} and {self.horizon}")


class PolicyPlanner:
    """No search: the prior's mean, clipped to the bounds, or its likeliest discrete actions."""

    needs_prior = True

    def __init__(self, config: PolicyPlannerConfig | None = None) -> None:
        self.config = config or PolicyPlannerConfig()
        self.replan = self.config.replan

    @torch.inference_mode()
    def plan(
        self,
        model: WorldModel[Any],
        state: Any,
        *,
        objective: Objective,
        prior: ActionPrior | None = None,
        warm_start: Plan | None = None,
        is_first: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Plan:
        """See `mbrl_agents.protocols.Planner.plan`; the score is 0, nothing was imagined."""
        config = self.config
        proposal = _require(prior).propose(model, state, config.horizon)
        score = torch.zeros(len(proposal.mean), device=proposal.mean.device)
        if model.actions.discrete:
            actions = one_hot(proposal.mean.argmax(-1), model.action_size)
            return Plan(actions, proposal.mean, proposal.std, score)
        actions = proposal.mean.clamp(config.low, config.high)
        return Plan(actions, actions, proposal.std, score)


def _require(prior: ActionPrior | None) -> ActionPrior:
    if prior is None:
        raise ValueError("this planner starts from a policy: pass a prior")
    return prior
