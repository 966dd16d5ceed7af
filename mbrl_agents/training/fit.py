"""Fitting a module to recorded episodes: schedule, held-out data, the best weights kept."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from mbrl_agents.data.buffer import SequenceBuffer
from mbrl_agents.data.recorded import RecordedEpisodes
from mbrl_agents.nn.laprop import LaProp
from mbrl_agents.nn.sharing import mine, sharing
from mbrl_agents.protocols import Batch, Metrics, Observation, Schedule
from mbrl_agents.training.checkpoints import under
from mbrl_agents.training.phase import ModulePhase
from mbrl_agents.training.settings import TrainingSettings

STATISTICS_STEPS = 20_000
"""Recorded steps that a model's normalisers are set from at most."""

HELD_OUT_STEPS = 2048
"""As many are looked at, so that a look at held-out data stays cheap however much there is."""


@dataclass(frozen=True)
class FitSettings(TrainingSettings):
    """Settings of fitting a world model, and then a policy, to episodes.

    Attributes:
        model_steps, policy_steps: gradient steps of a fit from scratch.
        batch_size: sequences per gradient step of the world model.
        policy_batch_size: steps of demonstration per gradient step of the policy.
        policy_views: how often each recorded episode is encoded for cloning: once as it is, and
            further times with drawn latents and, where the model has it, with its augmentation,
            so that the policy is not fitted to what a model that knows the episode by heart makes
            of it.
        clone_successes: whether refits in ``learn`` clone the agent's own successful episodes too,
            with the actions that were executed as labels: what a planner found beside its policy
            becomes the policy's, which the planner starts from.
        sequence_length: ``T``, one step of context included; the model unrolls the rest.
        optimizer: of the world model, "adamw" or "laprop"; policies are fitted with AdamW.
        learning_rate: of the world model, peak; cosine to a twentieth of it, after a short
            warm-up.
        policy_learning_rate: likewise of the policy; None for the same.
        weight_decay: of AdamW.
        clip: bound on the gradient's norm; LaProp has its own.
        log_every: gradient steps between looks at held-out data, and logs.
        keep_best: return the weights with the least held-out loss instead of the last.
        round_steps: environment steps between refits in ``learn``.
        refit_steps: gradient steps of each refit in ``learn``.
        refit_learning_rate: peak rate of the world model in refits; None for ``learning_rate``.
        refit_encoder: whether refits train what reads and draws observations; without, a model that
            can tell them apart (`training.fit.Encoding`) reads each once, and a gradient step on
            images takes a fraction of the time.
        own_share: share of a refit's sequences that come from own experience; the others are drawn
            from everything.  Where few episodes of one's own stand beside many recorded ones, the
            model sees its own errors seldom.
    """

    model_steps: int = 3000
    policy_steps: int = 4000
    batch_size: int = 256
    policy_batch_size: int = 512
    policy_views: int = 1
    clone_successes: bool = False
    sequence_length: int = 6
    optimizer: str = "adamw"
    learning_rate: float = 1e-3
    policy_learning_rate: float | None = None
    weight_decay: float = 1e-4
    clip: float = 10.0
    holdout: float = 0.1
    log_every: int = 250
    checkpoint_every: int = 1000
    keep_best: bool = True
    random_steps: int = 1000
    round_steps: int = 1000
    refit_steps: int = 500
    refit_learning_rate: float | None = None
    refit_encoder: bool = True
    own_share: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sequence_length < 2:
            raise ValueError(f"sequence_length must be at least 2, got {self.sequence_length}")
        if self.optimizer not in ("adamw", "laprop"):
            raise ValueError(f"optimizer must be 'adamw' or 'laprop', got {self.optimizer!r}")
        for name in (
            "model_steps", "policy_steps", "batch_size", "policy_batch_size", "policy_views",
            "round_steps", "refit_steps",
        ):  # fmt: skip
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0.0 <= self.own_share <= 1.0:
            raise ValueError(f"own_share must lie in [0, 1], got {self.own_share}")
        rate = self.refit_learning_rate
        if rate is not None and rate <= 0.0:
            raise ValueError(f"refit_learning_rate must be positive, got {rate}")

    def schedule(self, updates: int) -> Schedule:
        """Of a phase that takes ``updates`` gradient steps from scratch."""
        return Schedule(updates, self.random_steps, self.round_steps, self.refit_steps, updates)


class FitPhase(ModulePhase):
    """Gradient steps on one module, a turn of which is a fit with a schedule of its own.

    The learning rate rises over the first steps of a turn and falls by a cosine to a twentieth.
    With held-out data the best weights are kept: of each part of the module in ``best_by`` by its
    own metric, since a head that begins to overfit must not stop the rest.

    A subclass writes `compute_loss` and, for held-out metrics, `held_out`.

    Args:
        name, schedule, seed: see `ModulePhase`.
        module: trained in place; in eval mode between turns.
        settings: of training.
        learning_rate: peak.
        optimizer: "adamw" or "laprop".
        keep_best: whether the best weights on held-out data are returned.
    """

    best_by: Mapping[str, str] = {"": "loss"}
    """Prefix of weights: held-out metric by which the best of them are kept."""

    def __init__(
        self,
        name: str,
        schedule: Schedule,
        module: nn.Module,
        settings: FitSettings,
        *,
        seed: int,
        learning_rate: float,
        optimizer: str = "adamw",
        keep_best: bool = True,
    ) -> None:
        super().__init__(name, schedule, {name: module}, seed=seed)
        self.module, self.settings, self.seed = module, settings, seed
        self.learning_rate, self.optimizer, self.keep_best = learning_rate, optimizer, keep_best
        self.total = 0
        self.refit = False
        self.refit_rate: float | None = None  # of a subclass that has another one in refits
        self._forget_best()
        self._new_optimizer()

    def compute_loss(
        self, data: RecordedEpisodes, generator: torch.Generator
    ) -> tuple[Tensor, Metrics]:
        """The loss of a batch drawn with ``generator``, and detached metrics."""
        raise NotImplementedError(f"{type(self).__name__} has no loss")

    def held_out(self, data: RecordedEpisodes) -> dict[str, float]:
        """Metrics on held-out episodes, those that ``best_by`` names among them."""
        return {}

    def prepare(self, data: RecordedEpisodes, *, refit: bool) -> None:
        """What a turn does before its first gradient step."""

    # -- a turn -------------------------------------------------------------------------

    def ready(self, buffer: SequenceBuffer) -> bool:
        return buffer.has_episodes()

    def begin(self, buffer: SequenceBuffer, updates: int, *, seed: int, refit: bool) -> None:
        self.refit = refit
        self.prepare(self._data(buffer)[0], refit=refit)
        self.batches = torch.Generator().manual_seed(seed)
        self.updates, self.total = 0, updates
        self._forget_best()
        self._new_optimizer()

    def update(self, buffer: SequenceBuffer) -> Metrics:
        warmup = max(1, min(100, self.total // 10))
        done = self.updates + 1
        cosine = 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * done / self.total))
        optimizer = self.optimizers["all"]
        rate = self.learning_rate
        if self.refit and self.refit_rate is not None:
            rate = self.refit_rate
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, done / warmup) * cosine
        self.module.train()
        loss, metrics = self.compute_loss(self._data(buffer)[0], self.batches)
        clip = math.inf if self.optimizer == "laprop" else self.settings.clip
        norm = self.step("all", loss, self.module.parameters(), clip)
        self.module.eval()
        self.updates = done
        return {**metrics, "gradient_norm": norm}

    def evaluate(self, buffer: SequenceBuffer) -> dict[str, float]:
        held = self._data(buffer)[1]
        if held is None:
            return {}
        with torch.no_grad():
            found = self.held_out(held)
        for prefix, name in self.best_by.items() if self.keep_best and found else ():
            if found[name] < self.best_loss[prefix]:
                self.best_loss[prefix] = found[name]
                weights = self.module.state_dict().items()
                self.best |= {k: v.clone() for k, v in weights if k.startswith(prefix)}
        return found

    def end(self, buffer: SequenceBuffer) -> dict[str, float]:
        found: dict[str, float] = {}
        if self.best:
            self.module.load_state_dict({**self.module.state_dict(), **self.best})
            found = self.evaluate(buffer)
        # The next turn has its own; checkpoints until then need not carry these.
        self._forget_best()
        self._new_optimizer()
        return found

    def _data(self, buffer: SequenceBuffer) -> tuple[RecordedEpisodes, RecordedEpisodes | None]:
        return buffer.split(self.settings.holdout, self.seed)

    def _forget_best(self) -> None:
        self.best: dict[str, Tensor] = {}
        self.best_loss = dict.fromkeys(self.best_by, math.inf)

    def _new_optimizer(self) -> None:
        parameters = [p for p in self.module.parameters() if p.requires_grad]
        if self.optimizer == "laprop":
            self.optimizers = {"all": LaProp(parameters, self.learning_rate)}
        else:
            decay = self.settings.weight_decay
            self.optimizers = {
                "all": torch.optim.AdamW(
                    parameters, lr=self.learning_rate, weight_decay=decay, fused=True
                )
            }

    # -- files --------------------------------------------------------------------------

    def tensors(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors, meta = super().tensors()
        tensors |= {f"best/{name}": value for name, value in self.best.items()}
        best = {k: v if math.isfinite(v) else None for k, v in self.best_loss.items()}
        return tensors, {**meta, "total": self.total, "refit": self.refit, "best_loss": best}

    def restore(self, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
        self._new_optimizer()
        super().restore(tensors, meta)
        self.total, self.refit = int(meta["total"]), bool(meta["refit"])
        self.best = under(tensors, "best/")
        self.best_loss = {k: math.inf if v is None else v for k, v in meta["best_loss"].items()}


@runtime_checkable
class Encoding(Protocol):
    """A world model whose loss also takes observations that it encoded before.

    Of a batch that shows nothing but `TOKENS` it computes the loss without that of drawing the
    observations again.
    """

    def encode(self, obs: Observation) -> Tensor:
        """Observations ``(N, ...)`` to tokens ``(N, E)``."""
        ...


TOKENS = "tokens"
"""The key of encoded observations."""


@runtime_checkable
class WindowModel(Protocol):
    """What `WindowFit` trains: a world model with a loss on windows within episodes.

    One whose members each learn from a part of the batch says with ``batch_parts`` how many.
    """

    def fit_statistics(self, batch: Batch) -> None:
        """Set normalisers from windows of two steps, one of them context."""
        ...

    def compute_loss(
        self, batch: Batch, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Metrics]:
        """Loss and detached metrics, "loss" among them; a function of weights and batch without
        a generator, as held-out data want it."""
        ...


class WindowFit(FitPhase):
    """Fits a world model to short windows within episodes, one step of context before each."""

    context = 1

    def __init__(self, model: Any, settings: FitSettings, *, seed: int) -> None:
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
        self.model: Any = model
        self.refit_rate = settings.refit_learning_rate

    def prepare(self, data: RecordedEpisodes, *, refit: bool) -> None:
        if refit:
            return  # a change of the normalisers would move everything learned before
        generator = torch.Generator().manual_seed(self.seed)
        draw = torch.randperm(len(data), generator=generator)[:STATISTICS_STEPS]
        self.model.fit_statistics(data.windows(data.steps[draw], 2, 1).to(self.device))

    def compute_loss(
        self, data: RecordedEpisodes, generator: torch.Generator
    ) -> tuple[Tensor, Metrics]:
        settings = self.settings
        own = settings.own_share if self.refit else 0.0
        batch = data.draw_windows(
            settings.batch_size, settings.sequence_length, self.context, generator, own_share=own
        )
        with sharing():
            shown = mine(batch, getattr(self.model, "batch_parts", 1))
            loss, metrics = self.model.compute_loss(shown.to(self.device), generator=generator)
        return loss, metrics

    def held_out(self, data: RecordedEpisodes) -> dict[str, float]:
        rows = data.steps[:: max(1, len(data) // HELD_OUT_STEPS)]
        batch = data.windows(rows, self.settings.sequence_length, self.context)
        _, metrics = self.model.compute_loss(batch.to(self.device))
        return {name: float(value) for name, value in metrics.items()}


__all__ = ["TOKENS", "Encoding", "FitPhase", "FitSettings", "WindowFit", "WindowModel"]
