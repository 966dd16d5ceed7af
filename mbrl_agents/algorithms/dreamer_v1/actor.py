"""DreamerV1's actor: a Normal squashed by tanh, or a one-hot categorical."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mbrl_agents.algorithms.dreamer_v1.config import ActorCriticConfig
from mbrl_agents.algorithms.dreamer_v1.rssm import standard_normal
from mbrl_agents.nn.categorical import gumbel, one_hot_sample
from mbrl_agents.nn.dense import dense_head

QUANTILES = 32
"""Points at which `Actor.moments` evaluates a squashed Normal."""


class Actor(nn.Module):
    """Features to a distribution over actions.

    Continuous actions are ``tanh(u)`` with ``u ~ N(5 tanh(m / 5), softplus(s + s_0) + 1e-4)``,
    where ``m`` and ``s`` are the network's outputs and ``s_0`` makes the std ``init_std`` at
    first.  Discrete ones are one-hot draws with straight-through gradients, so that the gradient
    of imagined returns reaches the actor the same way.

    Args:
        config: settings.
        feature_size: ``F``.
        action_size: ``A``.
        discrete: whether actions are one-hot.
        generator: source of the initial weights.
    """

    compiled = ("network.forward",)
    """Methods worth compiling, see `mbrl_agents.training.compiling`."""

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
        self.config, self.discrete, self.action_size = config, discrete, action_size
        self.network = dense_head(
            feature_size,
            action_size if discrete else 2 * action_size,
            config.units,
            config.actor_layers,
            config.activation,
            generator,
        )
        self._shift = math.log(math.expm1(config.init_std))

    def log_probs(self, features: Tensor) -> Tensor:
        """``(..., A)`` log-probabilities of discrete actions."""
        return self.network(features).log_softmax(-1)

    def normal(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and std ``(..., A)`` of the Normal that tanh squashes."""
        mean, spread = self.network(features).chunk(2, -1)
        scale = self.config.mean_scale
        std = F.softplus(spread + self._shift) + self.config.min_std
        return scale * torch.tanh(mean / scale), std

    def sample(self, features: Tensor, generator: torch.Generator) -> Tensor:
        """A draw ``(..., A)``, differentiable with respect to the actor's weights."""
        return self.sample_and_entropy(features, generator)[0]

    def sample_and_entropy(
        self, features: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """That draw, and the entropy ``(...)`` of its distribution in nats.

        A squashed Normal's entropy has no closed form: it is estimated from the draw.
        """
        if self.discrete:
            log_probs = self.log_probs(features)
            entropy = -(log_probs.exp() * log_probs).sum(-1)
            noise = gumbel(log_probs.shape, generator, features.device)
            return one_hot_sample(log_probs, noise), entropy
        mean, std = self.normal(features)
        drawn = mean + std * standard_normal(mean.shape, generator, features.device)
        return torch.tanh(drawn), -squashed_log_prob(drawn, mean, std).sum(-1)

    @torch.no_grad()
    def mode(self, features: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The most likely action ``(B, A)``: exactly where discrete, else the best of many draws.

        Args:
            features: ``(B, F)``.
            generator: source of the draws; without one the same noise serves every row and
                every call, so that the action is a function of its features.
        """
        if self.discrete:
            return one_hot_sample(self.log_probs(features), None)
        mean, std = self.normal(features)
        draws, rows = self.config.mode_samples, len(mean)
        if generator is None:
            generator, rows = torch.Generator().manual_seed(0), 1
        noise = standard_normal((draws, rows, self.action_size), generator, features.device)
        chosen = mean + std * noise  # (draws, B, A)
        score = squashed_log_prob(chosen, mean, std).sum(-1)
        best = score.argmax(0)[None, :, None].expand(1, -1, self.action_size)
        return torch.tanh(chosen.gather(0, best)[0])

    def explore(self, features: Tensor, generator: torch.Generator) -> Tensor:
        """Actions ``(B, A)`` that experience is gathered with: draws with additional noise."""
        action = self.sample(features, generator)
        if not self.discrete:
            noise = standard_normal(action.shape, generator, action.device)
            return (action + self.config.explore_std * noise).clamp(-1.0, 1.0)
        shape = (len(action), 1)
        uniform = torch.rand(shape, generator=generator, device=generator.device)
        anything = one_hot_sample(
            torch.zeros_like(action), gumbel(action.shape, generator, action.device)
        )
        return torch.where(uniform.to(action.device) < self.config.explore_share, anything, action)

    def moments(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and std ``(B, A)`` of actions; probabilities and zeros where they are discrete.

        A squashed Normal has no closed form of either: both are averages over `QUANTILES`
        equally likely values, which the Normal's quantiles give.
        """
        if self.discrete:
            probs = self.log_probs(features).exp()
            return probs, torch.zeros_like(probs)
        mean, std = self.normal(features)
        levels = (torch.arange(QUANTILES, device=mean.device) + 0.5) / QUANTILES
        points = torch.special.ndtri(levels)[:, None, None]
        actions = torch.tanh(mean + std * points)
        return actions.mean(0), actions.std(0, correction=0)


def squashed_log_prob(unsquashed: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Log-density of ``tanh(unsquashed)`` in every dimension, in nats."""
    away = (unsquashed - mean) / std
    normal = -0.5 * away.square() - std.log() - 0.5 * math.log(2 * math.pi)
    # log(1 - tanh(u)^2), which is exact where the tanh itself has rounded to one.
    slope = 2.0 * (math.log(2.0) - unsquashed - F.softplus(-2.0 * unsquashed))
    return normal - slope


__all__ = ["Actor", "squashed_log_prob"]
