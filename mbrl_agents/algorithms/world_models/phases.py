"""The first four phases: random rollouts, V, encoding, M."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from mbrl_agents.algorithms.world_models.config import WorldModelsTrainingConfig
from mbrl_agents.algorithms.world_models.model import Series, WorldModelsModel
from mbrl_agents.algorithms.world_models.rollouts import (
    RandomEpisode,
    random_episode,
    seed_of,
)
from mbrl_agents.protocols import Metrics, Rollouts, Schedule
from mbrl_agents.training.phase import ModulePhase

if TYPE_CHECKING:
    from mbrl_agents.data.buffer import SequenceBuffer

ENCODED_AT_ONCE = 64
"""Images, so that encoding takes little memory."""

STARTS = 1000
"""Most first observations that are kept for dreams."""


class RolloutPhase:
    """Random episodes in environments of the phase's own, recorded into the buffer.

    An episode is decided by the seed and its number, so that neither interruptions nor the number
    of processes change what is recorded.

    Args:
        config: settings of training.
        seed: of the episodes.
    """

    name, needs_labels, gathers = "rollouts", False, True

    def __init__(self, config: WorldModelsTrainingConfig, *, seed: int) -> None:
        self.config, self.seed = config, seed
        self.schedule = Schedule(
            updates=-(-config.rollouts // config.rollout_batch), log_every=1, checkpoint_every=5
        )
        self.rollouts: Rollouts | None = None
        self.played = self.env_steps = 0

    def use(self, rollouts: Rollouts | None) -> None:
        self.rollouts = rollouts

    def ready(self, buffer: SequenceBuffer) -> bool:
        return self.rollouts is not None

    def begin(self, buffer: SequenceBuffer, updates: int, *, seed: int, refit: bool) -> None:
        """Recorded episodes count among those wanted."""
        self.played = min(len(buffer.episodes_given), self.config.rollouts)

    def update(self, buffer: SequenceBuffer) -> Metrics:
        """A batch of episodes; nothing once there are enough."""
        config, returns, lengths = self.config, [], []
        last = min(self.played + config.rollout_batch, config.rollouts)
        jobs = [
            RandomEpisode(seed_of(self.seed, 3, number), config.correlation, config.rollout_steps)
            for number in range(self.played, last)
        ]
        if jobs:
            if self.rollouts is None:
                raise ValueError(
                    "random rollouts need an environment: make the agent with one, or give "
                    f"{config.rollouts} recorded episodes to fit"
                )
            for episode in self.rollouts.run(random_episode, jobs):
                buffer.add_episode(episode)
                self.env_steps += len(episode)
                returns.append(float(episode.rewards.sum()))
                lengths.append(len(episode))
        self.played = last
        if not returns:
            return {}
        return {"return": torch.tensor(np.mean(returns)), "length": torch.tensor(np.mean(lengths))}

    def evaluate(self, buffer: SequenceBuffer) -> dict[str, float]:
        return {}

    def end(self, buffer: SequenceBuffer) -> dict[str, float]:
        return {}

    def tensors(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return {}, {"played": self.played, "env_steps": self.env_steps}

    def restore(self, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
        self.played, self.env_steps = int(meta["played"]), int(meta["env_steps"])


class VisionPhase(ModulePhase):
    """V on single images drawn uniformly from all that were recorded.

    Args:
        config: settings of training.
        model: its V is trained in place.
        seed: of batches and latents.
    """

    def __init__(
        self, config: WorldModelsTrainingConfig, model: WorldModelsModel, *, seed: int
    ) -> None:
        schedule = Schedule(
            config.vision_updates,
            config.random_steps,
            config.learn_every,
            config.learn_vision,
            config.vision_updates,
        )
        super().__init__("vision", schedule, {"vision": model.vision}, seed=seed)
        self.config, self.model = config, model
        self.optimizers = {
            "vision": torch.optim.Adam(model.vision.parameters(), config.learning_rate)
        }

    def update(self, buffer: SequenceBuffer) -> Metrics:
        sample = buffer.sample(self.config.batch_size, 1, self.batches)
        obs = {key: sample.batch.obs[key][:, 0].to(self.device) for key in self.model.layout.images}
        images = self.model.layout.stacked_images(obs)
        noise = torch.randn(
            (len(images), self.model.config.latent), generator=self.drawing(), device=self.device
        )
        error, kl = self.model.vision.losses(images, noise, self.model.config.free_nats)
        loss = (error + kl).mean()
        norm = self.step("vision", loss, self.model.vision.parameters(), float("inf"))
        self.updates += 1
        return {
            "loss": loss.detach(),
            "reconstruction": error.mean().detach(),
            "kl": kl.mean().detach(),
            "gradient_norm": norm,
        }


class EncodePhase:
    """Latents of everything recorded, for M: a Gaussian per observation, in half precision.

    Args:
        config: settings of training.
        model: encodes.
    """

    name, needs_labels = "encode", False

    def __init__(self, config: WorldModelsTrainingConfig, model: WorldModelsModel) -> None:
        self.model, parts = model, config.encode_parts
        self.schedule = Schedule(
            parts, config.random_steps, config.learn_every, parts, parts, log_every=parts
        )
        self.parts = self.done = 0
        self._encoded: list[dict[str, Tensor]] = []

    @property
    def rows(self) -> dict[str, Tensor]:
        """Everything encoded so far, ``(N, ...)`` by name; empty before."""
        if len(self._encoded) > 1:
            self._encoded = [
                {
                    name: torch.cat([part[name] for part in self._encoded])
                    for name in self._encoded[0]
                }
            ]
        return self._encoded[0] if self._encoded else {}

    def ready(self, buffer: SequenceBuffer) -> bool:
        return buffer.ready(2)

    def begin(self, buffer: SequenceBuffer, updates: int, *, seed: int, refit: bool) -> None:
        self.parts, self.done, self._encoded = updates, 0, []
        # What planners read of actions is known where all of them are.
        actions = buffer.sample(2000, 1, torch.Generator().manual_seed(seed)).batch
        self.model.actions.fit(actions.prev_action[~actions.is_first])

    @torch.no_grad()
    def update(self, buffer: SequenceBuffer) -> Metrics:
        rows, model = buffer.rows, self.model
        device = model.vision.mean.weight.device
        # Of more updates than there are parts the last are encoded again, to the same.
        part = min(self.done, self.parts - 1)
        start, stop = part * rows // self.parts, (part + 1) * rows // self.parts
        if self.done < self.parts:
            for first in range(start, stop, ENCODED_AT_ONCE):
                batch = buffer.rows_between(first, min(stop, first + ENCODED_AT_ONCE))
                obs = {key: batch.obs[key].to(device) for key in model.layout.images}
                mean, logvar = model.vision.encode(model.layout.stacked_images(obs))
                self._encoded.append(
                    {
                        "mean": mean.half().cpu(),
                        "logvar": logvar.half().cpu(),
                        "prev_action": batch.prev_action,
                        "reward": batch.reward,
                        "is_first": batch.is_first,
                        "terminal": batch.terminal,
                    }
                )
        self.done += 1
        return {"rows": torch.tensor(float(stop))}

    def evaluate(self, buffer: SequenceBuffer) -> dict[str, float]:
        return {}

    def end(self, buffer: SequenceBuffer) -> dict[str, float]:
        return {}

    def forget(self) -> None:
        """Let go of what was encoded: checkpoints need not carry it any further."""
        self._encoded = []

    def starts(self) -> tuple[Tensor, Tensor]:
        """Mean and logvar ``(N, latent)`` of first observations, `STARTS` at most."""
        first = self.rows["is_first"].nonzero()[:STARTS, 0]
        return self.rows["mean"][first].float(), self.rows["logvar"][first].float()

    def tensors(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return dict(self.rows), {"parts": self.parts, "done": self.done}

    def restore(self, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
        self._encoded = [dict(tensors)] if tensors else []
        self.parts, self.done = int(meta["parts"]), int(meta["done"])


class MemoryPhase(ModulePhase):
    """M on encoded stretches of episodes, whose latents are drawn anew for every batch.

    Args:
        config: settings of training.
        model: its M is trained in place.
        encoded: what to learn from.
        seed: of batches and latents.

    Attributes:
        starts: mean and logvar ``(N, latent)`` of where dreams may begin.
    """

    def __init__(
        self,
        config: WorldModelsTrainingConfig,
        model: WorldModelsModel,
        encoded: EncodePhase,
        *,
        seed: int,
    ) -> None:
        schedule = Schedule(
            config.memory_updates,
            config.random_steps,
            config.learn_every,
            config.learn_memory,
            config.memory_updates,
        )
        super().__init__("memory", schedule, {"memory": model.memory}, seed=seed)
        self.config, self.model, self.encoded = config, model, encoded
        self.starts = (torch.zeros(1, model.config.latent), torch.zeros(1, model.config.latent))
        self._places: tuple[int, Tensor, Tensor] | None = None
        trained = [p for p in model.memory.parameters() if p.requires_grad]
        self.optimizers = {"memory": torch.optim.Adam(trained, config.memory_learning_rate)}

    def ready(self, buffer: SequenceBuffer) -> bool:
        return buffer.ready(2)

    def begin(self, buffer: SequenceBuffer, updates: int, *, seed: int, refit: bool) -> None:
        self.starts = self.encoded.starts()

    def update(self, buffer: SequenceBuffer) -> Metrics:
        series = self.draw(self.config.memory_batch_size)
        loss, metrics = self.model.memory_loss(series, self.drawing())
        trained = [p for p in self.model.memory.parameters() if p.requires_grad]
        if self.config.clip_by == "value":
            norm = self._step_by_value(loss, trained)
        else:
            norm = self.step("memory", loss, trained, self.config.clip)
        self.updates += 1
        return {**metrics, "gradient_norm": norm}

    def _step_by_value(self, loss: Tensor, trained: Sequence[Tensor]) -> Tensor:
        """As `step`, with every entry of the gradient within ``clip``."""
        bound = self.config.clip
        hooks = [p.register_hook(lambda grad: grad.clamp(-bound, bound)) for p in trained]
        try:
            return self.step("memory", loss, trained, float("inf"))
        finally:
            for hook in hooks:
                hook.remove()

    def draw(self, size: int) -> Series:
        """``size`` stretches within episodes, uniformly from all places where one may begin."""
        rows, length = self.encoded.rows, self.config.sequence_length
        count = len(rows["reward"])
        if self._places is None or self._places[0] != count:
            self._places = (count, *_places(rows["is_first"], length))
        _, begins, ends = self._places
        chosen = torch.randint(len(begins), (size,), generator=self.batches)
        first, end = begins[chosen], ends[chosen]
        wanted = first[:, None] + torch.arange(length + 1)
        mask = wanted[:, 1:] < end[:, None]
        index = torch.minimum(wanted, end[:, None] - 1)
        taken = {name: value[index].to(self.device) for name, value in rows.items()}
        return Series(
            mean=taken["mean"].float(),
            logvar=taken["logvar"].float(),
            action=taken["prev_action"][:, 1:],
            reward=taken["reward"][:, 1:],
            end=taken["terminal"][:, 1:],
            mask=mask.to(self.device),
        )

    def end(self, buffer: SequenceBuffer) -> dict[str, float]:
        self.encoded.forget()
        self._places = None
        return {}

    def tensors(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors, meta = super().tensors()
        return {**tensors, "starts/mean": self.starts[0], "starts/logvar": self.starts[1]}, meta

    def restore(self, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
        super().restore(tensors, meta)
        self.starts = (tensors["starts/mean"], tensors["starts/logvar"])


def _places(is_first: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """Rows at which stretches of ``length`` transitions may begin, and where their episodes end.

    An episode that is shorter has one stretch, of all of it.
    """
    firsts = is_first.nonzero()[:, 0].tolist()
    if not firsts or firsts[0] != 0:
        firsts = [0, *firsts]
    begins, ends = [], []
    for first, end in zip(firsts, [*firsts[1:], len(is_first)], strict=True):
        if end - first < 2:
            continue
        count = max(1, end - first - length)
        begins.append(torch.arange(first, first + count))
        ends.append(torch.full((count,), end))
    if not begins:
        raise ValueError("no episode of two observations or more was encoded")
    return torch.cat(begins), torch.cat(ends)


__all__ = ["EncodePhase", "MemoryPhase", "RolloutPhase", "VisionPhase"]
