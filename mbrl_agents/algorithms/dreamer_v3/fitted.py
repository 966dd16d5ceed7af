"""DreamerV3's world model fitted to recorded episodes, for planners."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mbrl_agents.algorithms.dreamer_v3.learning import extras_of, extras_spec, state_of
from mbrl_agents.algorithms.dreamer_v3.model import DreamerV3Model
from mbrl_agents.algorithms.dreamer_v3.prior import ImaginedPrior
from mbrl_agents.algorithms.dreamer_v3.prior_fit import ImaginedPriorFit
from mbrl_agents.algorithms.fitted import FittedModel
from mbrl_agents.data.buffer import SequenceBuffer
from mbrl_agents.data.extras import ExtrasStore
from mbrl_agents.data.recorded import RecordedEpisodes, draw_from
from mbrl_agents.nn.sharing import mine, sharing, whole
from mbrl_agents.protocols import ActionPrior, Metrics, Phase, tree_map
from mbrl_agents.training.checkpoints import under
from mbrl_agents.training.compiling import CompiledParts
from mbrl_agents.training.fit import TOKENS, FitPhase, FitSettings

HELD_OUT_EPISODES = 16
"""As many are looked at: with images, each costs as much as some gradient steps."""

ENCODED_AT_ONCE = 256
"""Observations."""

STATISTICS_STEPS = 2000
"""Recorded steps that statistics are taken from at most: each may carry an image."""


class SequenceFit(FitPhase):
    """Fits the world model to sequences that run across episodes.

    Each sequence goes on from the latents that training computed when it last passed there.
    """

    def __init__(self, model: DreamerV3Model, settings: FitSettings, *, seed: int) -> None:
        super().__init__(
            "world_model",
            settings.schedule(settings.model_steps),
            model,
            settings,
            seed=seed,
            learning_rate=settings.learning_rate,
            optimizer=settings.optimizer,
            keep_best=settings.keep_best,
        )
        self.model = model
        self.compiled = CompiledParts([model], enabled=settings.compile)
        self.refit_rate = settings.refit_learning_rate
        self._carried: ExtrasStore | None = None
        self._restored: dict[str, Tensor] = {}
        self._encoded: dict[int, RecordedEpisodes] = {}
        self._recorded = torch.empty(
            0, 0
        )  # tokens of recorded episodes, which refits have in common

    def prepare(self, data: RecordedEpisodes, *, refit: bool) -> None:
        self._carried, self._encoded = None, {}
        if refit:
            return
        self._recorded = torch.empty(0, 0)
        generator = torch.Generator().manual_seed(self.seed)
        draw = torch.randperm(len(data), generator=generator)[:STATISTICS_STEPS]
        self.model.fit_statistics(data.windows(data.steps[draw], 1, 0).to(self.device))

    def compute_loss(
        self, data: RecordedEpisodes, generator: torch.Generator
    ) -> tuple[Tensor, Metrics]:
        length = min(self.settings.sequence_length, data.rows)
        count = data.starts(length)
        own = self.settings.own_share if self.refit else 0.0
        size = self.settings.batch_size
        starts = draw_from(count, min(data.own_from, count), size, generator, own).numpy()
        carried = self._carry(data)
        before = carried.read(0, starts - 1)
        before["known"] &= torch.from_numpy(starts > 0)
        state = tree_map(lambda x: x.to(self.device), state_of(before, self.model))
        batch = self._read(data).sequences(starts, length).to(self.device)
        with sharing(), self.compiled:
            output = self.model.compute_loss(
                mine(batch), tree_map(mine, state), generator=generator
            )
            states = tree_map(whole, output.states)
        index = torch.from_numpy(starts)[:, None] + torch.arange(length)
        carried.write(0, index.numpy(), extras_of(states))
        return output.loss, output.metrics

    def end(self, buffer: SequenceBuffer) -> dict[str, float]:
        found = super().end(buffer)
        self._carried, self._encoded = None, {}
        return found

    def held_out(self, data: RecordedEpisodes) -> dict[str, float]:
        # Whole episodes: what is difficult, a grasp, say, does not happen at their beginning.
        sums: dict[str, float] = {}
        every = torch.arange(len(data.first))[:HELD_OUT_EPISODES]
        for episodes in every.split(8):
            output = self.model.compute_loss(
                self._read(data, held_out=True).whole(episodes).to(self.device)
            )
            for name, value in output.metrics.items():
                share = len(episodes) / len(every)
                sums[name] = sums.get(name, 0.0) + float(value) * share
        return sums

    def _read(self, data: RecordedEpisodes, *, held_out: bool = False) -> RecordedEpisodes:
        """The episodes, as the encoder read them where it stays as it is."""
        if not self.refit or self.settings.refit_encoder:
            return data
        if id(data) not in self._encoded:
            own = 0 if held_out else data.own_from
            if not held_out and len(self._recorded) != own:
                self._recorded = self._tokens(data, 0, own)
            tokens = self._tokens(data, own, data.rows)
            if own:
                tokens = torch.cat([self._recorded, tokens])
            every = torch.arange(data.rows)
            same = {key: data.obs[key][every] for key in self.model.context}
            self._encoded[id(data)] = data.showing({**same, TOKENS: tokens})
        return self._encoded[id(data)]

    def _tokens(self, data: RecordedEpisodes, start: int, stop: int) -> Tensor:
        """``(stop - start, E)`` of rows."""
        if start == stop:
            return torch.empty(0, self.model.encoder.token_size)
        found = [
            self.model.encode(
                {key: value[rows].to(self.device) for key, value in data.obs.items()}
            ).cpu()
            for rows in torch.arange(start, stop).split(ENCODED_AT_ONCE)
        ]
        return torch.cat(found)

    def _carry(self, data: RecordedEpisodes) -> ExtrasStore:
        if self._carried is None:
            self._carried = ExtrasStore(extras_spec(self.model), 1, data.rows)
            self._carried.restore(self._restored)
            self._restored = {}
        return self._carried

    def tensors(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors, meta = super().tensors()
        carried = {} if self._carried is None else self._carried.tensors()
        return tensors | {f"carried/{name}": value for name, value in carried.items()}, meta

    def restore(self, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
        super().restore(tensors, meta)
        self._carried, self._restored = None, under(tensors, "carried/")


class FittedDreamerV3(FittedModel):
    """Plans over the latents of a `DreamerV3Model` fitted to episodes.

    With a section "actor" the search starts from an actor learned in imagination instead of a
    cloned policy.
    """

    model_class = DreamerV3Model

    def model_phase(self, settings: FitSettings) -> Phase:
        return SequenceFit(self.world_model, settings, seed=self.seed)

    def build_prior(
        self, settings: FitSettings, generator: torch.Generator
    ) -> tuple[ActionPrior, Phase] | None:
        if "actor" not in self.sections:
            return super().build_prior(settings, generator)
        model = self.world_model
        prior = ImaginedPrior(
            self.sections["actor"],
            model.feature_size,
            model.action_size,
            discrete=model.actions.discrete,
            generator=generator,
        )
        self.modules["policy"] = prior
        self.value = prior.value
        imagination = self.sections["imagination"]
        return prior, ImaginedPriorFit(prior, model, settings, imagination, seed=self.seed)


__all__ = ["FittedDreamerV3", "SequenceFit"]
