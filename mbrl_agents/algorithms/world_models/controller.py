"""C: one linear layer from latents to actions (equation 1 of arXiv:1803.10122)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mbrl_agents.algorithms.world_models.config import ControllerConfig
from mbrl_agents.nn.actions import one_hot


class Controller(nn.Module):
    """``a = squash(W [z, h] + b)``; its parameters are searched for, not trained by gradients.

    Args:
        config: settings.
        latent, hidden: sizes of ``z`` and ``h``.
        action_size: ``A``.
        discrete: whether actions are one-hot: then the largest output is chosen.

    Attributes:
        searched: whether a search has set the parameters; they are zeros before.

    Raises:
        ValueError: where a dimension of ``one_sided`` is none of a Box.
    """

    searched: Tensor

    def __init__(
        self,
        config: ControllerConfig,
        latent: int,
        hidden: int,
        action_size: int,
        *,
        discrete: bool,
    ) -> None:
        super().__init__()
        wrong = [d for d in config.one_sided if discrete or not 0 <= d < action_size]
        if wrong:
            raise ValueError(
                f"one_sided names dimension {wrong[0]}, but there are "
                f"{'discrete actions' if discrete else f'{action_size} dimensions'}"
            )
        self.discrete, self.one_sided, self.latent = discrete, config.one_sided, latent
        self.inputs = latent + hidden if config.inputs == "zh" else latent
        self.weight = nn.Parameter(torch.zeros(action_size, self.inputs))
        self.bias = nn.Parameter(torch.zeros(action_size))
        self.register_buffer("searched", torch.zeros((), dtype=torch.bool))

    @property
    def size(self) -> int:
        """Number of parameters."""
        return self.weight.numel() + self.bias.numel()

    def forward(self, features: Tensor) -> Tensor:
        """Normalised actions ``(B, A)`` at features ``(B, F)``, ``z`` first."""
        return self.squash(features[..., : self.inputs] @ self.weight.t() + self.bias)

    def population(self, features: Tensor, parameters: Tensor) -> Tensor:
        """Actions ``(P, B, A)`` of candidates ``(P, size)`` at features ``(P, B, F)``."""
        actions = len(self.bias)
        weight = parameters[:, : self.weight.numel()].unflatten(1, (actions, self.inputs))
        bias = parameters[:, self.weight.numel() :]
        return self.squash(features[..., : self.inputs] @ weight.transpose(1, 2) + bias[:, None])

    def squash(self, raw: Tensor) -> Tensor:
        """Outputs ``(..., A)`` as normalised actions."""
        if self.discrete:
            return one_hot(raw.argmax(-1), raw.shape[-1])
        action = torch.tanh(raw)
        if self.one_sided:
            action = action.clone()
            dims = list(self.one_sided)
            action[..., dims] = 2.0 * action[..., dims].clamp_min(0.0) - 1.0
        return action

    def scales(self, h_scale: float) -> Tensor:
        """``(size,)``: ``h_scale`` for parameters that read ``h``, 1 for the others."""
        found = torch.ones(self.weight.shape, dtype=torch.float64)
        found[:, self.latent :] = h_scale
        return torch.cat([found.flatten(), torch.ones(len(self.bias), dtype=torch.float64)])

    def flat(self) -> Tensor:
        """``(size,)`` float64: weights row by row, then biases."""
        return torch.cat([self.weight.detach().flatten(), self.bias.detach()]).double().cpu()

    @torch.no_grad()
    def set_flat(self, parameters: Tensor) -> None:
        """Take over what `flat` gives."""
        values = parameters.to(self.weight)
        self.weight.copy_(values[: self.weight.numel()].view_as(self.weight))
        self.bias.copy_(values[self.weight.numel() :])


__all__ = ["Controller"]
