"""What every cross-entropy search has: settings, where it starts, and the best plans it saw."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mbrl_agents.protocols import Plan, Proposal, shifted


@dataclass(frozen=True)
class CEMConfig:
    """Settings of `CEMPlanner`.

    Discrete actions have probabilities instead of a mean and a std: they read ``min_probability``
    and nothing of ``init_std``, ``min_std``, ``std_scale_by_dim``, ``binary_dims``, ``low`` and
    ``high``.

    Attributes:
        horizon: ``H``, control steps that are imagined.
        hold: control steps each decision is held; a plan has ``ceil(horizon / hold)`` decisions.
        replan: control steps between searches; the plan goes on being executed in between.
        samples: candidates per iteration.
        elites: best candidates the distribution is refitted to.
        iterations: refits; fewer when ``tolerance`` is met.
        init_std: std the search starts with, and its upper bound.
        min_std: floor of the std.
        min_probability: floor of the probability of each discrete action, so that one that nobody
            drew can still come back; at most half of the mass is spent on it.
        std_scale_by_dim: factor of ``init_std`` and ``min_std`` per action dimension; one unit of
            rotation may be far more than one unit of translation.  None: from the actions in the
            model's data (``model.actions``), else 1 everywhere.
        momentum: weight of the old distribution when refitting, in [0, 1).
        correlation: of the noise of neighbouring decisions (first-order), in [0, 1); of discrete
            actions, of the normal numbers they are drawn by.
        keep_elites: elites that take part in the next iteration's selection as they are.
        warm_start: start from the previous plan, shifted by one control step.
        returns: "best", the best plan seen, or "mean", that of the final distribution.
        tolerance: an environment's search stops when its mean (its probabilities) moves less; 0
            for never.
        binary_dims: action dimensions that are only ever -1 or +1; a plan switches each of them
            once at most.  None: from the actions in the model's data, else none.
        warm_mass: probability a warm start or prior gives to its own switch time; for discrete
            actions, weight of a warm start's probabilities beside uniform ones.
        low, high: action bounds.
    """

    horizon: int = 10
    hold: int = 1
    replan: int = 1
    samples: int = 100
    elites: int = 10
    iterations: int = 5
    init_std: float = 0.5
    min_std: float = 0.05
    min_probability: float = 0.01
    std_scale_by_dim: tuple[float, ...] | None = None
    momentum: float = 0.1
    correlation: float = 0.0
    keep_elites: int = 2
    warm_start: bool = True
    returns: str = "best"
    tolerance: float = 0.0
    binary_dims: tuple[int, ...] | None = None
    warm_mass: float = 0.5
    low: float = -1.0
    high: float = 1.0

    def __post_init__(self) -> None:
        if min(self.horizon, self.hold, self.samples, self.elites, self.iterations) < 1:
            raise ValueError("horizon, hold, samples, elites and iterations must be at least 1")
        if self.elites > self.samples:
            raise ValueError(f"{self.elites} elites of {self.samples} samples")
        if not 0 < self.min_std <= self.init_std:
            raise ValueError(f"need 0 < min_std <= init_std, got {self.min_std}, {self.init_std}")
        if not 0 < self.min_probability <= 0.5:
            raise ValueError(f"min_probability must lie in (0, 0.5], got {self.min_probability}")
        if not 0 <= self.warm_mass <= 1:
            raise ValueError(f"warm_mass must lie in [0, 1], got {self.warm_mass}")
        if not (0 <= self.momentum < 1 and 0 <= self.correlation < 1):
            raise ValueError("momentum and correlation must lie in [0, 1)")
        if not 0 <= self.keep_elites <= self.elites:
            raise ValueError(f"keep_elites must lie in 0..{self.elites}, got {self.keep_elites}")
        if not 1 <= self.replan <= self.horizon:
            raise ValueError(f"replan must lie in 1..{self.horizon}, got {self.replan}")
        if self.returns not in ("best", "mean"):
            raise ValueError(f"returns must be 'best' or 'mean', got {self.returns!r}")
        if not self.low < self.high:
            raise ValueError(f"need low < high, got {self.low} and {self.high}")


@dataclass
class Start:
    """Where a search starts, per control step.

    ``mean``, ``std`` ``(B, H, A)`` as in `mbrl_agents.protocols.Proposal`; ``known`` ``(B,)``
    whether the mean's signs say something about binary dimensions; ``extras`` ``(B, X, H, A)``
    plans to try as they are.
    """

    mean: Tensor
    std: Tensor
    known: Tensor
    extras: Tensor


class Search(ABC):
    """The distribution over plans and the best plans seen, for ``B`` environments at once.

    A plan has ``n`` decisions, each held for some control steps.  A subclass knows the
    distribution; ``mean`` is what of it `update` moves, ``(B, n, ...)``.

    Args:
        config: settings.
        batch: ``B``.
        action_size: ``A``.
        device: of the model's states.
    """

    mean: Tensor

    def __init__(self, config: CEMConfig, batch: int, action_size: int, device: Any) -> None:
        self.config = config
        self.batch = batch
        self.action_size = action_size
        self.device = device
        self.decisions = -(-config.horizon // config.hold)
        # What a search without held decisions or correlated noise never reads is not built: a
        # small model's search is over in ten milliseconds.
        if config.hold > 1:
            self.step_decision = torch.arange(config.horizon, device=device) // config.hold
            member = torch.arange(self.decisions, device=device)[:, None] == self.step_decision
            self.pool = member / member.sum(1, keepdim=True)  # (n, H)
        self.mix = None
        if config.correlation:
            gap = torch.arange(self.decisions, device=device)
            correlation = config.correlation ** (gap[:, None] - gap).abs()
            self.mix = torch.linalg.cholesky(correlation.float())

    # -- where a search starts ------------------------------------------------------------

    @abstractmethod
    def blank(self) -> Start:
        """Zero knowledge."""

    def resumed(self, plan: Plan, is_first: Tensor | None) -> Start:
        """The previous plan, one control step later; `blank` where an episode begins.

        Raises:
            ValueError: when the plan has another shape than this search's.
        """
        blank = self.blank()
        if plan.mean.shape != blank.mean.shape:
            raise ValueError(
                f"the warm start has shape {tuple(plan.mean.shape)}, "
                f"this planner's plans {tuple(blank.mean.shape)}"
            )
        mean, actions = shifted(plan.mean), shifted(plan.actions)
        known = ~blank.known
        if is_first is not None:
            fresh = is_first.to(mean.device)[:, None, None]
            mean = torch.where(fresh, blank.mean, mean)
            actions = torch.where(fresh, blank.mean, actions)
            known = ~is_first.to(mean.device)
        return Start(self._recalled(mean, actions), blank.std, known, actions[:, None])

    def proposed(self, proposal: Proposal, std_scale: float) -> Start:
        """Around what an action prior proposes, its std times ``std_scale``."""
        mean = proposal.mean
        known = torch.ones(len(mean), dtype=torch.bool, device=mean.device)
        return Start(mean, proposal.std * std_scale, known, mean[:, None][:, :0])

    @abstractmethod
    def _recalled(self, mean: Tensor, actions: Tensor) -> Tensor:
        """The mean a search resumes with, given the previous one and its plan ``(B, H, A)``."""

    @abstractmethod
    def draw(self, proposal: Proposal, count: int, generator: torch.Generator) -> Tensor:
        """``(B, count, H, A)`` plans drawn from what an action prior proposes."""

    @abstractmethod
    def deviation(self, actions: Tensor, start: Start) -> Tensor:
        """``(B, K)`` how far plans ``(B, K, H, A)`` are from the start, 0 for its likeliest.

        The mean over steps (and dimensions) of squared stds, or of nats for discrete actions.
        """

    # -- steps and decisions --------------------------------------------------------------

    def to_steps(self, plans: Tensor) -> Tensor:
        """Decisions ``(B, K, n, A)`` to control steps ``(B, K, H, A)``."""
        return plans if self.config.hold == 1 else plans[:, :, self.step_decision]

    def to_decisions(self, steps: Tensor) -> Tensor:
        """Control steps ``(..., H, A)`` to the mean over each decision's ``(..., n, A)``."""
        return steps if self.config.hold == 1 else self.pool @ steps

    # -- the search -----------------------------------------------------------------------

    @abstractmethod
    def begin(self, start: Start) -> None:
        """Take the start for the distribution; nothing has been seen."""

    def _begin(self) -> None:
        """What `begin` ends with, once the distribution is set."""
        shape = (self.batch, 0, self.decisions, self.action_size)
        self.kept = torch.empty(shape, device=self.device)
        self.kept_scores = torch.empty((self.batch, 0), device=self.device)
        self.best = self.central()
        self.best_score = torch.full((self.batch,), -torch.inf, device=self.device)
        self.active = torch.ones(self.batch, dtype=torch.bool, device=self.device)

    @abstractmethod
    def central(self) -> Tensor:
        """The likeliest plan ``(B, n, A)``."""

    @abstractmethod
    def sample(self, generator: torch.Generator, extras: Tensor | None) -> tuple[Tensor, Tensor]:
        """Candidates ``(B, K, n, A)`` and their options ``(B, K, G)`` for `update`.

        The likeliest plan comes first, then ``extras`` ``(B, X, n, A)``, then draws: the same
        random numbers for every environment.
        """

    def update(self, plans: Tensor, options: Tensor, scores: Tensor) -> None:
        """Refit to the elites among new and kept candidates.

        Args:
            plans, options: as `sample` gave them.
            scores: ``(B, K)``; minus infinity for what must not become an elite.
        """
        config = self.config
        if self.kept_scores.shape[1]:
            plans = torch.cat([self.kept, plans], 1)
            scores = torch.cat([self.kept_scores, scores], 1)
        top, order = scores.topk(config.elites, 1)  # (B, k), the best first
        elites = plans.gather(1, order[..., None, None].expand(-1, -1, *plans.shape[2:]))
        before = self.mean
        # On a GPU the question would wait for all that was asked before.
        if (
            not config.tolerance
            and top.device.type == "cpu"
            and top[:, -1].min().item() > -torch.inf
        ):
            # The ordinary case: every elite counts, and every environment is still searched.
            self.best, self.best_score = self._better(elites[:, 0], top[:, 0], None)
            self._refit(elites, options, order, None, 1 - config.momentum)
        else:
            finite = top > -torch.inf  # whatever else is not finite has become minus infinity
            self.best, self.best_score = self._better(elites[:, 0], top[:, 0], self.active)
            weight = finite / finite.sum(1, keepdim=True).clamp_min(1)
            # Where not even the first is finite there is nothing to fit to: 0 changes nothing.
            rate = (1 - config.momentum) * (self.active & finite[:, 0])[:, None, None]
            self._refit(elites, options, order, weight[:, :, None, None], rate)
        self.kept, self.kept_scores = elites[:, : config.keep_elites], top[:, : config.keep_elites]
        if config.tolerance:
            moved = (self.mean - before).abs().flatten(1).amax(1)
            self.active = self.active & (moved >= config.tolerance)

    @abstractmethod
    def _refit(
        self,
        elites: Tensor,
        options: Tensor,
        order: Tensor,
        weight: Tensor | None,
        rate: float | Tensor,
    ) -> None:
        """Move the distribution towards the elites.

        Args:
            elites: ``(B, k, n, A)``.
            options: ``(B, K, G)`` of the new candidates.
            order: ``(B, k)`` the elites' places among kept and new candidates.
            weight: ``(B, k, 1, 1)`` of each elite, summing to 1; None where all weigh the same.
            rate: how far to move, in [0, 1]: a number, or ``(B, 1, 1)``.
        """

    def _better(self, plan: Tensor, score: Tensor, active: Tensor | None) -> tuple[Tensor, Tensor]:
        """The best plan so far and its score, given the best ``(B, n, A)``, ``(B,)`` of now.

        Args:
            active: ``(B,)`` environments that may change; None for all.
        """
        if active is None and self.config.keep_elites:
            return plan, score  # the best so far is among the kept, and so among those of now
        better = score > self.best_score
        if active is not None:
            better = better & active
        best = torch.where(better[:, None, None], plan, self.best)
        return best, torch.where(better, score, self.best_score)

    @abstractmethod
    def moments(self) -> tuple[Tensor, Tensor]:
        """`mbrl_agents.protocols.Plan.mean` and ``std``, ``(B, H, A)`` each."""


__all__ = ["CEMConfig", "Search", "Start"]
