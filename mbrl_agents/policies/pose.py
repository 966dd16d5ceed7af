"""GaussianPolicy: behaviour cloning on a world model's features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Normal
from torch.nn import functional as F

from mbrl_agents.nn import MLP, GaussianHead
from mbrl_agents.protocols import WorldModel


@dataclass(frozen=True)
class GaussianPolicyConfig:
    """Settings of `GaussianPolicy`.

    Attributes:
        hidden: widths of the hidden layers.
        ensemble: members whose means are averaged; their spread widens the std.
        norm: layer normalisation.
        activation: "silu", "relu", "elu" or "tanh".
        min_std, max_std: bounds on the std, in normalised action units.
        input_noise: std of Gaussian noise on the (normalised) features in training.
        std_weight: weight of the likelihood that fits the std; the mean's robust loss is 1.
    """

    hidden: tuple[int, ...] = (256, 256)
    ensemble: int = 1
    norm: bool = True
    activation: str = "silu"
    min_std: float = 0.05
    max_std: float = 1.0
    input_noise: float = 0.01
    std_weight: float = 0.1


class GaussianPolicy(nn.Module):
    """A diagonal Gaussian over actions, cloned from a demonstrator's labels.

    It reads `WorldModel.features`, so the same policy serves a pose model and a latent one.
    The mean is fitted with a Huber loss, which an occasional far-off correction cannot dominate;
    the std by the likelihood of the labels around the (detached) mean.  Action dimensions whose
    labels are only ever -1 and 1 (a gripper command) are found in the data and fitted as a
    classification, which keeps them decisive.

    Args:
        config: settings.
        feature_size, action_size: ``F`` and ``A``.
        generator: source of the initial weights, seeded with 0 when None.
    """

    binary: Tensor

    def __init__(
        self,
        config: GaussianPolicyConfig,
        feature_size: int,
        action_size: int,
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.feature_size = feature_size
        self.action_size = action_size
        self.network = MLP(
            feature_size,
            2 * action_size,
            config.hidden,
            members=config.ensemble,
            norm=config.norm,
            activation=config.activation,
            output_scale=0.1,
            generator=generator,
        )
        self.head = GaussianHead(min_std=config.min_std, max_std=config.max_std)
        self.register_buffer("binary", torch.zeros(action_size, dtype=torch.bool))

    def forward(self, features: Tensor) -> Normal:
        """Gaussian over actions ``(..., A)`` at ``features`` ``(..., F)``."""
        members = self.head(self.network(features))
        mean, std = members.mean.mean(0), members.stddev.mean(0)
        if self.config.ensemble > 1:
            std = torch.sqrt(std**2 + members.mean.var(0, correction=0))
        return Normal(mean, std, validate_args=False)

    def act(self, features: Tensor) -> Tensor:
        """``(B, A)`` most likely action, within [-1, 1]."""
        return self.forward(features).mean

    def propose(self, model: WorldModel[Any], state: Any, horizon: int) -> Normal:
        """The policy rolled through ``model``: a Gaussian over plans ``(B, H, A)``."""
        means, stds = [], []
        for step in range(horizon):
            action = self.forward(model.features(state))
            means.append(action.mean)
            stds.append(action.stddev)
            if step + 1 < horizon:
                state = model.imagine_step(state, action.mean)
        return Normal(torch.stack(means, 1), torch.stack(stds, 1), validate_args=False)

    # -- training -----------------------------------------------------------------------

    @torch.no_grad()
    def fit_statistics(self, labels: Tensor) -> None:
        """Find the binary action dimensions in ``labels`` ``(N, A)``."""
        ones = (labels.abs() == 1.0).all(0)
        both = (labels == 1.0).any(0) & (labels == -1.0).any(0)
        self.binary.copy_(ones & both)

    def loss(
        self, features: Tensor, labels: Tensor, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Cloning loss for ``features`` ``(N, F)`` and ``labels`` ``(N, A)`` in [-1, 1].

        Input noise is added only when a generator is given.
        """
        if generator is not None and self.config.input_noise > 0:
            noise = torch.randn(features.shape, generator=generator).to(features.device)
            features = features + self.config.input_noise * noise
        raw = self.network(features)  # (E, N, 2 A)
        action = self.head(raw)
        target = labels.expand_as(action.mean)
        robust = F.smooth_l1_loss(action.mean, target, reduction="none", beta=0.1)
        # tanh(x) is 2 sigmoid(2 x) - 1: the same output read as a probability of +1.
        logits = 2.0 * raw[..., : self.action_size]
        chosen = F.binary_cross_entropy_with_logits(logits, (target > 0).float(), reduction="none")
        mean_loss = torch.where(self.binary, 0.5 * chosen, robust).mean()
        likelihood = Normal(action.mean.detach(), action.stddev, validate_args=False)
        std_loss = -likelihood.log_prob(target).mean()
        total = mean_loss + self.config.std_weight * std_loss
        return total, {
            "loss": total.detach(),
            "mean": mean_loss.detach(),
            "std": std_loss.detach(),
        }

    @torch.no_grad()
    def diagnose(self, features: Tensor, labels: Tensor) -> dict[str, float]:
        """Errors on held-out data: per dimension, and how often binary dimensions agree in sign.

        Args:
            features: ``(N, F)``.
            labels: ``(N, A)``.
        """
        mean = self.act(features)
        error = (mean - labels).abs().mean(0)
        result = {"error": float(error.mean())}
        result |= {f"error_{i}": float(e) for i, e in enumerate(error)}
        agree = ((mean > 0) == (labels > 0)).float().mean(0)
        result |= {f"sign_accuracy_{int(i)}": float(agree[i]) for i in self.binary.nonzero()[:, 0]}
        return result
