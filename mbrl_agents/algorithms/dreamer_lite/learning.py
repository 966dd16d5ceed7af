"""Training Dreamer-Lite: one update of model, actor, critic and replay agent."""

from __future__ import annotations

import torch
from torch import nn

from mbrl_agents.algorithms.dreamer_lite.actor_critic import Actor, Critic, Learning
from mbrl_agents.algorithms.dreamer_lite.config import (
    ActorCriticConfig,
    DreamerLiteTrainingConfig,
)
from mbrl_agents.algorithms.dreamer_lite.model import DreamerLiteModel
from mbrl_agents.data.buffer import SequenceBuffer
from mbrl_agents.data.transitions import draw_transitions
from mbrl_agents.protocols import Metrics, Schedule
from mbrl_agents.training.model_free import ModelFree
from mbrl_agents.training.phase import ModulePhase

STATISTICS = 500
"""Sequences that the statistics are taken from."""


class DreamerLitePhase(ModulePhase):
    """The one phase of Dreamer-Lite.

    Args:
        config: settings of training.
        actor_critic: settings of imagination.
        model, actor, critic, replay: trained in place.
        seed: of batches, latents and imagined actions.
    """

    def __init__(
        self,
        config: DreamerLiteTrainingConfig,
        actor_critic: ActorCriticConfig,
        model: DreamerLiteModel,
        actor: Actor,
        critic: Critic,
        replay: ModelFree,
        *,
        seed: int,
    ) -> None:
        schedule = Schedule(
            updates=config.updates,
            start=config.random_steps,
            per_turn=config.updates_per_step,
            first=config.pretrain,
        )
        modules: dict[str, nn.Module] = {
            "world_model": model, "actor": actor, "critic": critic, "replay": replay
        }  # fmt: skip
        length = config.sequence_length
        super().__init__("dreamer_lite", schedule, modules, seed=seed, length=length)
        self.config, self.model, self.actor, self.critic = config, model, actor, critic
        self.replay, self.share = replay, actor_critic.real_weight
        self.starts = actor_critic.starts
        self.learning = Learning(actor_critic, model, actor, critic, replay)
        rates = {
            "world_model": config.learning_rate,
            "actor": config.actor_learning_rate,
            "critic": config.critic_learning_rate,
        }
        self.optimizers = {
            name: torch.optim.Adam(
                [p for p in modules[name].parameters() if p.requires_grad], lr=rate, fused=True
            )
            for name, rate in rates.items()
        }
        self.optimizers |= {f"replay_{name}": o for name, o in replay.optimizers.items()}

    def begin(self, buffer: SequenceBuffer, updates: int, *, seed: int, refit: bool) -> None:
        if refit:
            return
        draws = torch.Generator().manual_seed(seed)
        sample = buffer.sample(STATISTICS, self.config.sequence_length, draws)
        self.model.fit_statistics(sample.batch.to(self.device))

    def update(self, buffer: SequenceBuffer) -> Metrics:
        config, draws, stack = self.config, self.drawing(), self.model.layout.stacked_vectors
        sample = buffer.sample(config.batch_size, config.sequence_length, self.batches)
        batch = sample.batch.to(self.device)
        learned = self.model.compute_loss(batch, generator=draws)
        metrics = dict(learned.metrics)
        self._step("world_model", learned.loss)
        if self.share > 0:
            size = self.replay.config.batch_size
            real, _ = draw_transitions(buffer, size, stack, self.batches)
            found = self.replay.update(real.to(self.device), draws)
            metrics |= {f"replay_{name}": value for name, value in found.items()}

        rows = torch.randperm(batch.mask.numel(), generator=self.batches)[: self.starts]
        rows = rows.to(self.device)
        z = learned.latents.flatten(0, 1)[rows]
        alive = (batch.mask & ~batch.terminal).flatten()[rows].float()
        losses, scale = [], None
        if self.share < 1:
            imagined = self.learning.imagined(z, alive, draws)
            scale = imagined.scale
            losses.append((1.0 - self.share) * imagined.actor_loss)
            metrics |= imagined.metrics
        if self.share > 0:
            flat = {key: value.flatten(0, 1)[rows] for key, value in batch.obs.items()}
            real_loss = self.learning.real(z, stack(flat), scale)
            losses.append(self.share * real_loss)
            metrics["real_loss"] = real_loss.detach()
        self._step("actor", torch.stack(losses).sum())
        if self.share < 1:
            self._step("critic", imagined.critic_loss)
            self.critic.follow()
        self.updates += 1
        return metrics

    def _step(self, name: str, loss: torch.Tensor) -> None:
        self.step(name, loss, self.modules[name].parameters(), self.config.clip)


__all__ = ["DreamerLitePhase"]
