"""ClonedPolicy: behaviour cloning on a world model's features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Normal
from torch.nn import functional as F

from mbrl_agents.nn import MLP, GaussianHead
from mbrl_agents.nn.actions import one_hot
from mbrl_agents.nn.sharing import mine, whole_shape
from mbrl_agents.policies.rolling import propose_by_rolling
from mbrl_agents.protocols import Proposal, WorldModel


@dataclass(frozen=True)
class ClonedPolicyConfig:
    """Settings of `ClonedPolicy`.

    Attributes:
        hidden: widths of the hidden layers.
        ensemble: members whose means (or probabilities) are averaged; the spread of the means
            widens the std.
        norm: layer normalisation.
        activation: "silu", "relu", "elu" or "tanh".
        min_std, max_std: bounds on the std, in normalised action units; discrete actions have
            none.
        input_noise: std of Gaussian noise on the (normalised) features in training.
        std_weight: weight of the likelihood that fits the std; the mean's robust loss is 1.
    """

    hidden: tuple[int, ...] = (256, 256)
    ensemble: int = 3
    norm: bool = True
    activation: str = "silu"
    min_std: float = 0.05
    max_std: float = 1.0
    input_noise: float = 0.01
    std_weight: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.min_std < self.max_std:
            raise ValueError(f"need 0 < min_std < max_std, got {self.min_std} and {self.max_std}")
        if min(self.input_noise, self.std_weight) < 0:
            raise ValueError("input_noise and std_weight must not be negative")


class ClonedPolicy(nn.Module):
    """A distribution over actions, cloned from a demonstrator's labels.

    It reads `WorldModel.features`, so it serves any world model.  Continuous actions have a
    diagonal Gaussian: the mean is fitted with a Huber loss, which an occasional far-off correction
    cannot dominate; the std by the likelihood of the labels around the (detached) mean.
    Dimensions whose labels are only ever -1 and 1 (a gripper command) are found in the data and
    fitted as a classification, which keeps them decisive.  Discrete actions have probabilities,
    fitted with the cross entropy.

    Args:
        config: settings.
        feature_size, action_size: ``F`` and ``A``.
        discrete: whether actions are one-hot.
        generator: source of the initial weights, seeded with 0 when None.
    """

    binary: Tensor

    def __init__(
        self,
        config: ClonedPolicyConfig,
        feature_size: int,
        action_size: int,
        *,
        discrete: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.feature_size = feature_size
        self.action_size = action_size
        self.discrete = discrete
        self.network = MLP(
            feature_size,
            action_size if discrete else 2 * action_size,
            config.hidden,
            members=config.ensemble,
            norm=config.norm,
            activation=config.activation,
            output_scale=0.1,
            generator=generator,
        )
        self.head = GaussianHead(min_std=config.min_std, max_std=config.max_std)
        self.register_buffer("binary", torch.zeros(action_size, dtype=torch.bool))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and std ``(..., A)`` at features ``(..., F)``; discrete, probabilities and zeros."""
        raw = self.network(features)
        if self.discrete:
            probabilities = raw.softmax(-1).mean(0)
            return probabilities, torch.zeros_like(probabilities)
        members = self.head(raw)
        mean, std = members.mean.mean(0), members.stddev.mean(0)
        if self.config.ensemble > 1:
            std = torch.sqrt(std**2 + members.mean.var(0, correction=0))
        return mean, std

    def act(self, features: Tensor) -> Tensor:
        """``(..., A)`` most likely action: within [-1, 1], or one-hot."""
        mean, _ = self.forward(features)
        return one_hot(mean.argmax(-1), self.action_size) if self.discrete else mean

    def propose(self, model: WorldModel[Any], state: Any, horizon: int) -> Proposal:
        """The policy rolled through ``model``, see `propose_by_rolling`."""
        return propose_by_rolling(self.forward, model, state, horizon)

    # -- training -----------------------------------------------------------------------

    @torch.no_grad()
    def fit_statistics(self, labels: Tensor) -> None:
        """Find the binary dimensions of continuous actions in ``labels`` ``(N, A)``."""
        if self.discrete:
            return
        ones = (labels.abs() == 1.0).all(0)
        both = (labels == 1.0).any(0) & (labels == -1.0).any(0)
        self.binary.copy_(ones & both)

    def compute_loss(
        self, features: Tensor, labels: Tensor, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Cloning loss and metrics for ``features`` ``(N, F)`` and ``labels`` ``(N, A)``.

        Args:
            labels: in [-1, 1], or one-hot.
            generator: of the input noise; none is added without one.
        """
        if generator is not None and self.config.input_noise > 0:
            shape = whole_shape(features.shape)
            noise = mine(torch.randn(shape, generator=generator, device=generator.device))
            features = features + self.config.input_noise * noise.to(features.device)
        raw = self.network(features)  # (E, N, 2 A), or (E, N, A) logits
        if self.discrete:
            loss = -(labels * raw.log_softmax(-1)).sum(-1).mean()
            return loss, {"loss": loss.detach()}
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
        """Errors on held-out data, by name.

        Continuous: ``error`` and ``error_0`` to ``error_{A-1}``, mean absolute error overall and
        per dimension, and ``sign_accuracy_i`` of binary dimensions.  Discrete: ``accuracy``, the
        share of labels that are the likeliest action.

        Args:
            features: ``(N, F)``.
            labels: ``(N, A)``.
        """
        action = self.act(features)
        if self.discrete:
            return {"accuracy": float((action.argmax(-1) == labels.argmax(-1)).float().mean())}
        error = (action - labels).abs().mean(0)
        result = {"error": float(error.mean())}
        result |= {f"error_{i}": float(e) for i, e in enumerate(error)}
        agree = ((action > 0) == (labels > 0)).float().mean(0)
        result |= {f"sign_accuracy_{int(i)}": float(agree[i]) for i in self.binary.nonzero()[:, 0]}
        return result


__all__ = ["ClonedPolicy", "ClonedPolicyConfig"]
