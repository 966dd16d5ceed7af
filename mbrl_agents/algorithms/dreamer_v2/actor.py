"""The actor: a truncated normal or a categorical over actions, and the prior it gives a planner."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from mbrl_agents.algorithms.dreamer_v2.config import ActorCriticConfig
from mbrl_agents.nn.categorical import entropy, gumbel, one_hot_sample
from mbrl_agents.nn.dense import dense_head
from mbrl_agents.nn.sharing import mine, whole_shape
from mbrl_agents.policies.rolling import propose_by_rolling
from mbrl_agents.protocols import Proposal, WorldModel

EDGE = 1e-6
"""Distance that draws keep from the bounds of an action, and of a probability."""


class TruncatedNormal:
    """Independent normals cut off at -1 and 1.

    Args:
        mean: ``(..., A)`` in [-1, 1], of the normal before it is cut off: the mode.
        std: ``(..., A)`` positive, likewise.
    """

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        self.mean, self.std = mean, std
        self._low, self._high = (-1.0 - mean) / std, (1.0 - mean) / std
        # The mean lies within the bounds, so at least about half of the mass does.
        self._below = _cumulative(self._low)
        self._mass = _cumulative(self._high) - self._below

    @property
    def mode(self) -> Tensor:
        return self.mean

    @property
    def stddev(self) -> Tensor:
        """``(..., A)`` standard deviation of what is left between the bounds."""
        low, high = _density(self._low), _density(self._high)
        shift = (low - high) / self._mass
        share = 1.0 + (self._low * low - self._high * high) / self._mass - shift.square()
        return self.std * share.clamp_min(0.0).sqrt()

    def sample(self, generator: torch.Generator) -> Tensor:
        """A draw ``(..., A)`` that carries the gradient of mean and std.

        A uniform number goes through the inverse of the cumulative distribution, so the
        gradient is the pathwise one.
        """
        shape = whole_shape(self.mean.shape)
        uniform = mine(torch.rand(shape, generator=generator, device=generator.device))
        level = self._below + uniform.to(self.mean.device) * self._mass
        standard = math.sqrt(2.0) * torch.erfinv(2.0 * level.clamp(EDGE, 1.0 - EDGE) - 1.0)
        drawn = self.mean + self.std * standard
        # Rounding may leave the bounds; the gradient stays that of the draw.
        return drawn + (drawn.clamp(-1.0 + EDGE, 1.0 - EDGE) - drawn).detach()

    def log_prob(self, action: Tensor) -> Tensor:
        """``(...)`` log-density of ``action`` ``(..., A)`` within the bounds."""
        gap = (action - self.mean) / self.std
        each = -0.5 * gap.square() - 0.5 * math.log(2.0 * math.pi)
        return (each - self.std.log() - self._mass.log()).sum(-1)

    def entropy(self) -> Tensor:
        """``(...)`` in nats."""
        whole = 0.5 * math.log(2.0 * math.pi * math.e) + self.std.log() + self._mass.log()
        edges = self._low * _density(self._low) - self._high * _density(self._high)
        return (whole + 0.5 * edges / self._mass).sum(-1)


class OneHot:
    """A categorical over one-hot actions.

    Args:
        log_probs: ``(..., A)``, normalised.
    """

    def __init__(self, log_probs: Tensor) -> None:
        self.log_probs = log_probs

    @property
    def mode(self) -> Tensor:
        return one_hot_sample(self.log_probs.detach(), None)

    def sample(self, generator: torch.Generator) -> Tensor:
        """A draw ``(..., A)`` with the straight-through gradient of the probabilities."""
        noise = gumbel(self.log_probs.shape, generator, self.log_probs.device)
        return one_hot_sample(self.log_probs, noise)

    def log_prob(self, action: Tensor) -> Tensor:
        """``(...)`` log-probability of ``action`` ``(..., A)``."""
        return (self.log_probs * action).sum(-1)

    def entropy(self) -> Tensor:
        """``(...)`` in nats."""
        return entropy(self.log_probs)


ActionDistribution = TruncatedNormal | OneHot


class Actor(nn.Module):
    """Features to a distribution over actions.

    Continuous actions have the mean ``tanh(m)`` and the std ``2 sigmoid(s / 2) + min_std``, which
    is 1.1 where ``s`` is 0.

    Args:
        config: settings.
        feature_size, action_size: ``F`` and ``A``.
        discrete: whether actions are one-hot.
        generator: source of the initial weights.
    """

    def __init__(
        self,
        config: ActorCriticConfig,
        feature_size: int,
        action_size: int,
        *,
        discrete: bool,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.discrete, self.min_std = discrete, config.min_std
        outputs = action_size if discrete else 2 * action_size
        self.network = dense_head(
            feature_size, outputs, config.units, config.layers, config.activation, generator
        )

    def forward(self, features: Tensor) -> ActionDistribution:
        """The distribution at ``features`` ``(..., F)``."""
        raw = self.network(features)
        if self.discrete:
            return OneHot(raw.log_softmax(-1))
        mean, spread = raw.chunk(2, -1)
        return TruncatedNormal(torch.tanh(mean), 2.0 * torch.sigmoid(spread / 2.0) + self.min_std)


class ActorPrior:
    """The actor as the place where a planner's search starts.

    Args:
        actor: trained by somebody else.
    """

    def __init__(self, actor: Actor) -> None:
        self.actor = actor

    def propose(self, model: WorldModel[Any], state: Any, horizon: int) -> Proposal:
        """The actor rolled through ``model``; see `mbrl_agents.protocols.ActionPrior`."""
        return propose_by_rolling(self._head, model, state, horizon)

    def _head(self, features: Tensor) -> tuple[Tensor, Tensor]:
        chosen = self.actor(features)
        if isinstance(chosen, OneHot):
            return chosen.log_probs.exp(), torch.zeros_like(chosen.log_probs)
        return chosen.mean, chosen.stddev


def _cumulative(x: Tensor) -> Tensor:
    """The standard normal's cumulative distribution."""
    return 0.5 * (1.0 + torch.erf(x / math.sqrt(2.0)))


def _density(x: Tensor) -> Tensor:
    """The standard normal's density."""
    return torch.exp(-0.5 * x.square()) / math.sqrt(2.0 * math.pi)


__all__ = ["ActionDistribution", "Actor", "ActorPrior", "OneHot", "TruncatedNormal"]
