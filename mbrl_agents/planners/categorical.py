"""The cross-entropy search over discrete actions."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mbrl_agents.nn.actions import one_hot
from mbrl_agents.planners.draws import choices
from mbrl_agents.planners.search import CEMConfig, Search, Start
from mbrl_agents.protocols import Proposal


class CategoricalSearch(Search):
    """See `Search`: probabilities of the ``A`` actions per decision, refitted to how often the
    elites take each.

    This is the cross-entropy method as it was first written down for combinatorial problems
    (Rubinstein 1999, with the smoothing of de Boer et al. 2005, section 3).  Plans are one-hot,
    ``mean`` holds the probabilities ``(B, n, A)``, and there is no std.
    """

    def __init__(self, config: CEMConfig, batch: int, action_size: int, device: Any) -> None:
        super().__init__(config, batch, action_size, device)
        self.floor = min(config.min_probability, 0.5 / action_size)
        if config.hold > 1:
            # Where the steps of a decision disagree half and half, the earlier decide: they are
            # executed first.
            pool = self.pool * torch.linspace(1.01, 1.0, config.horizon, device=device)
            self.pool = pool / pool.sum(1, keepdim=True)

    def blank(self) -> Start:
        """Every action as likely as any other."""
        shape = (self.batch, self.config.horizon, self.action_size)
        mean = torch.full(shape, 1 / self.action_size, device=self.device)
        known = torch.zeros(self.batch, dtype=torch.bool, device=self.device)
        return Start(mean, torch.zeros_like(mean), known, mean[:, None][:, :0])

    def _recalled(self, mean: Tensor, actions: Tensor) -> Tensor:
        mass = self.config.warm_mass
        return mass * mean + (1 - mass) / self.action_size

    def draw(self, proposal: Proposal, count: int, generator: torch.Generator) -> Tensor:
        shape = (count, self.config.horizon)
        uniforms = torch.rand(shape, generator=generator, device=generator.device).to(self.device)
        return one_hot(choices(proposal.mean, uniforms), self.action_size)

    def deviation(self, actions: Tensor, start: Start) -> Tensor:
        # Relative to the likeliest action, as a squared distance is to the mean of a Gaussian.
        nats = self._floored(start.mean).log()
        nats = nats.amax(-1, keepdim=True) - nats  # (B, H, A)
        return torch.einsum("bkha,bha->bk", actions, nats) / self.config.horizon

    def begin(self, start: Start) -> None:
        self.mean = self._floored(self.to_decisions(start.mean))
        self._begin()

    def central(self) -> Tensor:
        return one_hot(self.mean.argmax(-1), self.action_size)

    def sample(self, generator: torch.Generator, extras: Tensor | None) -> tuple[Tensor, Tensor]:
        """See `Search.sample`; what a plan chose is all in its one-hot vectors, ``G`` is 0."""
        shape = (self.config.samples, self.decisions)
        if self.mix is None:
            uniforms = torch.rand(shape, generator=generator, device=generator.device)
            uniforms = uniforms.to(self.device)
        else:
            noise = torch.randn(shape, generator=generator, device=generator.device)
            uniforms = torch.special.ndtr(noise.to(self.device) @ self.mix.T)
        chosen = choices(self.mean, uniforms)
        chosen[:, 0] = self.mean.argmax(-1)
        if extras is not None and extras.shape[1]:
            chosen[:, 1 : 1 + extras.shape[1]] = extras.argmax(-1)
        return one_hot(chosen, self.action_size), chosen[..., :0]

    def _refit(
        self,
        elites: Tensor,
        options: Tensor,
        order: Tensor,
        weight: Tensor | None,
        rate: float | Tensor,
    ) -> None:
        share = elites.mean(1) if weight is None else (weight * elites).sum(1)
        # The share is floored and not the result: where the rate is 0 nothing changes.
        self.mean = torch.lerp(self.mean, self._floored(share), rate)

    def _floored(self, probabilities: Tensor) -> Tensor:
        """Probabilities with a little of every action."""
        return (1 - self.action_size * self.floor) * probabilities + self.floor

    def moments(self) -> tuple[Tensor, Tensor]:
        """Probabilities and zeros, per control step."""
        mean = self.to_steps(self.mean[:, None])[:, 0]
        return mean, torch.zeros_like(mean)


__all__ = ["CategoricalSearch"]
