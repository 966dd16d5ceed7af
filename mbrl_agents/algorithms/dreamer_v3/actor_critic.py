"""Actor and critic, and the losses they learn from on imagined trajectories."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mbrl_agents.algorithms.dreamer_v3.actor import Actor, ActorConfig
from mbrl_agents.algorithms.dreamer_v3.critic import Critic
from mbrl_agents.algorithms.dreamer_v3.model import DreamerV3Model, ModelOutput
from mbrl_agents.algorithms.dreamer_v3.rolling import stepper
from mbrl_agents.nn.returns import lambda_returns
from mbrl_agents.nn.sharing import whole
from mbrl_agents.nn.symlog import TwoHot
from mbrl_agents.protocols import Batch, Metrics, tree_map


@dataclass(frozen=True)
class ImaginationConfig:
    """Settings of imagination and of the losses in it; the defaults are DreamerV3's.

    Attributes:
        imagination: steps imagined from every state.
        imagine_last: imagine only from the last so many states of each sequence; 0 for all.
        lambda_: mixes one-step and longer returns.
        entropy: weight of the policy's entropy.
        policy_weight, value_weight, replay_value_weight: of the losses.
        slow_rate: share of the critic that the slow critic takes over at every step.
        slow_weight: of the critic's loss towards the slow critic.
        scale_rate: of the running percentiles of returns.
        scale_low, scale_high: which percentiles, in 0..100.
        scale_min: least range that returns are divided by, so that small ones are not blown up.
    """

    imagination: int = 15
    imagine_last: int = 0
    lambda_: float = 0.95
    entropy: float = 3e-4
    policy_weight: float = 1.0
    value_weight: float = 1.0
    replay_value_weight: float = 0.3
    slow_rate: float = 0.02
    slow_weight: float = 1.0
    scale_rate: float = 0.01
    scale_low: float = 5.0
    scale_high: float = 95.0
    scale_min: float = 1.0

    def __post_init__(self) -> None:
        if self.imagination < 1:
            raise ValueError(f"imagination must be at least 1, got {self.imagination}")
        if not 0 <= self.scale_low < self.scale_high <= 100:
            raise ValueError(
                f"need 0 <= scale_low < scale_high <= 100, got {self.scale_low}, {self.scale_high}"
            )


@dataclass(frozen=True)
class ActorCriticConfig(ImaginationConfig):
    """Settings of an actor and a critic as well; the defaults are DreamerV3's.

    Attributes:
        actor_layers, min_std, max_std, unimix: see `ActorConfig`.
        value_layers: hidden layers of the critic.
    """

    actor_layers: int = 3
    min_std: float = 0.1
    max_std: float = 1.0
    unimix: float = 0.01
    value_layers: int = 3

    @property
    def actor(self) -> ActorConfig:
        """The actor's settings."""
        return ActorConfig(self.actor_layers, self.min_std, self.max_std, self.unimix)


class ReturnScale(nn.Module):
    """The range of returns between two percentiles, averaged over time.

    Large returns are scaled down, small ones left alone: noise must not be blown up where rewards
    are sparse (arXiv:2301.04104, equation 12).
    """

    low: Tensor
    high: Tensor

    def __init__(self, config: ImaginationConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.zeros(()))

    @torch.no_grad()
    def update(self, returns: Tensor) -> None:
        """Take in a batch of returns of any shape."""
        flat = returns.float().flatten().sort().values
        for buffer, percent in (
            (self.low, self.config.scale_low),
            (self.high, self.config.scale_high),
        ):
            place = (len(flat) - 1) * percent / 100.0
            below = int(place)
            above = min(below + 1, len(flat) - 1)
            found = torch.lerp(flat[below], flat[above], place - below)
            buffer.lerp_(found, self.config.scale_rate)

    def forward(self) -> Tensor:
        """What returns are divided by; at least ``scale_min``."""
        return (self.high - self.low).clamp_min(self.config.scale_min)


@dataclass(frozen=True)
class ImaginedTrajectory:
    """Imagined trajectories, nothing of which carries a gradient but ``raw``.

    ``features`` ``(N, H + 1, F)``; ``actions`` ``(N, H, A)``; ``raw``: the actor's outputs
    ``(N, H, A)``, with their gradient.
    """

    features: Tensor
    actions: Tensor
    raw: tuple[Tensor, ...]


class ActorCritic(nn.Module):
    """Actor, critic and slow critic, and the losses they learn from.

    Args:
        config: settings.
        actor, critic: trained in place; the slow critic begins as a copy.
    """

    compiled = ("actor.raw", "critic.network.forward", "slow_critic.network.forward")
    """Methods worth compiling, see `training.compiling.CompiledParts`."""

    def __init__(self, config: ImaginationConfig, actor: Actor, critic: Critic) -> None:
        super().__init__()
        self.config = config
        self.actor = actor
        self.critic = critic
        self.slow_critic = copy.deepcopy(critic).requires_grad_(False)
        self.scale = ReturnScale(config)

    @classmethod
    def fresh(
        cls,
        config: ActorCriticConfig,
        model: DreamerV3Model,
        *,
        discrete: bool,
        generator: torch.Generator,
    ) -> ActorCritic:
        """With a new actor and critic.

        Args:
            config: settings.
            model: gives sizes; not kept.
            discrete: whether actions are one-hot.
            generator: source of the initial weights.
        """
        units = model.config.width("units")
        actor = Actor(
            config.actor,
            model.feature_size,
            model.action_size,
            units=units,
            discrete=discrete,
            generator=generator,
        )
        critic = Critic(
            model.feature_size, units, config.value_layers, model.config.bins, generator=generator
        )
        return cls(config, actor, critic)

    def value(self, features: Tensor) -> Tensor:
        """``(...)`` the critic's estimate at ``features`` ``(..., F)``."""
        return self.critic(features).mean

    @torch.no_grad()
    def update_slow(self) -> None:
        """Let the slow critic follow; once after every gradient step."""
        slow: list[Tensor] = list(self.slow_critic.parameters())
        fast: list[Tensor] = list(self.critic.parameters())
        torch._foreach_lerp_(slow, fast, self.config.slow_rate)

    def imagine(
        self, model: DreamerV3Model, state: Any, generator: torch.Generator
    ) -> ImaginedTrajectory:
        """Follow the actor from states ``(N, ...)`` for ``imagination`` steps.

        The actor's own outputs on the way keep their gradient, so that they need not be computed
        twice; features it reads carry none.
        """
        state = tree_map(Tensor.detach, state)
        step_on = stepper(model, state, self.config.imagination, generator)
        features, actions, raws = [model.features(state)], [], []
        for step in range(self.config.imagination):
            raw = self.actor.raw(features[-1])
            with torch.no_grad():
                action = self.actor.distribution(raw).sample(generator)
            features.append(step_on(step, action))
            actions.append(action)
            raws.append(raw)
        return ImaginedTrajectory(
            torch.stack(features).transpose(0, 1),
            torch.stack(actions, 1),
            tuple(torch.stack(parts, 1) for parts in zip(*raws, strict=True)),
        )

    def compute_loss(
        self,
        model: DreamerV3Model,
        output: ModelOutput,
        batch: Batch,
        *,
        generator: torch.Generator,
    ) -> tuple[Tensor, Metrics]:
        """Losses of actor and critic, imagined from every state of a batch and on the batch itself.

        The world model gets a gradient from the critic's loss on the batch only.

        Args:
            model: imagines; its heads give reward and continuation.
            output: what the model made of ``batch``.
            batch: ``(B, T, ...)``.
            generator: source of actions and latents.
        """
        config = self.config
        last = config.imagine_last or batch.mask.shape[1]
        batch = batch[:, -last:]
        shape = batch.mask.shape
        starts = tree_map(lambda x: x[:, -last:].flatten(0, 1), output.states)
        with model.precision():
            imagined = self.imagine(model, starts, generator)
            # Time first, as it was imagined: networks then read memory in its order.
            timely = imagined.features.transpose(0, 1)
            with torch.no_grad():
                reward = TwoHot(model.reward(timely)).mean.t()  # (N, H + 1)
                live = model.discounts(timely).t()
                slow = self.slow_critic(timely[:-1]).mean
                final = self.value(timely[-1])
            critic = self.critic(timely[:-1])
            policy = self.actor.distribution(imagined.raw)
            with torch.no_grad():
                value = critic.mean.t()
                later = torch.cat([value[:, 1:], final[:, None]], 1)
                returns = lambda_returns(
                    reward[:, 1:], live[:, 1:], later, final, config.lambda_
                )  # (N, H)
                self.scale.update(whole(returns))
                advantage = (returns - value) / self.scale()
                # How likely the episode is to get here; 0 where there was no observation.
                weight = live.cumprod(1)[:, :-1] * batch.mask.flatten()[:, None]
            entropy = policy.entropy()
            chosen = policy.log_prob(imagined.actions) * advantage + config.entropy * entropy
            policy_loss = -(weight * chosen).mean()
            off = critic.loss(returns.t(), (config.slow_weight, slow)).t()
            value_loss = (weight * off).mean()
            replay_loss = self._replay_loss(
                model, output.features[:, -last:], batch, returns[:, 0].reshape(shape)
            )
        total = (
            config.policy_weight * policy_loss
            + config.value_weight * value_loss
            + config.replay_value_weight * replay_loss
        )
        metrics = {
            "policy": policy_loss,
            "value": value_loss,
            "replay_value": replay_loss,
            "return": returns.mean(),
            "return_scale": self.scale(),
            "imagined_reward": reward.mean(),
            "advantage": advantage.abs().mean(),
            "action_entropy": entropy.mean(),
        }
        return total, {name: x.detach() for name, x in metrics.items()}

    def _replay_loss(
        self, model: DreamerV3Model, features: Tensor, batch: Batch, imagined: Tensor
    ) -> Tensor:
        """The critic on real rewards; each state's imagined return ``(B, T)`` is its value."""
        config = self.config
        critic = self.critic(features[:, :-1])
        with torch.no_grad():
            slow = self.slow_critic(features[:, :-1]).mean
            live = (~batch.terminal).float() * model.config.discount
            mix = (~batch.is_last).float() * config.lambda_
            returns = lambda_returns(
                batch.reward[:, 1:], live[:, 1:], imagined[:, 1:], imagined[:, -1], mix[:, 1:]
            )
            known = batch.mask[:, :-1] & batch.mask[:, 1:] & ~batch.is_last[:, :-1]
        off = critic.loss(returns, (config.slow_weight, slow))
        return (off * known).mean()


__all__ = [
    "ActorCritic",
    "ActorCriticConfig",
    "Critic",
    "ImaginationConfig",
    "ReturnScale",
]
