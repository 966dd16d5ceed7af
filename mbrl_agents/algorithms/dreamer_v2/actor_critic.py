"""Actor and critic learned from imagined trajectories."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mbrl_agents.algorithms.dreamer_v2.actor import Actor
from mbrl_agents.algorithms.dreamer_v2.config import ActorCriticConfig
from mbrl_agents.algorithms.dreamer_v2.model import DreamerV2Model
from mbrl_agents.algorithms.dreamer_v2.rssm import State
from mbrl_agents.nn.dense import dense_head
from mbrl_agents.nn.returns import lambda_returns
from mbrl_agents.protocols import Metrics, tree_map


class Critic(nn.Module):
    """Features to the mean of a unit-variance Normal over returns, and a slow copy of that.

    The return of a state begins with the reward on arrival at it, as in the paper.

    Args:
        config: settings.
        feature_size: ``F``.
        generator: source of the initial weights.

    Attributes:
        network: trained.
        target: a copy of it from some updates ago, which returns are bootstrapped from.
    """

    def __init__(
        self, config: ActorCriticConfig, feature_size: int, *, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.network = dense_head(
            feature_size, 1, config.units, config.layers, config.activation, generator
        )
        self.target = copy.deepcopy(self.network).requires_grad_(False)

    def forward(self, features: Tensor) -> Tensor:
        """``(...)`` at ``features`` ``(..., F)``."""
        value: Tensor = self.network(features)[..., 0]
        return value

    def slow(self, features: Tensor) -> Tensor:
        """``(...)`` what the target critic says of ``features`` ``(..., F)``."""
        value: Tensor = self.target(features)[..., 0]
        return value

    def copy_to_target(self) -> None:
        """Let the target critic be what the critic is now."""
        self.target.load_state_dict(self.network.state_dict())


@dataclass(frozen=True)
class Trajectory:
    """States the actor led to in imagination, time first, as they were imagined.

    Attributes:
        features: ``(H + 1, N, F)``, the first of them real.
        actions: ``(H, N, A)``; number ``t`` leads from state ``t`` to ``t + 1``.
        terminal: ``(N,)`` whether the episode ended at the first state.
    """

    features: Tensor
    actions: Tensor
    terminal: Tensor


class ImaginedLearning:
    """The losses of actor and critic (arXiv:2010.02193, equations 4 to 6).

    Args:
        config: settings.
        model: imagines; gets no gradient.
        actor, critic: learn.
    """

    def __init__(
        self, config: ActorCriticConfig, model: DreamerV2Model, actor: Actor, critic: Critic
    ) -> None:
        self.config, self.model, self.actor, self.critic = config, model, actor, critic
        self.gradient = config.gradient
        if self.gradient == "auto":
            self.gradient = "reinforce" if actor.discrete else "dynamics"

    def imagine(self, state: State, terminal: Tensor, generator: torch.Generator) -> Trajectory:
        """Follow the actor from states ``(N, ...)`` for ``horizon`` steps.

        Features carry a gradient to the actor's weights by way of the actions and the model,
        unless the score function alone is wanted.
        """
        state = tree_map(Tensor.detach, state)
        features, actions = [self.model.features(state)], []
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.gradient != "reinforce"):
            for _ in range(self.config.horizon):
                # What an action does to later actions through the states is left out.
                action = self.actor(features[-1].detach()).sample(generator)
                state = self.model.imagine_step(state, action, generator=generator)
                features.append(self.model.features(state))
                actions.append(action)
        return Trajectory(torch.stack(features), torch.stack(actions), terminal)

    def losses(
        self, state: State, terminal: Tensor, weight: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Metrics]:
        """Loss of the actor, loss of the critic, and detached metrics.

        Args:
            state: where to imagine from, leaves ``(N, ...)``.
            terminal: ``(N,)`` whether the episode ended there.
            weight: ``(N,)`` of each; 0 leaves one out.
            generator: source of actions and latents.
        """
        if 0 < self.config.starts < len(terminal):
            order = torch.randperm(len(terminal), generator=generator, device=generator.device)
            rows = order[: self.config.starts].to(terminal.device)
            state, terminal, weight = tree_map(lambda x: x[rows], (state, terminal, weight))
        with frozen(self.model):
            trajectory = self.imagine(state, terminal, generator)
            features = trajectory.features
            with torch.set_grad_enabled(features.requires_grad):
                reward = self.model.rewards(features)
                discount = self.discounts(trajectory)
                slow = self.critic.slow(features)
                targets = returns(reward, discount, slow, self.config.lambda_)  # (H, N)
        steps = reach(discount).detach() * weight
        actor_loss, entropy = self.actor_loss(trajectory, targets, slow, steps)
        value = self.critic(features[:-1].detach())
        off = 0.5 * (value - targets.detach()).square()
        critic_loss = (steps[:-1] * off).mean()
        metrics = {
            "actor_loss": actor_loss,
            "critic_loss": critic_loss,
            "action_entropy": entropy,
            "return": targets.mean(),
            "value": value.mean(),
            "imagined_reward": reward.mean(),
            "imagined_discount": discount.mean(),
        }
        return actor_loss, critic_loss, {name: x.detach() for name, x in metrics.items()}

    def discounts(self, trajectory: Trajectory) -> Tensor:
        """``(H + 1, N)`` predicted weight of what follows each state; of the first, the true."""
        predicted = self.model.discounts(trajectory.features)
        if self.model.discount is None:
            return predicted
        first = (~trajectory.terminal).to(predicted.dtype) * self.model.config.discount
        return torch.cat([first[None], predicted[1:]])

    def actor_loss(
        self, trajectory: Trajectory, targets: Tensor, slow: Tensor, steps: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The actor's loss (equation 6), and its mean entropy in nats.

        Action ``t`` is judged by the return of the state it leads to, so that the last action,
        whose state has none but the bootstrap, teaches nothing.

        Args:
            trajectory: imagined.
            targets: ``(H, N)`` returns of states 0 to H - 1.
            slow: ``(H + 1, N)`` the target critic at every state, the baseline.
            steps: ``(H + 1, N)`` how likely each state is to be reached, and its weight.
        """
        policy = self.actor(trajectory.features[:-2].detach())
        objective = torch.zeros_like(targets[1:])
        share = {"reinforce": 0.0, "dynamics": 1.0, "both": self.config.gradient_mix}[self.gradient]
        if share < 1:
            advantage = (targets[1:] - slow[:-2]).detach()
            log_prob = policy.log_prob(trajectory.actions[:-1].detach())
            objective = objective + (1.0 - share) * log_prob * advantage
        if share > 0:
            objective = objective + share * targets[1:]
        entropy = policy.entropy()
        objective = objective + self.config.entropy * entropy
        return -(steps[:-2] * objective).mean(), entropy.mean()


def returns(reward: Tensor, discount: Tensor, value: Tensor, mix: float) -> Tensor:
    """``R_t = r_t + d_t ((1 - mix) v_{t+1} + mix R_{t+1})``, ``R_H = v_H`` (equation 4).

    Args:
        reward, discount, value: ``(H + 1, N)`` of each state: the reward on arrival, the weight of
            what follows, and the value, which includes that reward.
        mix: lambda.

    Returns:
        ``(H, N)`` returns of states 0 to H - 1.
    """
    return lambda_returns(reward[:-1].t(), discount[:-1].t(), value[1:].t(), value[-1], mix).t()


def reach(discount: Tensor) -> Tensor:
    """``(H + 1, N)`` product of the discounts before each state: 1 for the first."""
    return torch.cat([torch.ones_like(discount[:1]), discount[:-1]]).cumprod(0)


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


__all__ = ["Critic", "ImaginedLearning", "Trajectory", "frozen", "reach", "returns"]
