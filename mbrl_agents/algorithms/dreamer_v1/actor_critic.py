"""Learning actor and critic on imagined trajectories, through the gradient of the dynamics."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mbrl_agents.algorithms.dreamer_v1.actor import Actor
from mbrl_agents.algorithms.dreamer_v1.config import ActorCriticConfig
from mbrl_agents.algorithms.dreamer_v1.model import DreamerV1Model
from mbrl_agents.algorithms.dreamer_v1.rssm import State
from mbrl_agents.nn.dense import dense_head
from mbrl_agents.nn.returns import lambda_returns
from mbrl_agents.nn.sharing import counted
from mbrl_agents.protocols import Metrics


class Critic(nn.Module):
    """The return of a state, its own reward included, in the model's scaled units.

    Args:
        config: settings.
        feature_size: ``F``.
        generator: source of the initial weights.
    """

    compiled = ("network.forward",)
    """Methods worth compiling, see `mbrl_agents.training.compiling`."""

    def __init__(
        self, config: ActorCriticConfig, feature_size: int, *, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.network = dense_head(
            feature_size, 1, config.units, config.critic_layers, config.activation, generator
        )

    def forward(self, features: Tensor) -> Tensor:
        """``(..., F)`` to ``(...)``."""
        return self.network(features)[..., 0]


class ActorCriticLoss(NamedTuple):
    """What `actor_critic_losses` gives: two scalars and detached metrics."""

    actor: Tensor
    critic: Tensor
    metrics: Metrics


def imagine_trajectories(
    model: DreamerV1Model, actor: Actor, start: State, horizon: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Features ``(N, H, F)`` of the states that the actor's own actions lead to.

    Beside them the entropies ``(N, H)`` of what those actions were drawn from, in nats.

    Latents and actions are reparameterised draws: a feature carries the gradient with respect to
    every action before it.  The features that the actor reads carry none, as in the authors' code.

    Args:
        model, actor: read only.
        start: ``(N, ...)``, detached; not part of the result.
        horizon: ``H``.
        generator: source of latents and actions.
    """
    state, features, entropies = start, [model.features(start)], []
    for _ in range(horizon):
        action, entropy = actor.sample_and_entropy(features[-1].detach(), generator)
        state = model.imagine_step(state, action, generator=generator)
        features.append(model.features(state))
        entropies.append(entropy)
    return torch.stack(features[1:], 1), torch.stack(entropies, 1)


def actor_critic_losses(
    config: ActorCriticConfig,
    model: DreamerV1Model,
    actor: Actor,
    critic: Critic,
    start: State,
    counts: Tensor,
    generator: torch.Generator,
) -> ActorCriticLoss:
    """Equations 7 and 8 of arXiv:1912.01603, with lambda returns (equation 6) as targets.

    The return of an imagined state counts from its own reward on, as in the paper.  Both losses
    are averages over states and time, each step weighted with the product of the discounts
    before it.  The actor's gradient passes through returns, values and dynamics; the weights of
    model and critic get none of it.

    Where rewards are large beside what a step costs, its means run to where tanh has no slope, and
    stay.  ``config.entropy`` pulls them back, as in DreamerV2 (arXiv:2010.02193, equation 6); the
    paper has no such term.

    Args:
        config: horizon, lambda and entropy.
        model: imagines, and predicts rewards and discounts.
        actor, critic: that learn.
        start: posterior states ``(N, ...)``, detached.
        counts: ``(N,)`` bool, false for states not to imagine from.
        generator: source of latents and actions.
    """
    with frozen(model, critic):
        features, entropy = imagine_trajectories(model, actor, start, config.horizon, generator)
        reward = model.scaled_reward(features)  # (N, H)
        discounts = model.discounts(features)
        value = critic(features)
        returns = lambda_returns(
            reward[:, :-1], discounts[:, :-1], value[:, 1:], value[:, -1], config.lambda_
        )  # (N, H - 1)
        with torch.no_grad():
            reached = torch.ones_like(discounts[:, :1])
            weight = torch.cat([reached, discounts[:, :-2]], 1).cumprod(1)
            weight = weight * (counts / counted(counts))[:, None] / weight.shape[1]
        actor_loss = -(weight * returns).sum()
        if config.entropy:
            worth = config.entropy * model.config.reward_scale
            actor_loss = actor_loss - worth * (weight * entropy[:, :-1]).sum()
    off = critic(features[:, :-1].detach()) - returns.detach()
    critic_loss = (weight * 0.5 * off.square()).sum()
    metrics = {
        "actor": actor_loss,
        "critic": critic_loss,
        "imagined_reward": reward.mean() / model.config.reward_scale,
        "imagined_return": returns.mean() / model.config.reward_scale,
        "imagined_discount": discounts.mean(),
        "entropy": entropy.mean(),
    }
    return ActorCriticLoss(
        actor_loss, critic_loss, {name: value.detach() for name, value in metrics.items()}
    )


@contextmanager
def frozen(*modules: nn.Module) -> Iterator[None]:
    """Record no gradient with respect to these modules' weights; one through them is recorded."""
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


__all__ = [
    "ActorCriticLoss",
    "Critic",
    "actor_critic_losses",
    "frozen",
    "imagine_trajectories",
]
