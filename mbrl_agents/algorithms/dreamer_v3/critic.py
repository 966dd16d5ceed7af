"""The critic: the distribution of returns from a latent state on."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mbrl_agents.nn.normed import Linear, dense_stack
from mbrl_agents.nn.symlog import TwoHot


class Critic(nn.Module):
    """The distribution of returns at a state, as two-hot logits; predicts 0 at first.

    Args:
        feature_size: ``F``.
        units, layers: of the hidden layers.
        bins: of the two-hot regression; odd.
        generator: source of the initial weights.
    """

    def __init__(
        self, feature_size: int, units: int, layers: int, bins: int, *, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.network = nn.Sequential(
            dense_stack(feature_size, units, layers, generator=generator),
            Linear(units, bins, scale=0.0, generator=generator),
        )

    def forward(self, features: Tensor) -> TwoHot:
        return TwoHot(self.network(features))


__all__ = ["Critic"]
