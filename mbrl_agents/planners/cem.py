"""The cross-entropy method over action sequences, batched over environments."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from mbrl_agents.planners.switching import SwitchTable
from mbrl_agents.protocols import ActionPrior, Objective, Plan, WorldModel, shifted, tree_map


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
class _Start:
    """Where a search starts, per control step.

    ``mean``, ``std`` ``(B, H, A)``; ``known`` ``(B,)`` whether the mean's signs say something
    about binary dimensions; ``extras`` ``(B, X, H, A)`` plans to try as they are.
    """

    mean: Tensor
    std: Tensor
    known: Tensor
    extras: Tensor


class CEMPlanner:
    """Cross-entropy method (Rubinstein 1999), with the additions of iCEM (Pinneri et al. 2020).

    Elites are kept between iterations, the mean is one of the candidates, the noise may be
    correlated in time, and the best plan ever seen is returned.  Scores that are not finite
    count as minus infinity: such plans never become elites.

    Every environment sees the same noise (common random numbers), so an environment's plan does
    not depend on which others are planned for in the same call.
    """

    def __init__(self, config: CEMConfig | None = None) -> None:
        self.config = config or CEMConfig()

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
        """See `mbrl_agents.protocols.Planner.plan`.

        Raises:
            ValueError: when the warm start has another shape than this planner's plans.
        """
        generator = generator or torch.Generator().manual_seed(0)
        leaf = _leaf(state)
        search = _Search(_filled(self.config, model), len(leaf), model.action_size, leaf.device)
        warm = self._warm(warm_start, is_first, search) if self.config.warm_start else None
        start = self._start(model, state, search, prior, warm, generator)
        return self._search(model, state, objective, search, start, generator)

    # -- where to start: what a subclass changes ------------------------------------------

    def _start(
        self,
        model: WorldModel[Any],
        state: Any,
        search: _Search,
        prior: ActionPrior | None,
        warm: _Start | None,
        generator: torch.Generator,
    ) -> _Start:
        """From the warm start, or the middle of the bounds without one; priors are not used."""
        return warm or search.blank()

    def _choose(self, search: _Search, first: tuple[Tensor, Tensor]) -> None:
        """Last word on the best plan, given the start's own mean and its score."""

    # -- the search -----------------------------------------------------------------------

    def _warm(self, plan: Plan | None, is_first: Tensor | None, search: _Search) -> _Start | None:
        if plan is None:
            return None
        blank = search.blank()
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
        if search.binary:
            # The mean of a switching dimension blurs its switch; the plan itself has it.
            mean = mean.clone()
            mean[..., search.binary] = actions[..., search.binary]
        return _Start(mean, blank.std, known, actions[:, None])

    def _search(
        self,
        model: WorldModel[Any],
        state: Any,
        objective: Objective,
        search: _Search,
        start: _Start,
        generator: torch.Generator,
    ) -> Plan:
        config = self.config
        search.begin(start)
        repeated = tree_map(lambda x: x.repeat_interleave(config.samples, 0), state)
        extras = search.to_decisions(start.extras)[:, : config.samples - 1]
        first = None
        iterations = 0
        for iteration in range(config.iterations):
            options, candidates = search.sample(generator, extras if iteration == 0 else None)
            actions = search.to_steps(candidates)  # (B, K, H, A)
            rollout = model.imagine(repeated, actions.flatten(0, 1))
            scores = objective.score(rollout).float().reshape(search.batch, config.samples)
            scores = self._adjusted(scores, actions, start, search)
            scores = scores.nan_to_num(-torch.inf, posinf=-torch.inf, neginf=-torch.inf)
            if first is None:
                first = (candidates[:, 0].clone(), scores[:, 0].clone())
            search.update(candidates, options, scores)
            iterations += 1
            if config.tolerance and not bool(search.active.any()):
                break
        assert first is not None
        self._choose(search, first)

        mean, std = search.moments()
        if config.returns == "mean":
            actions = search.to_steps(search.central()[1][:, None])[:, 0]
            score = objective.score(model.imagine(state, actions))
        else:
            actions, score = search.to_steps(search.best[:, None])[:, 0], search.best_score
        return Plan(actions, mean, std, score, {"iterations": float(iterations)})

    def _adjusted(self, scores: Tensor, actions: Tensor, start: _Start, search: _Search) -> Tensor:
        """The planner's own addition to the objective; none here."""
        return scores


class _Search:
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

    def blank(self) -> _Start:
        """Zero knowledge: the middle of the bounds and the initial std."""
        config = self.config
        shape = (self.batch, config.horizon, self.action_size)
        mean = torch.full(shape, (config.low + config.high) / 2, device=self.device)
        known = torch.zeros(self.batch, dtype=torch.bool, device=self.device)
        std = config.init_std * self.scale.expand_as(mean)
        return _Start(mean, std, known, mean[:, None][:, :0])

    def inner(self, actions: Tensor) -> Tensor:
        """The continuous dimensions ``(..., C)`` of ``(..., A)``."""
        return actions[..., self.continuous] if self.binary else actions

    def to_steps(self, plans: Tensor) -> Tensor:
        """Decisions ``(B, K, n, A)`` to control steps ``(B, K, H, A)``."""
        return plans if self.config.hold == 1 else plans[:, :, self.step_decision]

    def to_decisions(self, steps: Tensor) -> Tensor:
        """Control steps ``(..., H, A)`` to the mean over each decision's ``(..., n, A)``."""
        return steps if self.config.hold == 1 else self.pool @ steps

    def begin(self, start: _Start) -> None:
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
        options = torch.empty((self.batch, config.samples, 0), dtype=torch.long, device=self.device)
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
        plans = torch.cat([self.kept, plans], 1)
        scores = torch.cat([self.kept_scores, scores], 1)
        top, order = scores.topk(config.elites, 1)  # (B, k)
        elites = torch.take_along_dim(plans, order[..., None, None], 1)
        finite = top > -torch.inf  # whatever else is not finite has become minus infinity

        better = self.active & (top[:, 0] > self.best_score)
        self.best = torch.where(better[:, None, None], elites[:, 0], self.best)
        self.best_score = torch.where(better, top[:, 0], self.best_score)
        self.kept, self.kept_scores = elites[:, : config.keep_elites], top[:, : config.keep_elites]

        # The population's std, which one elite leaves at 0 (the floor) and not at NaN.
        values = self.inner(elites)
        if top.device.type == "cpu" and bool(finite[:, -1].all()):  # elites come best first
            std, mean = torch.std_mean(values, 1, correction=0)
            weight = None
        else:
            weight = finite / finite.sum(1, keepdim=True).clamp_min(1)
            column = weight[:, :, None, None]
            mean = (column * values).sum(1)
            std = (column * (values - mean[:, None]).square()).sum(1).sqrt()
        # Where not even the first is finite there is nothing to fit to.
        change = self.active & finite[:, 0]
        rate = (1 - config.momentum) * change[:, None, None]  # 0 leaves the distribution as it is
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


def _filled(config: CEMConfig, model: Any) -> CEMConfig:
    """``config`` with what it leaves to the actions in the model's data."""
    seen = getattr(model, "actions", None)
    if config.binary_dims is None:
        config = replace(config, binary_dims=seen.binary_dims() if seen is not None else ())
    if config.std_scale_by_dim is None and seen is not None:
        config = replace(config, std_scale_by_dim=tuple(seen.scale.tolist()))
    return config


def _leaf(state: Any) -> Tensor:
    """Any tensor of a state, for its batch size and device."""
    while not isinstance(state, Tensor):
        state = next(iter(state.values() if isinstance(state, dict) else state))
    return state
