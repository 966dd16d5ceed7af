"""Mixtures of Gaussians over the next latent, per dimension or over whole vectors."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mbrl_agents.nn.categorical import gumbel


@dataclass(frozen=True)
class Mixture:
    """``K`` Gaussians over ``(..., N)`` latents, independent in every dimension.

    Attributes:
        log_weights: ``(..., N, K)`` normalised, a mixture for each dimension; or ``(..., 1, K)``,
            one that chooses a whole vector.
        mean, log_std: ``(..., N, K)``.
    """

    log_weights: Tensor
    mean: Tensor
    log_std: Tensor

    def log_prob(self, latents: Tensor) -> Tensor:
        """``(...)`` log-density of ``(..., N)``, in nats, summed over the dimensions."""
        gap = (latents[..., None] - self.mean) * torch.exp(-self.log_std)
        each = -0.5 * gap.square() - self.log_std - 0.5 * math.log(2.0 * math.pi)
        if self.log_weights.shape[-2] == 1 and self.mean.shape[-2] > 1:
            each = each.sum(-2, keepdim=True)
        return torch.logsumexp(self.log_weights + each, -1).sum(-1)

    def likeliest(self) -> Tensor:
        """``(..., N)`` the mean of the component with the largest weight."""
        return self._chosen(self.log_weights.argmax(-1, keepdim=True), self.mean)

    def sample(self, generator: torch.Generator, temperature: float = 1.0) -> Tensor:
        """``(..., N)`` a draw; logits are divided by the temperature, variances multiplied."""
        device = self.mean.device
        noise = gumbel(self.log_weights.shape, generator, device)
        index = (self.log_weights / temperature + noise).argmax(-1, keepdim=True)
        mean, log_std = self._chosen(index, self.mean), self._chosen(index, self.log_std)
        drawn = torch.randn(mean.shape, generator=generator, device=generator.device).to(device)
        return mean + log_std.exp() * math.sqrt(temperature) * drawn

    def entropy(self) -> Tensor:
        """``(...)`` entropy in nats of which component is meant, averaged over the dimensions."""
        return -(self.log_weights.exp() * self.log_weights).sum(-1).mean(-1)

    def _chosen(self, index: Tensor, values: Tensor) -> Tensor:
        index = index.expand(*values.shape[:-1], 1)
        return values.gather(-1, index)[..., 0]


__all__ = ["Mixture"]
