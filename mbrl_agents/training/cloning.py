"""Cloning a demonstrator's actions on the features of a world model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from mbrl_agents.data.buffer import SequenceBuffer
from mbrl_agents.data.recorded import RecordedEpisodes
from mbrl_agents.nn.sharing import mine, sharing
from mbrl_agents.policies.cloned import ClonedPolicy
from mbrl_agents.protocols import Metrics, Observation, WorldModel
from mbrl_agents.training.filtering import AT_ONCE, filtered
from mbrl_agents.training.fit import FitPhase, FitSettings


@runtime_checkable
class Augmenting(Protocol):
    """A world model that is trained on observations changed at random."""

    def augmented(self, obs: Observation, generator: torch.Generator) -> Observation:
        """Observations ``(B, T, ...)``, changed as in training."""
        ...


class CloneFit(FitPhase):
    """Fits a policy to the labels of recorded steps, on the features of a fitted world model.

    Args:
        policy: trained in place.
        model: filters the episodes; stays as it is.
        settings: of training.
        seed: of batches.
    """

    needs_labels = True

    def __init__(
        self, policy: ClonedPolicy, model: WorldModel[Any], settings: FitSettings, *, seed: int
    ) -> None:
        rate = settings.policy_learning_rate
        super().__init__(
            "policy",
            settings.schedule(settings.policy_steps),
            policy,
            settings,
            seed=seed,
            learning_rate=settings.learning_rate if rate is None else rate,
            keep_best=settings.keep_best,
        )
        # The std grows too sure of itself long before the mean is as good as it gets.
        self.best_by = {"": "loss" if policy.discrete else "mean"}
        self._forget_best()
        self.policy, self.model = policy, model
        self._encoded: dict[int, tuple[Tensor, Tensor]] = {}

    def prepare(self, data: RecordedEpisodes, *, refit: bool) -> None:
        self._encoded = {}
        if not refit:
            self.policy.fit_statistics(data.labels.to(self.device))

    def begin(self, buffer: SequenceBuffer, updates: int, *, seed: int, refit: bool) -> None:
        super().begin(buffer, updates, seed=seed + 1, refit=refit)

    def end(self, buffer: SequenceBuffer) -> dict[str, float]:
        found = super().end(buffer)
        self._encoded = {}
        return found

    def compute_loss(
        self, data: RecordedEpisodes, generator: torch.Generator
    ) -> tuple[Tensor, Metrics]:
        features, labels = self._pairs(data, self.settings.policy_views)
        size = self.settings.policy_batch_size
        draw = torch.randint(len(labels), (size,), generator=generator).to(labels.device)
        with sharing():
            rows = mine(draw)
            return self.policy.compute_loss(features[rows], labels[rows], generator=generator)

    def held_out(self, data: RecordedEpisodes) -> dict[str, float]:
        pairs = self._pairs(data, 1)
        if not len(pairs[1]):
            return {}
        _, metrics = self.policy.compute_loss(*pairs)
        return {k: float(v) for k, v in metrics.items()} | self.policy.diagnose(*pairs)

    def _pairs(self, data: RecordedEpisodes, views: int) -> tuple[Tensor, Tensor]:
        if id(data) not in self._encoded:
            # A seed of their own: a turn that goes on after a kill encodes the same again.
            generator = torch.Generator().manual_seed(self.seed)
            found = [encode(self.model, data, self.device)]
            found += [
                encode(self.model, data, self.device, generator=generator) for _ in range(views - 1)
            ]
            features, labels = zip(*found, strict=True)
            self._encoded[id(data)] = torch.cat(features), torch.cat(labels)
        return self._encoded[id(data)]


@torch.no_grad()
def encode(
    model: WorldModel[Any],
    data: RecordedEpisodes,
    device: torch.device | str = "cpu",
    *,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Features ``(N, F)`` and labels ``(N, A)`` of all labelled steps.

    The model filters each episode from its start, as it will when it acts.

    Args:
        generator: draws latents, and changes observations as in training; None takes the most
            likely latents of the observations as they are.
    """
    features, labels = [], []
    for episodes in torch.arange(len(data.first)).split(AT_ONCE):
        batch = data.whole(episodes).to(device)
        if generator is not None and isinstance(model, Augmenting):
            batch = replace(batch, obs=model.augmented(batch.obs, generator))
        states = filtered(model, batch, generator=generator)
        keep = batch.mask & batch.label.isfinite().all(-1)
        features.append(model.features(states)[keep])
        labels.append(batch.label[keep])
    return torch.cat(features), torch.cat(labels)


__all__ = ["CloneFit", "encode"]
