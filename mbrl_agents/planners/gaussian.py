"""The cross-entropy search over continuous actions."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from mbrl_agents.planners.draws import choices
from mbrl_agents.planners.search import CEMConfig, Search, Start
from mbrl_agents.planners.switching import SwitchTable
from mbrl_agents.protocols import Proposal


class GaussianSearch(Search):
    """See `Search`: mean and std per decision and continuous dimension.

    Binary dimensions have probabilities over the options of a `SwitchTable` instead.
    """

    def __init__(self, config: CEMConfig, batch: int, action_size: int, device: Any) -> None:
        super().__init__(config, batch, action_size, device)
        self.binary = sorted({d % action_size for d in config.binary_dims or ()})
        self.continuous = [d for d in range(action_size) if d not in self.binary]
        if self.binary:
            self.table = SwitchTable(self.decisions, device)
        scale = config.std_scale_by_dim or (1.0,) * action_size
        if len(scale) != action_size:
            raise ValueError(f"std_scale_by_dim has {len(scale)} entries for {action_size} actions")
        self.scale = torch.tensor(scale, dtype=torch.float32, device=device)
        self.max_std = config.init_std * self.inner(self.scale)
        self.min_std = config.min_std * self.inner(self.scale)

    def blank(self) -> Start:
        """The middle of the bounds and the initial std."""
        config = self.config
        shape = (self.batch, config.horizon, self.action_size)
        mean = torch.full(shape, (config.low + config.high) / 2, device=self.device)
        known = torch.zeros(self.batch, dtype=torch.bool, device=self.device)
        std = config.init_std * self.scale.expand_as(mean)
        return Start(mean, std, known, mean[:, None][:, :0])

    def _recalled(self, mean: Tensor, actions: Tensor) -> Tensor:
        if self.binary:
            # The mean of a switching dimension blurs its switch; the plan itself has it.
            mean = mean.clone()
            mean[..., self.binary] = actions[..., self.binary]
        return mean

    def draw(self, proposal: Proposal, count: int, generator: torch.Generator) -> Tensor:
        shape = (count, self.config.horizon, self.action_size)
        noise = torch.randn(shape, generator=generator, device=generator.device).to(self.device)
        draws = proposal.mean[:, None] + proposal.std[:, None] * noise
        return draws.clamp(self.config.low, self.config.high)

    def deviation(self, actions: Tensor, start: Start) -> Tensor:
        distance = (actions - start.mean[:, None]) / start.std[:, None]
        distance[..., self.binary] = 0.0
        return (distance**2).mean((2, 3))

    def inner(self, actions: Tensor) -> Tensor:
        """The continuous dimensions ``(..., C)`` of ``(..., A)``."""
        return actions[..., self.continuous] if self.binary else actions

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
        self.kept_options = torch.empty(
            (self.batch, 0, len(self.binary)), dtype=torch.long, device=self.device
        )
        self._begin()

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

    def central(self) -> Tensor:
        """The mean with the likeliest switches."""
        if not self.binary:
            return self.mean
        options = self.switch.argmax(-1)
        return self.compose(self.mean[:, None], options[:, None])[:, 0]

    def sample(self, generator: torch.Generator, extras: Tensor | None) -> tuple[Tensor, Tensor]:
        """See `Search.sample`; all within the bounds, options are those of the `SwitchTable`."""
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
            options = choices(self.switch, draws)
            options[:, 0] = self.switch.argmax(-1)
        if extras is not None and extras.shape[1]:
            count = 1 + extras.shape[1]
            plans[:, 1:count] = self.inner(extras)
            if self.binary:
                signs = extras[..., self.binary].transpose(-1, -2)
                options[:, 1:count] = self.table.nearest(signs)
        return self.compose(plans.clamp_(config.low, config.high), options), options

    def _refit(
        self,
        elites: Tensor,
        options: Tensor,
        order: Tensor,
        weight: Tensor | None,
        rate: float | Tensor,
    ) -> None:
        values = self.inner(elites)
        # The population's std, which one elite leaves at 0 (the floor) and not at NaN.
        if weight is None:
            mean = values.mean(1)
            # By hand: torch's own takes twice as long over so few.
            std = (values - mean[:, None]).square_().mean(1).sqrt_()
        else:
            mean = (weight * values).sum(1)
            std = (weight * (values - mean[:, None]).square()).sum(1).sqrt()
        if self.binary:
            options = torch.cat([self.kept_options, options], 1)
            chosen = torch.take_along_dim(options, order[..., None], 1)
            self.kept_options = chosen[:, : self.config.keep_elites]
            hits = F.one_hot(chosen, len(self.table.values))  # (B, k, G, 2 n)
            switch = hits.float().mean(1) if weight is None else (weight * hits).sum(1)
            # A little of everything, so that a switch time nobody drew can still come back.
            switch = 0.95 * switch + 0.05 / len(self.table.values)
            self.switch = torch.lerp(self.switch, switch, rate)
        self.mean = torch.lerp(self.mean, mean, rate)
        self.std = torch.clamp(torch.lerp(self.std, std, rate), self.min_std, self.max_std)

    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean and std per control step; of binary dimensions, those of their two values."""
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


__all__ = ["GaussianSearch"]
