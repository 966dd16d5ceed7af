"""M: an LSTM that predicts a mixture of Gaussians over the next latent (appendix A.2)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mbrl_agents.algorithms.world_models.config import WorldModelsConfig
from mbrl_agents.algorithms.world_models.mixture import Mixture

Hidden = tuple[Tensor, Tensor]
"""``h`` and ``c`` of an LSTM, ``(B, hidden)`` each."""


class Memory(nn.Module):
    """``p(z' | h')``, reward and end after ``h' = LSTM([z, a], h)``.

    Args:
        config: settings.
        action_size: ``A``.
        generator: source of the initial weights.
    """

    def __init__(
        self, config: WorldModelsConfig, action_size: int, *, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.config = config
        size, latent, mixtures = config.hidden, config.latent, config.mixtures
        # Built without weights, which would be drawn from the global generator.
        lstm = nn.LSTM(latent + action_size, size, batch_first=True, device="meta")
        self.lstm = lstm.to_empty(device="cpu")
        groups = 1 if config.shared else latent
        self.weights = nn.utils.skip_init(nn.Linear, size, groups * mixtures)
        self.means = nn.utils.skip_init(nn.Linear, size, latent * mixtures)
        self.log_stds = nn.utils.skip_init(nn.Linear, size, latent * mixtures)
        self.reward = nn.utils.skip_init(nn.Linear, size, 1) if config.heads else None
        self.end = nn.utils.skip_init(nn.Linear, size, 1) if config.heads else None
        bound = 1.0 / math.sqrt(size)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound, generator=generator)
        with torch.no_grad():
            # Gates of an LSTM of torch: input, forget, cell, output.
            weights = dict(self.lstm.named_parameters())
            weights["bias_ih_l0"][size : 2 * size] += 1.0
            if config.biases == 1:
                weights["bias_hh_l0"].zero_().requires_grad_(False)

    def initial(self, batch: int, device: torch.device | str) -> Hidden:
        """Zeros."""
        zeros = torch.zeros(batch, self.config.hidden, device=device)
        return zeros, zeros.clone()

    def sequence(self, latents: Tensor, actions: Tensor) -> Tensor:
        """``(B, T, hidden)`` after each of latents ``(B, T, N)`` and actions ``(B, T, A)``."""
        found: Tensor = self.lstm(torch.cat([latents, actions], -1))[0]
        return found

    def step(self, latents: Tensor, actions: Tensor, hidden: Hidden) -> Hidden:
        """``h`` and ``c`` after latents ``(B, N)`` and actions ``(B, A)``."""
        (h, c), weights = hidden, dict(self.lstm.named_parameters())
        entered = torch.cat([latents, actions], -1)
        # A call of torch's LSTM costs several times this for a single step.
        gates = F.linear(entered, weights["weight_ih_l0"], weights["bias_ih_l0"])
        gates = gates + F.linear(h, weights["weight_hh_l0"], weights["bias_hh_l0"])
        enter, keep, new, show = gates.chunk(4, -1)
        c = torch.sigmoid(keep) * c + torch.sigmoid(enter) * torch.tanh(new)
        return torch.sigmoid(show) * torch.tanh(c), c

    def mixture(self, hidden: Tensor) -> Mixture:
        """Over the next latent, at ``h`` ``(..., hidden)``."""
        config = self.config
        shape = (config.latent, config.mixtures)
        groups = (1 if config.shared else config.latent, config.mixtures)
        return Mixture(
            self.weights(hidden).unflatten(-1, groups).log_softmax(-1),
            self.means(hidden).unflatten(-1, shape),
            self.log_stds(hidden).unflatten(-1, shape).clamp_min(config.log_std_floor),
        )

    def rewards(self, hidden: Tensor) -> Tensor:
        """``(...)`` predicted reward on arrival; NaN without such a head."""
        if self.reward is None:
            return torch.full_like(hidden[..., 0], torch.nan)
        found: Tensor = self.reward(hidden)[..., 0]
        return found

    def end_logits(self, hidden: Tensor) -> Tensor | None:
        """``(...)`` logit of the episode's end on arrival; None without such a head."""
        return None if self.end is None else self.end(hidden)[..., 0]


__all__ = ["Hidden", "Memory"]
