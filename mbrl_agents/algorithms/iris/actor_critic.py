"""The actor-critic: convolutions and an LSTM over reconstructed images."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mbrl_agents.algorithms.iris.config import ActorCriticConfig
from mbrl_agents.nn.actions import one_hot
from mbrl_agents.nn.categorical import entropy, gumbel
from mbrl_agents.nn.drawing import drawing_from

Hidden = tuple[Tensor, Tensor]
"""``h`` and ``c`` ``(B, units)`` of the LSTM."""

MEAN_BOUND = 2.0
"""Of continuous actions before they are squashed: beyond, tanh is flat and nothing leads back."""


class Policy:
    """A distribution over actions: a categorical, or a Gaussian that tanh squashes.

    Draws are of what precedes an action: an index ``(...)``, or a vector ``(..., A)`` before tanh.

    Args:
        raw: ``(..., A)`` logits, or ``(..., 2 A)`` mean and spread.
        discrete: whether actions are one-hot.
        min_std: of continuous actions.
        temperature: divides logits, multiplies stds.
    """

    def __init__(
        self, raw: Tensor, *, discrete: bool, min_std: float, temperature: float = 1.0
    ) -> None:
        self.discrete = discrete
        if discrete:
            self.log_probs = (raw / temperature).log_softmax(-1)
        else:
            mean, spread = raw.chunk(2, -1)
            self.mean = MEAN_BOUND * torch.tanh(mean / MEAN_BOUND)
            self.std = (F.softplus(spread) + min_std) * temperature

    def draw(self, generator: torch.Generator | None) -> Tensor:
        """A draw without gradient; the likeliest without a generator."""
        if self.discrete:
            log_probs = self.log_probs.detach()
            if generator is not None:
                log_probs = log_probs + gumbel(log_probs.shape, generator, log_probs.device)
            return log_probs.argmax(-1)
        mean, std = self.mean.detach(), self.std.detach()
        if generator is None:
            return mean
        noise = torch.randn(mean.shape, generator=generator, device=generator.device)
        return mean + std * noise.to(mean.device)

    def action(self, draw: Tensor) -> Tensor:
        """The normalised action ``(..., A)`` of a draw."""
        if self.discrete:
            return one_hot(draw, self.log_probs.shape[-1])
        return torch.tanh(draw)

    def log_prob(self, draw: Tensor) -> Tensor:
        """``(...)`` of a draw; of continuous ones that before tanh, which has no weights."""
        if self.discrete:
            return self.log_probs.gather(-1, draw[..., None])[..., 0]
        gap = (draw - self.mean) / self.std
        each = -0.5 * gap.square() - self.std.log() - 0.5 * math.log(2.0 * math.pi)
        return each.sum(-1)

    def entropy(self) -> Tensor:
        """``(...)`` in nats; of continuous actions that before tanh."""
        if self.discrete:
            return entropy(self.log_probs)
        return (self.std.log() + 0.5 * math.log(2.0 * math.pi * math.e)).sum(-1)


class ActorCritic(nn.Module):
    """Images ``(B, C, H, W)`` in [0, 1] to a policy and a value (arXiv:2209.00588, appendix A.3).

    Args:
        config: settings.
        channels, size: of the images.
        action_size: ``A``.
        discrete: whether actions are one-hot.
        generator: source of the initial weights, as torch draws them.

    Raises:
        ValueError: for images of a size that the convolutions cannot halve.
    """

    def __init__(
        self,
        config: ActorCriticConfig,
        channels: int,
        size: tuple[int, int],
        action_size: int,
        *,
        discrete: bool,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.config, self.discrete, self.action_size = config, discrete, action_size
        factor = 2 ** len(config.convolutions)
        if min(size) < factor:
            raise ValueError(
                f"{len(config.convolutions)} convolutions halve images of at least {factor} "
                f"pixels, got {size[0]} x {size[1]}: take fewer (actor_critic.convolutions)"
            )
        widths = [channels, *config.convolutions]
        cells = (size[0] // factor) * (size[1] // factor)
        with drawing_from(generator):
            layers: list[nn.Module] = []
            for before, after in zip(widths[:-1], widths[1:], strict=True):
                layers += [nn.Conv2d(before, after, 3, padding=1), nn.MaxPool2d(2), nn.ReLU()]
            self.encoder = nn.Sequential(*layers)
            self.memory = nn.LSTMCell(widths[-1] * cells, config.units)
            self.critic = nn.Linear(config.units, 1)
            self.actor = nn.Linear(config.units, action_size if discrete else 2 * action_size)

    def initial(self, batch: int) -> Hidden:
        """What an episode begins with."""
        zeros = torch.zeros(batch, self.config.units, device=self.critic.weight.device)
        return zeros, zeros

    def encode(self, images: Tensor) -> Tensor:
        """``(N, ...)`` what the LSTM reads of images ``(N, C, H, W)`` in [0, 1]."""
        pixels = (2.0 * images - 1.0).contiguous(memory_format=torch.channels_last)
        return self.encoder(pixels).flatten(1)

    def remember(self, encoded: Tensor, hidden: Hidden) -> Hidden:
        """The LSTM's next state after encoded images ``(B, ...)``."""
        found: Hidden = self.memory(encoded, hidden)
        return found

    def forward(self, images: Tensor, hidden: Hidden) -> tuple[Tensor, Tensor, Hidden]:
        """Raw outputs of the actor ``(B, ...)``, values ``(B,)`` and the LSTM's next state."""
        hidden = self.remember(self.encode(images), hidden)
        return self.actor(hidden[0]), self.critic(hidden[0])[:, 0], hidden

    def policy(self, raw: Tensor, temperature: float = 1.0) -> Policy:
        """The distribution that raw outputs ``(..., A)`` or ``(..., 2 A)`` stand for."""
        return Policy(
            raw, discrete=self.discrete, min_std=self.config.min_std, temperature=temperature
        )


def reset(hidden: Hidden, is_first: Tensor) -> Hidden:
    """The LSTM's state with zeros where an episode begins, ``(B,)``."""
    keep = (~is_first)[:, None].to(hidden[0])
    return hidden[0] * keep, hidden[1] * keep


__all__ = ["ActorCritic", "Hidden", "Policy", "reset"]
