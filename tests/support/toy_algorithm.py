"""An algorithm unlike ours: other modules, other extras, and a phase without gradients.

A memory of the episode predicts the reward; a policy on it is improved by trial and error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mbrl_agents.algorithms.latent import LatentAlgorithm
from mbrl_agents.protocols import Metrics, Schedule
from mbrl_agents.training.phase import ModulePhase
from mbrl_agents.training.settings import TrainingSettings

SIZE, LENGTH = 4, 5


@dataclass(frozen=True)
class ToyTraining(TrainingSettings):
    """Settings of both phases.

    Attributes:
        updates, generations: of an offline fit.
    """

    learning_rate: float = 1e-2
    batch_size: int = 4
    sequence_length: int = LENGTH
    log_every: int = 25
    checkpoint_every: int = 40
    random_steps: int = 10
    updates: int = 12
    generations: int = 7


class Memory(nn.Module):
    """Remembers an episode in ``(B, SIZE)``, and predicts the reward from that."""

    def __init__(self, observation: int, action_size: int, generator: torch.Generator) -> None:
        super().__init__()
        self.action_size, self.feature_size = action_size, SIZE

        def weights(*shape: int) -> nn.Parameter:
            return nn.Parameter(0.2 * torch.randn(shape, generator=generator))

        self.inner = weights(SIZE + observation + action_size, SIZE)
        self.reward = weights(SIZE)

    def initial(self, batch: int) -> Tensor:
        return torch.zeros(batch, SIZE)

    def observe(self, state, obs, prev_action, is_first, *, generator=None) -> Tensor:
        state = torch.where(is_first[:, None], 0.0, state)
        return torch.tanh(torch.cat([state, obs["pose"], prev_action], -1) @ self.inner)

    def features(self, state: Tensor) -> Tensor:
        return state


class Head(nn.Module):
    """What is done about a memory; never trained by gradients."""

    def __init__(self, action_size: int, generator: torch.Generator) -> None:
        super().__init__()
        self.register_buffer("weight", torch.randn(SIZE, action_size, generator=generator))

    def forward(self, features: Tensor) -> Tensor:
        return torch.tanh(features @ self.weight)


class Predict(ModulePhase):
    """Gradient steps on sequences that go on from the memory of the step before."""

    def __init__(self, settings: ToyTraining, memory: Memory, *, seed: int) -> None:
        schedule = Schedule(settings.updates, start=20, every=4)
        super().__init__("predict", schedule, {"memory": memory}, seed=seed, length=LENGTH)
        self.settings, self.memory = settings, memory
        self.optimizers = {"all": torch.optim.Adam(memory.parameters(), settings.learning_rate)}

    def update(self, buffer) -> Metrics:
        sample = buffer.sample(self.settings.batch_size, LENGTH, self.batches)
        known = sample.before["known"]
        state, batch, states = sample.before["memory"] * known[:, None], sample.batch, []
        for t in range(LENGTH):
            obs = {key: value[:, t] for key, value in batch.obs.items()}
            state = self.memory.observe(state, obs, batch.prev_action[:, t], batch.is_first[:, t])
            states.append(state)
        found = torch.stack(states, 1)
        loss = ((found @ self.memory.reward - batch.reward) ** 2).mean()
        self.step("all", loss, self.memory.parameters(), 10.0)
        buffer.remember(sample.place, {"memory": found.detach()})
        self.updates += 1
        return {"loss": loss.detach(), "known": known.float().mean()}


class Evolve:
    """Generations: a change of the head is kept where the memory thinks more of it."""

    name = "evolve"
    needs_labels = False

    def __init__(self, settings: ToyTraining, memory: Memory, head: Head, *, seed: int) -> None:
        self.schedule = Schedule(settings.generations, start=30, every=10, per_turn=0.75, first=2)
        self.memory, self.head = memory, head
        self.draws = torch.Generator().manual_seed(seed)
        self.direction = torch.zeros_like(head.weight)
        self.generations = 0

    def ready(self, buffer) -> bool:
        return buffer.ready(1)

    def begin(self, buffer, updates: int, *, seed: int, refit: bool) -> None:
        pass

    @torch.no_grad()
    def update(self, buffer) -> Metrics:
        batch = buffer.sample(8, 1, self.draws).batch[:, 0]
        drawn = torch.randn(self.head.weight.shape, generator=self.draws)
        direction = 0.5 * self.direction + 0.1 * drawn
        before = self._fitness(batch)
        self.head.weight += direction
        after = self._fitness(batch)
        better = after > before
        if not better:
            self.head.weight -= direction
        self.direction = direction if better else torch.zeros_like(direction)
        self.generations += 1
        return {"fitness": torch.maximum(before, after)}

    def _fitness(self, batch) -> Tensor:
        state = self.memory.observe(
            self.memory.initial(len(batch)), batch.obs, batch.prev_action, batch.is_first
        )
        later = self.memory.observe(
            state, batch.obs, self.head(state), torch.zeros_like(batch.is_first)
        )
        return (later @ self.memory.reward).mean()

    def evaluate(self, buffer) -> dict[str, float]:
        return {}

    def end(self, buffer) -> dict[str, float]:
        return {}

    def tensors(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors = {"draws": self.draws.get_state(), "direction": self.direction}
        return tensors, {"generations": self.generations}

    def restore(self, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
        self.draws.set_state(tensors["draws"])
        self.direction = tensors["direction"]
        self.generations = meta["generations"]


class ToyAlgorithm(LatentAlgorithm):
    """For observations ``pose`` and a Box of actions."""

    def __init__(self, sections, observation_space, action_space, *, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        actions = action_space.shape[0]
        memory = Memory(observation_space["pose"].shape[0], actions, generator)
        self.world_model: Any = memory
        self.head = Head(actions, generator)
        self.modules = {"memory": memory, "head": self.head}
        self.extras = {"memory": ((SIZE,), np.float32)}
        settings = sections["training"]
        self.phases = [
            Predict(settings, memory, seed=seed),
            Evolve(settings, memory, self.head, seed=seed),
        ]

    def choose(self, features: Tensor, explore: bool, generator: Any) -> Tensor:
        action = self.head(features)
        if explore:
            action = action + 0.3 * torch.randn(action.shape, generator=generator)
        return action

    def extras_of(self, carry: Tensor) -> Mapping[str, Tensor]:
        return {"memory": carry}
