"""What a cross-entropy search keeps: its settings, its distribution, the best plans it saw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mbrl_agents.planners.switching import SwitchTable


@dataclass(frozen=True)
class CEMConfig:
    """Settings of `CEMPlanner`.

    Attributes:
        horizon: ``H``, control steps that are imagined.
        hold: control steps each decision is held; a plan has ``ceil(horizon / hold)`` decisions.
        replan: control steps between searches; the plan goes on being executed in between.
        samples: candidates per iteration.
        elites: best candidates the distribution is refitted to.
        iterations: refits; fewer when ``tolerance`` is met.
        init_std: std the search starts with, and its upper bound.
        min_std: floor of the std.
        std_scale_by_dim: factor of ``init_std`` and ``min_std`` per action dimension; one unit of
            rotation may be far more than one unit of translation.  None: from the actions in the
            model's data (``model.actions``), else 1 everywhere.
        momentum: weight of the old distribution when refitting, in [0, 1).
        correlation: of the noise of neighbouring decisions (first-order), in [0, 1).
        keep_elites: elites that take part in the next iteration's selection as they are.
        warm_start: start from the previous plan, shifted by one control step.
        returns: "best", the best plan seen, or "mean", that of the final distribution.
        tolerance: an environment's search stops when its mean moves less; 0 for never.
        binary_dims: action dimensions that are only ever -1 or +1; a plan switches each of them
            once at most.  None: from the actions in the model's data, else none.
        warm_mass: probability a warm start or prior gives to its own switch time.
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

    ``mean``, ``std`` ``(B, H, A)``; ``known`` ``(B,)`` whether the mean's signs say something
    about binary dimensions; ``extras`` ``(B, X, H, A)`` plans to try as they are.
    """

    mean: Tensor
    std: Tensor
    known: Tensor
    extras: Tensor


class Search:
    """The distribution over plans and the best plans seen, for ``B`` environments at once.

    Continuous dimensions: mean and std per decision.  Binary ones: probabilities over the options
    of a `SwitchTable`.
    """

    def __init__(self, config: CEMConfig, batch: int, action_size: int, device: Any) -> None:
        self.config = config
        self.batch = batch
        self.action_size = action_size
        self.device = device
        self.decisions = -(-config.horizon // config.hold)
        self.binary = sorted({d % action_size for d in config.binary_dims or ()})
        self.continuous = [d for d in range(action_size) if d not in self.binary]
        # What a search without binary dimensions or held decisions never reads is not built: a
        # small model's search is over in ten milliseconds.
        if self.binary:
            self.table = SwitchTable(self.decisions, device)
        scale = config.std_scale_by_dim or (1.0,) * action_size
        if len(scale) != action_size:
            raise ValueError(f"std_scale_by_dim has {len(scale)} entries for {action_size} actions")
        self.scale = torch.tensor(scale, dtype=torch.float32, device=device)
        self.max_std = config.init_std * self.inner(self.scale)
        self.min_std = config.min_std * self.inner(self.scale)
        if config.hold > 1:
            self.step_decision = torch.arange(config.horizon, device=device) // config.hold
            member = torch.arange(self.decisions, device=device)[:, None] == self.step_decision
            self.pool = member / member.sum(1, keepdim=True)  # (n, H)
        self.mix = None
        if config.correlation:
            gap = torch.arange(self.decisions, device=device)
            correlation = config.correlation ** (gap[:, None] - gap).abs()
            self.mix = torch.linalg.cholesky(correlation.float())

    def blank(self) -> Start:
        """Zero knowledge: the middle of the bounds and the initial std."""
        config = self.config
        shape = (self.batch, config.horizon, self.action_size)
        mean = torch.full(shape, (config.low + config.high) / 2, device=self.device)
        known = torch.zeros(self.batch, dtype=torch.bool, device=self.device)
        std = config.init_std * self.scale.expand_as(mean)
        return Start(mean, std, known, mean[:, None][:, :0])

    def inner(self, actions: Tensor) -> Tensor:
        """The continuous dimensions ``(..., C)`` of ``(..., A)``."""
        return actions[..., self.continuous] if self.binary else actions

    def to_steps(self, plans: Tensor) -> Tensor:
        """Decisions ``(B, K, n, A)`` to control steps ``(B, K, H, A)``."""
        return plans if self.config.hold == 1 else plans[:, :, self.step_decision]

    def to_decisions(self, steps: Tensor) -> Tensor:
        """Control steps ``(..., H, A)`` to the mean over each decision's ``(..., n, A)``."""
        return steps if self.config.hold == 1 else self.pool @ steps

    def begin(self, start: Start) -> None:
        mean, config = self.to_decisions(start.mean), self.config
        self.mean = self.inner(mean).clamp(config.low, config.high)
        std = self.inner(self.to_decisions(start.std))
        self.std = torch.clamp(std, self.min_std, self.max_std)
        if self.binary:
            uniform = self.table.uniform(self.batch, len(self.binary))
            likely = self.table.nearest(mean[..., self.binary].transpose(1, 2))  # (B, G)
            warm = self.table.concentrated(likely, config.warm_mass)
            self.switch = torch.where(start.known[:, None, None], warm, uniform)
        shape = (self.batch, 0, self.decisions, self.action_size)
        self.kept = torch.empty(shape, device=self.device)
        self.kept_options = torch.empty(
            (self.batch, 0, len(self.binary)), dtype=torch.long, device=self.device
        )
        self.kept_scores = torch.empty((self.batch, 0), device=self.device)
        self.best = self.central()[1]
        self.best_score = torch.full((self.batch,), -torch.inf, device=self.device)
        self.active = torch.ones(self.batch, dtype=torch.bool, device=self.device)

    def compose(self, continuous: Tensor, options: Tensor) -> Tensor:
        """Plans ``(B, K, n, A)`` from ``(B, K, n, C)`` and options ``(B, K, G)``."""
        if not self.binary:
            return continuous
        signs = self.table.values[options].transpose(-1, -2)  # (B, K, n, G)
        low, high = self.config.low, self.config.high
        plans = continuous.new_empty((*continuous.shape[:-1], self.action_size))
        plans[..., self.continuous] = continuous
        plans[..., self.binary] = torch.where(signs > 0, high, low)
        return plans

    def central(self) -> tuple[Tensor, Tensor]:
        """The mean with the likeliest switches: options ``(B, G)``, plan ``(B, n, A)``."""
        if not self.binary:
            return torch.empty((self.batch, 0), dtype=torch.long, device=self.device), self.mean
        options = self.switch.argmax(-1)
        return options, self.compose(self.mean[:, None], options[:, None])[:, 0]

    def sample(self, generator: torch.Generator, extras: Tensor | None) -> tuple[Tensor, Tensor]:
        """Candidates ``(B, K, n, A)`` within bounds and their options ``(B, K, G)``.

        The mean comes first, then ``extras`` ``(B, X, n, A)``, then draws.
        """
        config = self.config
        shape = (config.samples, self.decisions, len(self.continuous))
        noise = torch.randn(shape, generator=generator, device=generator.device).to(self.device)
        if self.mix is not None:
            noise = self.mix @ noise
        noise[0] = 0.0
        plans = torch.addcmul(self.mean[:, None], self.std[:, None], noise)
        options = self.kept_options  # empty where nothing is binary
        if self.binary:
            draws = torch.rand(
                (config.samples, len(self.binary)), generator=generator, device=generator.device
            ).to(self.device)
            options = self.table.sample(self.switch, draws)
            options[:, 0] = self.switch.argmax(-1)
        if extras is not None and extras.shape[1]:
            count = 1 + extras.shape[1]
            plans[:, 1:count] = self.inner(extras)
            if self.binary:
                signs = extras[..., self.binary].transpose(-1, -2)
                options[:, 1:count] = self.table.nearest(signs)
        return options, self.compose(plans.clamp_(config.low, config.high), options)

    def update(self, plans: Tensor, options: Tensor, scores: Tensor) -> None:
        """Refit to the elites among new and kept candidates."""
        config = self.config
        if self.kept_scores.shape[1]:
            plans = torch.cat([self.kept, plans], 1)
            scores = torch.cat([self.kept_scores, scores], 1)
        top, order = scores.topk(config.elites, 1)  # (B, k), the best first
        elites = plans.gather(1, order[..., None, None].expand(-1, -1, *plans.shape[2:]))
        values = self.inner(elites)
        weight = None
        # On a GPU the question would wait for all that was asked before.
        if (
            not config.tolerance
            and top.device.type == "cpu"
            and top[:, -1].min().item() > -torch.inf
        ):
            # The ordinary case: every elite counts, and every environment is still searched.
            self.best, self.best_score = self._better(elites[:, 0], top[:, 0], None)
            mean = values.mean(1)
            # The population's std, which one elite leaves at 0 (the floor) and not at NaN.  By
            # hand: torch's own takes twice as long over so few.
            std = (values - mean[:, None]).square_().mean(1).sqrt_()
            rate: float | Tensor = 1 - config.momentum
        else:
            finite = top > -torch.inf  # whatever else is not finite has become minus infinity
            self.best, self.best_score = self._better(elites[:, 0], top[:, 0], self.active)
            weight = finite / finite.sum(1, keepdim=True).clamp_min(1)
            column = weight[:, :, None, None]
            mean = (column * values).sum(1)
            std = (column * (values - mean[:, None]).square()).sum(1).sqrt()
            # Where not even the first is finite there is nothing to fit to: 0 changes nothing.
            rate = (1 - config.momentum) * (self.active & finite[:, 0])[:, None, None]
        self.kept, self.kept_scores = elites[:, : config.keep_elites], top[:, : config.keep_elites]
        mean = torch.lerp(self.mean, mean, rate)
        std = torch.lerp(self.std, std, rate)
        if self.binary:
            options = torch.cat([self.kept_options, options], 1)
            chosen = torch.take_along_dim(options, order[..., None], 1)
            self.kept_options = chosen[:, : config.keep_elites]
            hits = torch.nn.functional.one_hot(chosen, len(self.table.values))  # (B, k, G, 2 n)
            switch = hits.float().mean(1) if weight is None else (column * hits).sum(1)
            # A little of everything, so that a switch time nobody drew can still come back.
            switch = 0.95 * switch + 0.05 / len(self.table.values)
            self.switch = torch.lerp(self.switch, switch, rate)
        if config.tolerance:
            moved = (mean - self.mean).abs().flatten(1).amax(1)
            self.active = self.active & (moved >= config.tolerance)
        self.mean = mean
        self.std = torch.clamp(std, self.min_std, self.max_std)

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

    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean and std of the distribution per control step, ``(B, H, A)`` each."""
        mean, std = self.mean, self.std
        if self.binary:
            low, high = self.config.low, self.config.high
            up = torch.einsum("bgo,on->bng", self.switch, (self.table.values > 0).float())
            shape = (*mean.shape[:-1], self.action_size)
            full_mean, full_std = mean.new_empty(shape), mean.new_empty(shape)
            full_mean[..., self.continuous], full_std[..., self.continuous] = mean, std
            full_mean[..., self.binary] = low + (high - low) * up
            full_std[..., self.binary] = (high - low) * (up * (1 - up)).clamp_min(0).sqrt()
            mean, std = full_mean, full_std
        return self.to_steps(mean[:, None])[:, 0], self.to_steps(std[:, None])[:, 0]


__all__ = ["CEMConfig", "Search", "Start"]
