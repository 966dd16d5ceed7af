"""Actor: a stochastic policy on latents, for continuous and for discrete actions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mbrl_agents.nn.categorical import entropy, gumbel, one_hot_sample, unimix_log_probs
from mbrl_agents.nn.normed import Linear, dense_stack
from mbrl_agents.nn.sharing import mine, whole_shape
from mbrl_agents.policies.rolling import propose_by_rolling
from mbrl_agents.protocols import Proposal, WorldModel


@dataclass(frozen=True)
class ActorConfig:
    """Settings of `Actor`; the defaults are DreamerV3's.

    Attributes:
        layers: hidden layers.
        min_std, max_std: bounds on the std of continuous actions.
        unimix: share of a uniform distribution in discrete actions.
        output_scale: factor on the output layer's initial weights.
    """

    layers: int = 3
    min_std: float = 0.1
    max_std: float = 1.0
    unimix: float = 0.01
    output_scale: float = 0.01

    def __post_init__(self) -> None:
        if not 0 < self.min_std < self.max_std:
            raise ValueError(f"need 0 < min_std < max_std, got {self.min_std} and {self.max_std}")


class BoundedNormal:
    """Independent normals with means in (-1, 1); draws may lie outside.

    Args:
        mean, std: ``(..., A)``.
    """

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        self.mean, self.std = mean, std

    @property
    def mode(self) -> Tensor:
        return self.mean

    def sample(self, generator: torch.Generator) -> Tensor:
        """A draw, without a gradient."""
        shape = whole_shape(self.mean.shape)
        noise = mine(torch.randn(shape, generator=generator, device=generator.device))
        return (self.mean + self.std * noise.to(self.mean.device)).detach()

    def log_prob(self, action: Tensor) -> Tensor:
        """``(...)`` log-density of ``action`` ``(..., A)``."""
        gap = (action.detach() - self.mean) / self.std
        each = -0.5 * gap.square() - self.std.log() - 0.5 * math.log(2 * math.pi)
        return each.sum(-1)

    def entropy(self) -> Tensor:
        """``(...)`` in nats."""
        return (self.std.log() + 0.5 * math.log(2 * math.pi) + 0.5).sum(-1)


class OneHot:
    """A categorical over one-hot actions.

    Args:
        log_probs: ``(..., A)``.
    """

    def __init__(self, log_probs: Tensor) -> None:
        self.log_probs = log_probs

    @property
    def mode(self) -> Tensor:
        return one_hot_sample(self.log_probs.detach(), None)

    def sample(self, generator: torch.Generator) -> Tensor:
        """A draw, without a gradient."""
        noise = gumbel(self.log_probs.shape, generator, self.log_probs.device)
        return one_hot_sample(self.log_probs.detach(), noise)

    def log_prob(self, action: Tensor) -> Tensor:
        """``(...)`` log-probability of ``action`` ``(..., A)``."""
        return (self.log_probs * action.detach()).sum(-1)

    def entropy(self) -> Tensor:
        """``(...)`` in nats."""
        return entropy(self.log_probs)


ActionDistribution = BoundedNormal | OneHot


class Actor(nn.Module):
    """Dense layers, then a bounded normal or a categorical.

    The std is ``(max - min) sigmoid(x + 2) + min``: wide at first.

    Args:
        config: settings.
        feature_size, action_size: ``F`` and ``A``.
        units: width of the hidden layers.
        discrete: whether actions are one-hot.
        generator: source of the initial weights.
    """

    def __init__(
        self,
        config: ActorConfig,
        feature_size: int,
        action_size: int,
        *,
        units: int,
        discrete: bool,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.config, self.action_size, self.discrete = config, action_size, discrete
        self.hidden = dense_stack(feature_size, units, config.layers, generator=generator)

        def output() -> Linear:
            return Linear(units, action_size, scale=config.output_scale, generator=generator)

        if discrete:
            self.logits = output()
        else:
            self.mean, self.spread = output(), output()

    def raw(self, features: Tensor) -> tuple[Tensor, ...]:
        """The tensors ``(..., A)`` that make the distribution at ``features`` ``(..., F)``."""
        x = self.hidden(features)
        if self.discrete:
            return (unimix_log_probs(self.logits(x), self.config.unimix),)
        low, high = self.config.min_std, self.config.max_std
        std = low + (high - low) * torch.sigmoid(self.spread(x).float() + 2.0)
        return torch.tanh(self.mean(x).float()), std

    def distribution(self, raw: tuple[Tensor, ...]) -> ActionDistribution:
        """The distribution behind what `raw` gave."""
        return OneHot(*raw) if self.discrete else BoundedNormal(*raw)

    def forward(self, features: Tensor) -> ActionDistribution:
        return self.distribution(self.raw(features))

    def propose(self, model: WorldModel[Any], state: Any, horizon: int) -> Proposal:
        """The actor rolled through ``model``: see `propose_by_rolling`."""

        def head(features: Tensor) -> tuple[Tensor, Tensor]:
            raw = self.raw(features)
            if self.discrete:
                probabilities = raw[0].exp()
                return probabilities, torch.zeros_like(probabilities)
            return raw[0], raw[1]

        return propose_by_rolling(head, model, state, horizon)


__all__ = ["ActionDistribution", "Actor", "ActorConfig", "BoundedNormal", "OneHot"]
