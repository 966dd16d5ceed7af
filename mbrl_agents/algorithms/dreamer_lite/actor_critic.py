"""Actor and critic on latents, learned from imagined trajectories and from real states."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mbrl_agents.algorithms.dreamer_lite.config import ActorCriticConfig
from mbrl_agents.algorithms.dreamer_lite.model import DreamerLiteModel
from mbrl_agents.nn.actions import one_hot
from mbrl_agents.nn.dense import dense_head
from mbrl_agents.nn.returns import lambda_returns
from mbrl_agents.policies.rolling import propose_by_rolling
from mbrl_agents.protocols import Metrics, Proposal, WorldModel
from mbrl_agents.training.model_free import ModelFree

EDGE = 1e-6
"""Least size of what values are divided by."""

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(9)
QUADRATURE = _NODES, _WEIGHTS / _WEIGHTS.sum()
"""Where, and with which weights, a mean over a standard normal is taken (Gauss-Hermite)."""


class Actor(nn.Module):
    """Latents to actions: a categorical over one-hot ones, or a Gaussian that tanh squashes.

    Args:
        config: settings.
        latent, action_size: ``L`` and ``A``.
        discrete: whether actions are one-hot.
        generator: source of the initial weights.
    """

    def __init__(
        self,
        config: ActorCriticConfig,
        latent: int,
        action_size: int,
        *,
        discrete: bool,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.config, self.discrete, self.action_size = config, discrete, action_size
        outputs = action_size if discrete else 2 * action_size
        self.network = dense_head(latent, outputs, config.units, 2, "elu", generator)

    def log_probs(self, z: Tensor) -> Tensor:
        """``(..., A)`` of discrete actions."""
        return self.network(z).log_softmax(-1)

    def gaussian(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and std ``(..., A)`` of continuous actions before they are squashed."""
        mean, spread = self.network(z).chunk(2, -1)
        least, most = self.config.min_std, self.config.max_std
        # A mean or a width that runs away saturates tanh, and nothing leads it back.
        return 2.0 * torch.tanh(mean / 2.0), least + (most - least) * torch.sigmoid(spread)

    def act(self, z: Tensor, generator: torch.Generator | None) -> Tensor:
        """Actions ``(B, A)``, the likeliest without a generator; continuous ones with gradient."""
        if self.discrete:
            probs = self.log_probs(z).exp()
            if generator is None:
                return one_hot(probs.argmax(-1), self.action_size)
            drawn = torch.multinomial(probs.to(generator.device), 1, generator=generator)
            return one_hot(drawn[..., 0].to(z.device), self.action_size)
        mean, std = self.gaussian(z)
        if generator is not None:
            noise = torch.randn(mean.shape, generator=generator, device=generator.device)
            mean = mean + std * noise.to(z.device)
        return torch.tanh(mean)

    def entropy(self, z: Tensor) -> Tensor:
        """``(...)`` in nats, of continuous actions as squashed.

        The entropy before squashing would have no bound: a wider Gaussian is always better, while
        the actions gather at their limits.
        """
        if self.discrete:
            return _categorical_entropy(self.log_probs(z))
        mean, std = self.gaussian(z)
        nodes, weights = (torch.as_tensor(x, dtype=z.dtype, device=z.device) for x in QUADRATURE)
        drawn = mean[..., None] + std[..., None] * nodes
        # log(1 - tanh(u)^2), which does not overflow where u is large.
        slope = 2.0 * (math.log(2.0) - drawn - F.softplus(-2.0 * drawn))
        narrowed = (weights * slope).sum(-1)
        return (std.log() + 0.5 * math.log(2.0 * math.pi * math.e) + narrowed).sum(-1)


class Critic(nn.Module):
    """Latents to the return from there on, and a slow copy of that.

    Args:
        config: settings.
        latent: ``L``.
        generator: source of the initial weights.
    """

    def __init__(
        self, config: ActorCriticConfig, latent: int, *, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.rate = config.slow_rate
        self.network = dense_head(latent, 1, config.units, 2, "elu", generator)
        self.target = copy.deepcopy(self.network).requires_grad_(False)

    def forward(self, z: Tensor) -> Tensor:
        """``(...)`` at latents ``(..., L)``."""
        value: Tensor = self.network(z)[..., 0]
        return value

    def slow(self, z: Tensor) -> Tensor:
        """``(...)`` what the target critic says of latents ``(..., L)``."""
        value: Tensor = self.target(z)[..., 0]
        return value

    @torch.no_grad()
    def follow(self) -> None:
        """Let the target critic come nearer."""
        for slow, fast in zip(self.target.parameters(), self.network.parameters(), strict=True):
            slow.lerp_(fast, self.rate)


@dataclass(frozen=True)
class Imagined:
    """What `Learning.imagined` gives.

    Attributes:
        actor_loss, critic_loss: scalars.
        scale: what the actor's returns were divided by.
        metrics: detached, by name.
    """

    actor_loss: Tensor
    critic_loss: Tensor
    scale: Tensor
    metrics: Metrics


class Learning:
    """The losses of actor and critic.

    In imagination (Hafner et al. 2020, arXiv:1912.01603, equations 6 to 8) the actor climbs lambda
    returns: through the model where actions are continuous, by the score function where they are
    discrete.  On real states it climbs the values of an agent that learned from real transitions
    alone, whatever the model thinks.

    Args:
        config: settings.
        model: imagines; gets no gradient.
        actor, critic: learn.
        replay: the agent on real data.
    """

    def __init__(
        self,
        config: ActorCriticConfig,
        model: DreamerLiteModel,
        actor: Actor,
        critic: Critic,
        replay: ModelFree,
    ) -> None:
        self.config, self.model, self.actor, self.critic = config, model, actor, critic
        self.replay = replay

    def imagined(self, z: Tensor, weight: Tensor, generator: torch.Generator) -> Imagined:
        """Losses of trajectories imagined from ``z``.

        Args:
            z: ``(N, L)`` where to imagine from.
            weight: ``(N,)`` of each: 0 where the episode ended.
            generator: of actions and latents.
        """
        config, discrete = self.config, self.actor.discrete
        states, actions = [z], []
        with frozen(self.model), frozen(self.critic), torch.set_grad_enabled(not discrete):
            for _ in range(config.horizon):
                actions.append(self.actor.act(states[-1], generator))
                state = {"z": states[-1]}
                step = self.model.imagine_step(state, actions[-1], generator=generator)
                states.append(step["z"])
            features = torch.stack(states, 1)  # (N, H + 1, L)
            chosen = torch.stack(actions, 1)
            rewards, goes_on = self.model.outcome(features[:, :-1], chosen)
            live = config.discount * goes_on  # (N, H)
            slow = self.critic.slow(features)
            returns = lambda_returns(rewards, live, slow[:, 1:], slow[:, -1], config.lambda_)
        before = features[:, :-1].detach()
        reached = torch.cat([torch.ones_like(live[:, :1]), live[:, :-1]], 1).cumprod(1).detach()
        reached = reached * weight[:, None]
        advantage = (returns - slow[:, :-1]).detach()
        scale = advantage.abs().mean().clamp_min(EDGE)
        if discrete:
            log_probs = self.actor.log_probs(before)
            entropy = _categorical_entropy(log_probs)
            gain = (log_probs * chosen).sum(-1) * advantage / scale
        else:
            entropy = self.actor.entropy(before)
            gain = returns / scale
        actor_loss = -_mean(gain + config.entropy * entropy, reached)
        value = self.critic(before)
        critic_loss = _mean(0.5 * (value - returns.detach()).square(), reached)
        metrics = {
            "actor_loss": actor_loss,
            "critic_loss": critic_loss,
            "entropy": entropy.mean(),
            "return": returns.mean(),
            "imagined_reward": rewards.mean(),
            "goes_on": goes_on.mean(),
        }
        detached = {name: value.detach() for name, value in metrics.items()}
        return Imagined(actor_loss, critic_loss, scale, detached)

    def real(self, z: Tensor, seen: Tensor, scale: Tensor | None = None) -> Tensor:
        """The actor's loss on real states.

        Args:
            z, seen: ``(N, L)`` latents and ``(N, D)`` observations.
            scale: what returns are divided by in imagination, so that the two losses weigh a unit
                of return alike; None divides by the size of the replay agent's own differences.
        """
        policy = self.replay.policy
        with frozen(policy):
            if self.actor.discrete:
                probs = self.actor.log_probs(z).exp()
                values = policy.q_net(seen).detach()
                gap = values - (probs.detach() * values).sum(-1, keepdim=True)
                size = gap.abs().mean().clamp_min(EDGE) if scale is None else scale
                return -(probs * gap).sum(-1).mean() / size
            values = torch.cat(policy.critic(seen, self.actor.act(z, None)), -1).amin(-1)
            size = values.detach().std().clamp_min(1.0) if scale is None else scale
            return -values.mean() / size


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

    def _head(self, z: Tensor) -> tuple[Tensor, Tensor]:
        if self.actor.discrete:
            probs = self.actor.log_probs(z).exp()
            return probs, torch.zeros_like(probs)
        mean, std = self.actor.gaussian(z)
        # To first order around the mean, which tanh flattens.
        return torch.tanh(mean), std * (1.0 - torch.tanh(mean).square()) + 1e-3


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """A context in which no gradient of the module's weights is recorded."""
    trained = [p for p in module.parameters() if p.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)


def _categorical_entropy(log_probs: Tensor) -> Tensor:
    """``(...)`` in nats, of log probabilities ``(..., A)``."""
    return -(log_probs.exp() * log_probs).sum(-1)


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean."""
    return (values * weight).sum() / weight.sum().clamp_min(EDGE)


__all__ = ["Actor", "ActorPrior", "Critic", "Imagined", "Learning", "frozen"]
