"""Training IRIS: a phase each for the tokenizer, the transformer, and actor and critic."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mbrl_agents.algorithms.iris.actor_critic import ActorCritic
from mbrl_agents.algorithms.iris.config import ActorCriticConfig, IrisTrainingConfig
from mbrl_agents.algorithms.iris.imagined import ImaginedLearning
from mbrl_agents.algorithms.iris.model import IrisModel
from mbrl_agents.nn.drawing import drawing_from
from mbrl_agents.protocols import Batch, Metrics, Schedule
from mbrl_agents.training.phase import ModulePhase

if TYPE_CHECKING:
    from mbrl_agents.data.buffer import SequenceBuffer

LOG = logging.getLogger(__name__)

STATISTICS_STEPS = 2000
"""Recorded steps that the statistics of actions are taken from."""


class IrisPhase(ModulePhase):
    """What the three phases share: a schedule, a batch, one optimiser.

    Args:
        name: of logs and checkpoints.
        config: settings of training.
        modules: read or trained.
        start, per_turn: environment steps before the first turn, and updates of each.
        batch_size, length: sequences of a batch, and observations of each.
        seed: of batches and of what is drawn.
    """

    def __init__(
        self,
        name: str,
        config: IrisTrainingConfig,
        modules: dict[str, nn.Module],
        *,
        start: int,
        per_turn: float,
        batch_size: int,
        length: int,
        seed: int,
    ) -> None:
        schedule = Schedule(config.updates, start, config.train_every, per_turn)
        super().__init__(name, schedule, modules, seed=seed, length=length)
        self.config, self.batch_size = config, batch_size

    def adam(self, groups: Any, rate: float | None = None) -> None:
        """Take Adam, with decoupled decay for the groups of weights that ask for it."""
        rate = self.config.learning_rate if rate is None else rate
        self.optimizers = {
            self.name: torch.optim.AdamW(groups, lr=rate, weight_decay=0.0, fused=True)
        }

    def draw(self, buffer: SequenceBuffer) -> Batch:
        """A batch, where the modules are."""
        return buffer.sample(self.batch_size, self.length, self.batches).batch.to(self.device)

    def stepped(self, loss: Tensor, module: nn.Module, metrics: Metrics) -> Metrics:
        """Take a step on a module; ``metrics`` and the norm of the gradient."""
        norm = self.step(self.name, loss, module.parameters(), self.config.clip)
        self.updates += 1
        return {**metrics, "gradient_norm": norm}


class TokenizerPhase(IrisPhase):
    """Reconstruction of single images (arXiv:2209.00588, section 2.1)."""

    def __init__(self, config: IrisTrainingConfig, model: IrisModel, *, seed: int) -> None:
        super().__init__(
            "tokenizer",
            config,
            {"world_model": model},
            start=config.tokenizer_start,
            per_turn=config.tokenizer_updates,
            batch_size=config.tokenizer_batch_size,
            length=1,
            seed=seed,
        )
        self.model = model
        self.adam(model.tokenizer.parameters(), config.tokenizer_learning_rate)

    def begin(self, buffer: SequenceBuffer, updates: int, *, seed: int, refit: bool) -> None:
        if not refit:
            LOG.warning(
                "the tokenizer is trained without the paper's perceptual loss, whose weights would "
                "have to be downloaded; absolute and squared errors of pixels weigh 1 and %g",
                self.model.config.squared,
            )
            draws = torch.Generator().manual_seed(seed)
            length = 2 if buffer.ready(2) else 1
            sample = buffer.sample(STATISTICS_STEPS // length, length, draws)
            self.model.fit_statistics(sample.batch.to(self.device))

    def update(self, buffer: SequenceBuffer) -> Metrics:
        batch, tokenizer = self.draw(buffer), self.model.tokenizer
        images = self.model.images({key: x[:, 0] for key, x in batch.obs.items()})
        losses, found = tokenizer.losses(images)
        loss = losses["reconstruction"] + losses["commitment"]
        metrics = {name: value.detach() for name, value in losses.items()}
        count = torch.bincount(found.tokens.flatten(), minlength=len(tokenizer.codebook.weight))
        share = count / count.sum()
        use = torch.exp(-(share * share.clamp_min(1e-12).log()).sum())
        metrics |= {"loss": loss.detach(), "codes_used": (count > 0).float().sum(), "code_use": use}
        return self.stepped(loss, tokenizer, metrics)


class TransformerPhase(IrisPhase):
    """Prediction of tokens, signs of rewards, and ends (arXiv:2209.00588, section 2.2)."""

    def __init__(self, config: IrisTrainingConfig, model: IrisModel, *, seed: int) -> None:
        super().__init__(
            "transformer",
            config,
            {"world_model": model},
            start=config.world_model_start,
            per_turn=config.world_model_updates,
            batch_size=config.batch_size,
            # One more observation says what the last action led to.
            length=config.sequence_length + 1,
            seed=seed,
        )
        self.model = model
        decayed = model.dynamics.decayed()
        known = {id(parameter) for parameter in decayed}
        others = [p for p in model.dynamics.parameters() if id(p) not in known]
        self.adam(
            [{"params": decayed, "weight_decay": config.weight_decay},
             {"params": others}]
        )  # fmt: skip

    def update(self, buffer: SequenceBuffer) -> Metrics:
        batch, model = self.draw(buffer), self.model
        shape = (self.batch_size, self.config.sequence_length)
        rows = {key: x[:, : shape[1]].flatten(0, 1) for key, x in batch.obs.items()}
        with torch.no_grad():
            tokens = model.tokenizer.encode(model.images(rows)).tokens.unflatten(0, shape)
        model.dynamics.train()
        with drawing_from(self.drawing()):
            losses, metrics = model.dynamics.losses(tokens, batch)
        model.dynamics.eval()
        loss = torch.stack([*losses.values()]).sum()
        metrics |= {"loss": loss.detach()} | {name: x.detach() for name, x in losses.items()}
        return self.stepped(loss, model.dynamics, metrics)


class ActorCriticPhase(IrisPhase):
    """Actor and critic in imagination (arXiv:2209.00588, section 2.3)."""

    def __init__(
        self,
        config: IrisTrainingConfig,
        actor_critic: ActorCriticConfig,
        model: IrisModel,
        module: ActorCritic,
        *,
        seed: int,
    ) -> None:
        super().__init__(
            "actor_critic",
            config,
            {"world_model": model, "actor_critic": module},
            start=config.actor_critic_start,
            per_turn=config.actor_critic_updates,
            batch_size=config.actor_critic_batch_size,
            length=actor_critic.burn_in + 1,
            seed=seed,
        )
        self.module = module
        self.imagined = ImaginedLearning(actor_critic, model, module)
        self.adam(module.parameters())

    def update(self, buffer: SequenceBuffer) -> Metrics:
        loss, metrics = self.imagined.losses(self.draw(buffer), self.drawing())
        return self.stepped(loss, self.module, metrics)


__all__ = ["ActorCriticPhase", "TokenizerPhase", "TransformerPhase"]
