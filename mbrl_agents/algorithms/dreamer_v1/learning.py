"""One phase of training: model, actor and critic take a gradient step each at every update."""

from __future__ import annotations

import torch
from torch import nn

from mbrl_agents.algorithms.dreamer_v1.actor import Actor
from mbrl_agents.algorithms.dreamer_v1.actor_critic import Critic, actor_critic_losses
from mbrl_agents.algorithms.dreamer_v1.config import ActorCriticConfig, DreamerV1TrainingConfig
from mbrl_agents.algorithms.dreamer_v1.model import DreamerV1Model
from mbrl_agents.data.buffer import SequenceBuffer
from mbrl_agents.nn.sharing import mine, sharing
from mbrl_agents.protocols import Metrics, tree_map
from mbrl_agents.training.compiling import CompiledParts
from mbrl_agents.training.phase import ModulePhase

ADAM_EPS = 1e-7
"""TensorFlow's default, with which the paper's results were obtained."""

STATISTICS_SEQUENCES = 64
"""Sequences whose actions the model's statistics are taken from."""


class DreamerV1Phase(ModulePhase):
    """Algorithm 1 of arXiv:1912.01603, from "Draw B data sequences" to "Update" of all three.

    All losses are computed with the weights before the update.

    Args:
        model, actor, critic: trained in place.
        actor_critic: settings of imagination.
        training: settings of the optimisers and batches.
        seed: of batches, latents and actions.
    """

    def __init__(
        self,
        model: DreamerV1Model,
        actor: Actor,
        critic: Critic,
        actor_critic: ActorCriticConfig,
        training: DreamerV1TrainingConfig,
        *,
        seed: int,
    ) -> None:
        modules: dict[str, nn.Module] = {"world_model": model, "actor": actor, "critic": critic}
        super().__init__(
            "dreamer", training.schedule, modules, seed=seed, length=training.sequence_length
        )
        self.model, self.actor, self.critic = model, actor, critic
        self.actor_critic, self.training = actor_critic, training
        rates = {
            "world_model": training.learning_rate,
            "actor": training.actor_learning_rate,
            "critic": training.critic_learning_rate,
        }
        self.optimizers = {
            name: torch.optim.Adam(module.parameters(), lr=rates[name], eps=ADAM_EPS)
            for name, module in modules.items()
        }
        self.compiled = CompiledParts((model, actor, critic), enabled=training.compile)

    @torch.no_grad()
    def begin(self, buffer: SequenceBuffer, updates: int, *, seed: int, refit: bool) -> None:
        """Note what recorded actions look like, for planners, before the first turn."""
        if refit:
            return
        generator = torch.Generator().manual_seed(seed)
        sample = buffer.sample(STATISTICS_SEQUENCES, self.length, generator)
        batch = sample.batch.to(self.device)
        actions = batch.prev_action[batch.mask & ~batch.is_first]
        self.model.actions.fit(actions.float(), batch.label[batch.mask].float())

    def update(self, buffer: SequenceBuffer) -> Metrics:
        training = self.training
        sample = buffer.sample(training.batch_size, self.length, self.batches)
        draws = self.drawing()
        with sharing(), self.compiled:
            batch = mine(sample.batch).to(self.device)
            counts = batch.mask
            if self.model.continue_head is not None:
                counts = counts & ~batch.terminal  # nothing follows on an end
            learned = self.model.compute_loss(batch, draws)
            imagined = actor_critic_losses(
                self.actor_critic,
                self.model,
                self.actor,
                self.critic,
                tree_map(lambda x: x.flatten(0, 1), learned.states),
                counts.flatten().float(),
                draws,
            )
        # The actor's loss reads all weights and the model's only its own: in this order no step
        # changes weights that a later gradient still needs.
        steps = {
            "actor": imagined.actor, "critic": imagined.critic, "world_model": learned.loss,
        }  # fmt: skip
        norms = {
            f"{name}_norm": self.step(name, loss, self.modules[name].parameters(), training.clip)
            for name, loss in steps.items()
        }
        self.updates += 1
        return {"model": learned.loss.detach()} | learned.metrics | imagined.metrics | norms


__all__ = ["ADAM_EPS", "DreamerV1Phase"]
