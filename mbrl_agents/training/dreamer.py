"""Training DreamerV3: one optimiser over world model, actor and critic, fed from the replay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mbrl_agents.protocols import tree_map
from mbrl_agents.training.checkpoints import pack_optimizer, unpack_optimizer
from mbrl_agents.training.compiling import CompiledParts
from mbrl_agents.training.imagination import Behaviour
from mbrl_agents.training.laprop import LaProp
from mbrl_agents.training.replay import Replay
from mbrl_agents.world_models.dreamer_v3 import DreamerV3


@dataclass(frozen=True)
class DreamerTrainingConfig:
    """Settings of training; the defaults are DreamerV3's where it has one for all tasks.

    Attributes:
        batch_size, sequence_length: of a gradient step.
        train_ratio: steps that are trained on per step in the environment.
        learning_rate: of LaProp.
        warmup: gradient steps over which it rises from 0.
        agc: bound on a gradient's norm relative to its weight's.
        replay_size: steps the replay holds; pages that were never written take no memory.
        learning_starts: environment steps before the first gradient step.
        updates: gradient steps of an offline ``fit``.
        checkpoint_every: environment steps between resumable checkpoints of ``learn``, where it
            is given a folder; between gradient steps of ``fit`` likewise.
        log_every: environment steps between logs.
        seed: of weights, batches, latents and actions.
        threads: CPU threads while training; 0 leaves torch's setting.
        compile: compile the steps of the recurrent model and the networks around it with
            ``torch.compile``, for a GPU; the first gradient step then takes minutes.
    """

    batch_size: int = 16
    sequence_length: int = 64
    train_ratio: float = 256.0
    learning_rate: float = 4e-5
    warmup: int = 1000
    agc: float = 0.3
    replay_size: int = 500_000
    learning_starts: int = 1024
    updates: int = 10_000
    checkpoint_every: int = 10_000
    log_every: int = 1000
    seed: int = 0
    threads: int = 0
    compile: bool = False

    def __post_init__(self) -> None:
        if min(self.batch_size, self.log_every, self.checkpoint_every) < 1:
            raise ValueError("batch_size, log_every and checkpoint_every must be at least 1")
        if self.sequence_length < 2:
            raise ValueError(f"sequence_length must be at least 2, got {self.sequence_length}")

    @property
    def updates_per_step(self) -> float:
        """Gradient steps for each step in the environment."""
        return self.train_ratio / (self.batch_size * self.sequence_length)


class DreamerTrainer:
    """Gradient steps on world model, actor and critic together.

    Args:
        config: settings.
        model, behaviour: trained in place.
        seed: of batches and latents.
    """

    def __init__(
        self, config: DreamerTrainingConfig, model: DreamerV3, behaviour: Behaviour, *, seed: int
    ) -> None:
        self.config, self.model, self.behaviour = config, model, behaviour
        self.parts = nn.ModuleDict({"model": model, "behaviour": behaviour})
        self.parameters = [p for p in self.parts.parameters() if p.requires_grad]
        self.optimizer = LaProp(
            self.parameters, config.learning_rate, agc=config.agc, warmup=config.warmup
        )
        self.device = self.parameters[0].device
        # Noise is drawn where it is used; batches on the CPU, where the replay is.
        self.latents = torch.Generator(self.device).manual_seed(seed)
        self.batches = torch.Generator().manual_seed(seed)
        self.updates = 0
        self.compiled = CompiledParts((model, behaviour), enabled=config.compile)

    def update(self, replay: Replay) -> dict[str, Tensor]:
        """One gradient step on a batch of the replay; returns what to log.

        Raises:
            FloatingPointError: when the gradient is not finite.
        """
        batch, state, place = replay.sample(self.config.batch_size, self.batches)
        if self.device.type != "cpu":
            batch, state = batch.to(self.device), tree_map(lambda x: x.to(self.device), state)
        with self.compiled:
            learned = self.model.learn_from(batch, state, generator=self.latents)
            loss, metrics = self.behaviour.loss(self.model, learned, batch, generator=self.latents)
        total = learned.loss + loss
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        grads = [p.grad for p in self.parameters if p.grad is not None]
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(grads)))
        if not torch.isfinite(norm):
            raise FloatingPointError(f"the gradient is not finite at update {self.updates}")
        self.optimizer.step()
        self.behaviour.update_slow()
        replay.remember(place, learned.states)
        self.updates += 1
        return {**learned.metrics, **metrics, "gradient_norm": norm}

    def tensors(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything that training goes on from, as tensors and plain values."""
        moments, groups = pack_optimizer(self.optimizer)
        tensors = {f"weights/{k}": v for k, v in self.parts.state_dict().items()}
        tensors |= {f"optimizer/{k}": v for k, v in moments.items()}
        tensors |= {
            "generator/latents": self.latents.get_state(),
            "generator/batches": self.batches.get_state(),
        }
        return tensors, {"optimizer": groups, "updates": self.updates}

    def restore(self, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
        """Take back what `tensors` gave."""

        def under(prefix: str) -> dict[str, Tensor]:
            return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}

        self.parts.load_state_dict(under("weights/"))
        unpack_optimizer(self.optimizer, under("optimizer/"), meta["optimizer"])
        self.latents.set_state(tensors["generator/latents"])
        self.batches.set_state(tensors["generator/batches"])
        self.updates = int(meta["updates"])


__all__ = ["DreamerTrainer", "DreamerTrainingConfig"]
