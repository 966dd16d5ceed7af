"""Fitting an action prior in imagination, from the latents of recorded episodes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mbrl_agents.algorithms.dreamer_v3.actor_critic import ActorCritic, ImaginationConfig
from mbrl_agents.algorithms.dreamer_v3.model import DreamerV3Model, ModelOutput
from mbrl_agents.algorithms.dreamer_v3.prior import ImaginedPrior
from mbrl_agents.algorithms.dreamer_v3.rssm import State
from mbrl_agents.data.buffer import SequenceBuffer
from mbrl_agents.data.recorded import RecordedEpisodes
from mbrl_agents.protocols import Metrics, tree_map
from mbrl_agents.training.checkpoints import under
from mbrl_agents.training.compiling import CompiledParts
from mbrl_agents.training.filtering import AT_ONCE, filtered
from mbrl_agents.training.fit import FitPhase, FitSettings

LENGTH = 16
"""Steps of the recorded sequences that imagination sets out from, and the critic learns from."""


class ImaginedPriorFit(FitPhase):
    """DreamerV3's actor-critic inside a fitted world model, which stays as it is.

    Imagination begins from the latents of recorded steps; the critic learns from imagined
    trajectories and from the recorded rewards.  Above 0, ``imitation_weight`` adds the negative
    log-likelihood of the demonstrators' labels, in nats: the actor then stays where demonstrations
    are, and the model knows its way.

    Held-out metrics: losses by name, ``return`` (imagined from the recorded states), and with
    imitation the ``likelihood`` (log-density of the labels, nats) and the mean absolute
    ``label_error``.

    Args:
        prior: trained in place.
        model: fitted.
        settings: of training.
        imagination: settings of imagination and its losses.
        seed: of batches.
    """

    def __init__(
        self,
        prior: ImaginedPrior,
        model: DreamerV3Model,
        settings: FitSettings,
        imagination: ImaginationConfig,
        *,
        seed: int,
    ) -> None:
        self.imitation = prior.config.imitation_weight
        self.model, self.prior = model, prior
        self.actor_critic = ActorCritic(imagination, prior.actor, prior.critic)
        rate = settings.policy_learning_rate
        super().__init__(
            "policy",
            settings.schedule(settings.policy_steps),
            self.actor_critic,
            settings,
            seed=seed,
            learning_rate=settings.learning_rate if rate is None else rate,
            optimizer="laprop",
            # The loss of an actor-critic says nothing about how good it is.
            keep_best=False,
        )
        self.needs_labels = self.imitation > 0
        self.compiled = CompiledParts([model, self.actor_critic], enabled=settings.compile)
        self._states: dict[int, State] = {}

    def begin(self, buffer: SequenceBuffer, updates: int, *, seed: int, refit: bool) -> None:
        self.actor_critic.to(self.device)
        super().begin(buffer, updates, seed=seed + 1, refit=refit)

    def prepare(self, data: RecordedEpisodes, *, refit: bool) -> None:
        self._states = {}
        # A turn has its own: the critic may have been loaded, and returns of another model scaled.
        self.actor_critic.slow_critic.load_state_dict(self.prior.critic.state_dict())
        self.actor_critic.scale.low.zero_()
        self.actor_critic.scale.high.zero_()

    def compute_loss(
        self, data: RecordedEpisodes, generator: torch.Generator
    ) -> tuple[Tensor, Metrics]:
        # At the start rather than after the step; at first it does nothing.
        self.actor_critic.update_slow()
        length = min(LENGTH, data.rows)
        size = max(1, self.settings.policy_batch_size // length)
        # What is imagined is drawn where it is used; the batch's generator decides it all.
        draws = torch.Generator(self.device)
        draws.manual_seed(int(torch.randint(2**31, (), generator=generator)))
        starts = torch.randint(data.starts(length), (size,), generator=generator)
        with self.compiled:
            return self._loss(data, starts, length, draws)

    def held_out(self, data: RecordedEpisodes) -> dict[str, float]:
        length = min(LENGTH, data.rows)
        size = max(1, self.settings.policy_batch_size // length)
        starts = torch.linspace(0, data.rows - length, min(size, data.starts(length))).long()
        scale = self.actor_critic.scale
        before = (scale.low.clone(), scale.high.clone())
        draws = torch.Generator(self.device).manual_seed(self.seed)
        _, metrics = self._loss(data, starts, length, draws)
        # A look must not change how returns are scaled.
        scale.low.copy_(before[0])
        scale.high.copy_(before[1])
        return {name: float(value) for name, value in metrics.items()}

    def tensors(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors, meta = super().tensors()
        own = self._own().state_dict().items()
        return tensors | {f"own/{name}": value for name, value in own}, meta

    def restore(self, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
        super().restore(tensors, meta)
        self._own().load_state_dict(under(tensors, "own/"))
        self.actor_critic.to(self.device)

    def _own(self) -> nn.Module:
        """What is trained along and is no part of the prior, which the algorithm saves."""
        parts = {"slow_critic": self.actor_critic.slow_critic, "scale": self.actor_critic.scale}
        return nn.ModuleDict(parts)

    def _loss(
        self, data: RecordedEpisodes, starts: Tensor, length: int, draws: torch.Generator
    ) -> tuple[Tensor, Metrics]:
        rows = starts[:, None] + torch.arange(length)
        found = self._encoded(data)
        states: State = tree_map(lambda x: x[rows].to(self.device), found)
        features = self.model.features(states)
        zero = torch.zeros((), device=self.device)
        output = ModelOutput(zero, {}, states, features)
        batch = data.at(rows).to(self.device)
        total, metrics = self.actor_critic.compute_loss(self.model, output, batch, generator=draws)
        if self.imitation:
            likelihood, shown = self._imitated(batch.label, features)
            total, metrics = total - self.imitation * likelihood, metrics | shown
        return total, metrics

    def _imitated(self, labels: Tensor, features: Tensor) -> tuple[Tensor, Metrics]:
        """Mean log-likelihood of the labels, 0 where there are none, and metrics."""
        shown = labels.isfinite().all(-1)
        label = torch.where(shown[..., None], labels, 0.0)
        count = shown.sum().clamp_min(1)
        found = self.prior.actor(features)
        likelihood = (found.log_prob(label) * shown).sum() / count
        error = ((found.mode - label).abs().mean(-1) * shown).sum() / count
        return likelihood, {"likelihood": likelihood.detach(), "label_error": error.detach()}

    def _encoded(self, data: RecordedEpisodes) -> State:
        if id(data) not in self._states:
            self._states[id(data)] = encode_states(self.model, data, self.device)
        return self._states[id(data)]


@torch.no_grad()
def encode_states(model: DreamerV3Model, data: RecordedEpisodes, device: Any = "cpu") -> State:
    """The model's state at every row of ``data``, leaves ``(rows, ...)``.

    Each episode is filtered from its start by the most likely latents, as when the model acts.
    """
    found = []
    for episodes in torch.arange(len(data.first)).split(AT_ONCE):
        batch = data.whole(episodes).to(device)
        states = filtered(model, batch)
        found.append(tree_map(lambda x, keep=batch.mask: x[keep], states))
    whole: State = tree_map(lambda *parts: torch.cat(parts), found[0], *found[1:])
    return whole


__all__ = ["ImaginedPriorFit", "encode_states"]
