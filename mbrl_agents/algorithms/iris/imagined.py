"""Actor and critic learned from imagined trajectories."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mbrl_agents.algorithms.iris.actor_critic import ActorCritic, Hidden, Policy, reset
from mbrl_agents.algorithms.iris.config import ActorCriticConfig
from mbrl_agents.algorithms.iris.imagination import Imagination
from mbrl_agents.algorithms.iris.model import IrisModel
from mbrl_agents.nn.categorical import gumbel
from mbrl_agents.nn.returns import lambda_returns
from mbrl_agents.protocols import Batch, Metrics


@dataclass(frozen=True)
class Trajectory:
    """What the actor led to in imagination, ``N`` trajectories of ``H`` observations.

    Attributes:
        policy: of every observation, ``(N, H)``, with gradient.
        value: ``(N, H)`` likewise.
        draw: ``(N, H - 1)`` or ``(N, H - 1, A)`` what the policy drew.
        reward: ``(N, H - 1)`` of each action: -1, 0 or 1.
        end: ``(N, H - 1)`` bool, whether the episode ended with it.
    """

    policy: Policy
    value: Tensor
    draw: Tensor
    reward: Tensor
    end: Tensor


class ImaginedLearning:
    """The losses of actor and critic (arXiv:2209.00588, section 2.3 and appendix A.3).

    Args:
        config: settings.
        model: imagines; gets no gradient.
        actor_critic: learns.
    """

    def __init__(
        self, config: ActorCriticConfig, model: IrisModel, actor_critic: ActorCritic
    ) -> None:
        self.config, self.model, self.actor_critic = config, model, actor_critic

    def losses(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Metrics]:
        """Loss of actor and critic, and detached metrics.

        REINFORCE with the critic as baseline, the policy's entropy, and the squared error of the
        critic, all over the first ``H - 1`` observations: of the last nothing but its value counts.

        Args:
            batch: ``(N, T)``; the LSTM sees all observations of each sequence's last episode,
                imagination goes on from the last.
            generator: source of actions, tokens, rewards and ends.
        """
        config, found = self.config, self.imagine(batch, generator)
        live = config.discount * (~found.end).float()
        value = found.value.detach()
        returns = lambda_returns(found.reward, live, value[:, 1:], value[:, -1], config.lambda_)
        weight = (batch.mask & ~batch.terminal)[:, -1:].float().expand_as(returns)
        if not config.past_end:
            weight = weight * torch.cat(
                [torch.ones_like(live[:, :1]), (~found.end[:, :-1]).float()], 1
            ).cumprod(1)
        log_prob = found.policy.log_prob(_padded(found.draw))[:, :-1]
        entropy = found.policy.entropy()[:, :-1]
        actor_loss = -_mean(log_prob * (returns - value[:, :-1]), weight)
        critic_loss = _mean((found.value[:, :-1] - returns).square(), weight)
        mean_entropy = _mean(entropy, weight)
        loss = actor_loss + critic_loss - config.entropy * mean_entropy
        metrics = {
            "loss": loss,
            "actor_loss": actor_loss,
            "critic_loss": critic_loss,
            "entropy": mean_entropy,
            "return": _mean(returns, weight),
            "value": _mean(value[:, :-1], weight),
            "imagined_reward": _mean(found.reward, weight),
            "imagined_end": _mean(found.end.float(), weight),
        }
        return loss, {name: x.detach() for name, x in metrics.items()}

    def imagine(self, batch: Batch, generator: torch.Generator) -> Trajectory:
        """Follow the actor for ``horizon`` observations from the last of ``(N, T)``."""
        model, actor_critic, horizon = self.model, self.actor_critic, self.config.horizon
        with torch.no_grad():
            rows = {key: x.flatten(0, 1) for key, x in batch.obs.items()}
            tokens = model.tokenizer.encode(model.images(rows)).tokens
            tokens = tokens.unflatten(0, batch.mask.shape)
            hidden = self.burn_in(tokens, batch.is_first)
            run = Imagination(
                model.dynamics, model.state_of(tokens, batch.prev_action, batch.is_first)
            )
        raws, values, draws, rewards, ends = [], [], [], [], []
        for step in range(horizon):
            with torch.no_grad():
                images = model.tokenizer.decode(run.state["tokens"][:, -1])
            raw, value, hidden = actor_critic(images, hidden)
            raws.append(raw)
            values.append(value)
            if step + 1 == horizon:
                break
            policy = actor_critic.policy(raw)
            draws.append(policy.draw(generator))
            found = run.step(policy.action(draws[-1]), generator=generator)
            rewards.append(_class(found.reward, generator).float() - 1.0)
            ends.append(_class(found.end, generator) == 1)
        return Trajectory(
            actor_critic.policy(torch.stack(raws, 1)),
            torch.stack(values, 1),
            torch.stack(draws, 1),
            torch.stack(rewards, 1),
            torch.stack(ends, 1),
        )

    @torch.no_grad()
    def burn_in(self, tokens: Tensor, is_first: Tensor) -> Hidden:
        """The LSTM's state before the last of ``T`` observations.

        Args:
            tokens: ``(N, T, K)``.
            is_first: ``(N, T)`` where an episode begins; what lies before the last one is not seen.
        """
        actor_critic, (size, length) = self.actor_critic, is_first.shape
        hidden = actor_critic.initial(size)
        # A row is asked for only where no later episode begins up to the last observation.
        later = is_first.flip(1).long().cumsum(1).flip(1)
        wanted = (later - is_first.long() == 0)[:, :-1] & ~is_first[:, -1:]
        if bool(wanted.any()):
            images = self.model.tokenizer.decode(tokens[:, :-1][wanted])
            encoded = actor_critic.encode(images)
            placed = encoded.new_zeros(size, length - 1, encoded.shape[1])
            placed[wanted] = encoded
            for step in range(length - 1):
                hidden = actor_critic.remember(placed[:, step], hidden)
                hidden = reset(hidden, ~wanted[:, step])
        return hidden


def _class(logits: Tensor, generator: torch.Generator) -> Tensor:
    """A class ``(N,)`` drawn by logits ``(N, n)``."""
    return (logits + gumbel(logits.shape, generator, logits.device)).argmax(-1)


def _padded(draw: Tensor) -> Tensor:
    """Draws with one more, of no meaning, for the last observation."""
    return torch.cat([draw, draw[:, -1:]], 1)


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean."""
    return (values * weight).sum() / weight.sum().clamp_min(1.0)


__all__ = ["ImaginedLearning", "Trajectory"]
