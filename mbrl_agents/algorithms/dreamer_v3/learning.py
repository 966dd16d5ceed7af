"""Training DreamerV3: one optimiser over world model, actor and critic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from mbrl_agents.algorithms.dreamer_v3.actor_critic import ActorCritic
from mbrl_agents.algorithms.dreamer_v3.model import DreamerV3Model
from mbrl_agents.algorithms.dreamer_v3.rssm import State
from mbrl_agents.data.buffer import SequenceBuffer
from mbrl_agents.data.extras import KNOWN
from mbrl_agents.nn.laprop import LaProp
from mbrl_agents.nn.sharing import mine, sharing, whole
from mbrl_agents.protocols import Metrics, Schedule, tree_map
from mbrl_agents.training.compiling import CompiledParts
from mbrl_agents.training.phase import ModulePhase
from mbrl_agents.training.settings import TrainingSettings


@dataclass(frozen=True)
class DreamerV3TrainingConfig(TrainingSettings):
    """Settings of training; the defaults are DreamerV3's where it has one for all tasks.

    Attributes:
        batch_size, sequence_length: of a gradient step.
        train_ratio: steps that are trained on per step in the environment.
        learning_rate: of LaProp.
        warmup: gradient steps over which it rises from 0.
        agc: bound on a gradient's norm relative to its weight's.
        learning_starts: environment steps before the first gradient step.
        updates: gradient steps of an offline ``fit``.
    """

    batch_size: int = 16
    sequence_length: int = 64
    train_ratio: float = 256.0
    learning_rate: float = 4e-5
    warmup: int = 1000
    agc: float = 0.3
    learning_starts: int = 1024
    updates: int = 10_000

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sequence_length < 2:
            raise ValueError(f"sequence_length must be at least 2, got {self.sequence_length}")
        if min(self.train_ratio, self.warmup, self.agc, self.learning_starts) < 0:
            raise ValueError("train_ratio, warmup, agc and learning_starts must not be negative")
        if self.updates < 1:
            raise ValueError(f"updates must be at least 1, got {self.updates}")

    @property
    def schedule(self) -> Schedule:
        """When gradient steps are due."""
        per_step = self.train_ratio / (self.batch_size * self.sequence_length)
        return Schedule(self.updates, start=self.learning_starts, per_turn=per_step)


class DreamerV3Phase(ModulePhase):
    """Gradient steps on world model, actor and critic together.

    A sequence goes on from the latents of the step before it, and new ones are given out first, as
    the authors have it since 2024.

    Args:
        settings: of training.
        model, actor_critic: trained in place.
        seed: of batches and latents.
    """

    def __init__(
        self,
        settings: DreamerV3TrainingConfig,
        model: DreamerV3Model,
        actor_critic: ActorCritic,
        *,
        seed: int,
    ) -> None:
        modules = {"world_model": model, "actor_critic": actor_critic}
        super().__init__(
            "dreamer", settings.schedule, modules, seed=seed, length=settings.sequence_length
        )
        self.settings, self.model, self.actor_critic = settings, model, actor_critic
        self.parameters = [p for m in modules.values() for p in m.parameters() if p.requires_grad]
        optimizer = LaProp(
            self.parameters, settings.learning_rate, agc=settings.agc, warmup=settings.warmup
        )
        self.optimizers = {"all": optimizer}
        self.compiled = CompiledParts((model, actor_critic), enabled=settings.compile)

    def update(self, buffer: SequenceBuffer) -> Metrics:
        sample = buffer.sample(self.settings.batch_size, self.length, self.batches, fresh=True)
        device, generator = self.device, self.drawing()
        batch = sample.batch.to(device)
        state = tree_map(lambda x: x.to(device), state_of(sample.before, self.model))
        with sharing(), self.compiled:
            batch, state = mine(batch), tree_map(mine, state)
            output = self.model.compute_loss(batch, state, generator=generator)
            states = tree_map(whole, output.states)
            loss, metrics = self.actor_critic.compute_loss(
                self.model, output, batch, generator=generator
            )
        norm = self.step("all", output.loss + loss, self.parameters, float("inf"))
        self.actor_critic.update_slow()
        buffer.remember(sample.place, extras_of(states))
        self.updates += 1
        return {**output.metrics, **metrics, "gradient_norm": norm}


def extras_spec(model: DreamerV3Model) -> dict[str, tuple[tuple[int, ...], type]]:
    """What is stored of a state: recurrent units, which lie in (-1, 1), in half precision, and
    class numbers; ``2 * deter + stoch`` bytes, a tenth of an image of 64 x 64."""
    rssm = model.rssm
    return {"deter": ((rssm.deter,), np.float16), "stoch": ((rssm.stoch,), np.uint8)}


def extras_of(state: State) -> dict[str, Tensor]:
    """A state ``(..., )`` in that form."""
    return {"deter": state["deter"], "stoch": state["stoch"].argmax(-1)}


def state_of(extras: Mapping[str, Tensor], model: DreamerV3Model) -> State:
    """The state behind `extras_of`; zeros where none was stored."""
    known = extras[KNOWN]
    stoch = F.one_hot(extras["stoch"].long(), model.rssm.classes).float()
    return {
        "deter": extras["deter"].float() * known[..., None],
        "stoch": stoch * known[..., None, None],
    }


__all__ = ["DreamerV3Phase", "DreamerV3TrainingConfig", "extras_of", "extras_spec", "state_of"]
