"""Training DreamerV2: one update of world model, actor and critic from a batch of sequences."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from mbrl_agents.algorithms.dreamer_v2.actor import Actor
from mbrl_agents.algorithms.dreamer_v2.actor_critic import Critic, ImaginedLearning
from mbrl_agents.algorithms.dreamer_v2.config import ActorCriticConfig, DreamerV2TrainingConfig
from mbrl_agents.algorithms.dreamer_v2.model import DreamerV2Model
from mbrl_agents.nn.sharing import mine, sharing
from mbrl_agents.protocols import Metrics, Schedule, tree_map
from mbrl_agents.training.compiling import CompiledParts
from mbrl_agents.training.phase import ModulePhase

if TYPE_CHECKING:
    from mbrl_agents.data.buffer import SequenceBuffer

STATISTICS_STEPS = 2000
"""Recorded steps that the statistics of actions are taken from."""


LEAST_RATE = 0.05
"""Share of a learning rate that is left after its decay."""


class DreamerV2Phase(ModulePhase):
    """The one phase of DreamerV2 (arXiv:2010.02193, section 2).

    Args:
        config: settings of training.
        actor_critic: settings of imagination.
        model, actor, critic: trained in place.
        seed: of batches, latents and imagined actions.
    """

    def __init__(
        self,
        config: DreamerV2TrainingConfig,
        actor_critic: ActorCriticConfig,
        model: DreamerV2Model,
        actor: Actor,
        critic: Critic,
        *,
        seed: int,
    ) -> None:
        schedule = Schedule(
            updates=config.updates,
            start=config.random_steps,
            every=config.train_every,
            per_turn=config.updates_per_turn,
            first=config.pretrain,
        )
        modules = {"world_model": model, "actor": actor, "critic": critic}
        super().__init__("dreamer", schedule, modules, seed=seed)
        self.config, self.model, self.actor, self.critic = config, model, actor, critic
        self.imagined = ImaginedLearning(actor_critic, model, actor, critic)
        self.compiled = CompiledParts((model,), enabled=config.compile)
        self.target_every = actor_critic.target_every
        rates = {
            "world_model": config.learning_rate,
            "actor": config.actor_learning_rate,
            "critic": config.critic_learning_rate,
        }
        self.rates = rates
        self.optimizers = {name: self._adam(modules[name], rate) for name, rate in rates.items()}

    def _adam(self, module: nn.Module, rate: float) -> torch.optim.Optimizer:
        return torch.optim.AdamW(
            [p for p in module.parameters() if p.requires_grad],
            lr=rate,
            eps=self.config.epsilon,
            # AdamW multiplies the decay by the learning rate; the authors' code does not.
            weight_decay=self.config.weight_decay / rate,
            fused=True,
        )

    def begin(self, buffer: SequenceBuffer, updates: int, *, seed: int, refit: bool) -> None:
        if refit:
            return
        length = self.config.sequence_length
        size = max(1, STATISTICS_STEPS // length)
        sample = buffer.sample(size, length, torch.Generator().manual_seed(seed))
        self.model.fit_statistics(sample.batch.to(self.device))

    def update(self, buffer: SequenceBuffer) -> Metrics:
        config, draws = self.config, self.drawing()
        sample = buffer.sample(config.batch_size, config.sequence_length, self.batches)
        with sharing(), self.compiled:
            batch = mine(sample.batch).to(self.device)
            learned = self.model.compute_loss(batch, generator=draws)
            norms = {"world_model_norm": self._step("world_model", learned.loss)}
            actor_loss, critic_loss, metrics = self.imagined.losses(
                tree_map(lambda x: x.flatten(0, 1), learned.states),
                batch.terminal.flatten(),
                batch.mask.flatten().float(),
                draws,
            )
        norms["actor_norm"] = self._step("actor", actor_loss)
        norms["critic_norm"] = self._step("critic", critic_loss)
        if self.updates % self.target_every == 0:
            self.critic.copy_to_target()
        self.updates += 1
        return {**learned.metrics, **metrics, **norms}

    def _step(self, name: str, loss: torch.Tensor) -> torch.Tensor:
        if self.config.decay_updates:
            share = max(LEAST_RATE, 1.0 - self.updates / self.config.decay_updates)
            for group in self.optimizers[name].param_groups:
                group["lr"] = self.rates[name] * share
        return self.step(name, loss, self.modules[name].parameters(), self.config.clip)


__all__ = ["DreamerV2Phase"]
