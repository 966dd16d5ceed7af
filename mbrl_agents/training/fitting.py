"""Fitting world models and cloned policies to recorded episodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mbrl_agents.data.episode import Episode
from mbrl_agents.protocols import SequenceBatch, tree_map
from mbrl_agents.training.batches import EpisodeTensors, split_episodes
from mbrl_agents.training.compiling import CompiledParts
from mbrl_agents.training.latents import LatentStore
from mbrl_agents.training.optimise import (
    FitResult,
    Losses,
    Progress,
    TrainingConfig,
    optimise,
)
from mbrl_agents.world_models.arrivals import Arrivals


def fit_world_model(
    model: Any,
    train: EpisodeTensors,
    held_out: EpisodeTensors | None,
    config: TrainingConfig,
    *,
    steps: int | None = None,
    refit: bool = False,
    progress: Progress | None = None,
    checkpoint: Path | None = None,
    seed: int | None = None,
) -> FitResult:
    """Fit a world model (protocol `WorldModel` and a torch module) to sequences.

    A model that filters what it sees (it has ``learn_from``) learns from sequences that run
    across episodes, each from the latents it had there when it last passed.

    Args:
        steps: gradient steps, ``config.model_steps`` when None.
        refit: keep the model's normalisers, whose change would move everything learned before.
    """
    seed = config.seed if seed is None else seed
    if not refit and hasattr(model, "fit_statistics"):
        context = getattr(model, "context", 1)
        generator = torch.Generator().manual_seed(seed)
        count = min(len(train), getattr(model, "statistics_steps", 20000))
        draw = torch.randperm(len(train), generator=generator)[:count].to(train.device)
        model.fit_statistics(train.sequences(train.steps[draw], context + 1, context))

    carried: LatentStore | None = None
    if hasattr(model, "learn_from"):
        loss, evaluate, carried = _sequence_losses(model, train, held_out, config)
    else:
        loss, evaluate = _window_losses(model, train, held_out, config)
    return optimise(
        model,
        loss,
        steps=config.model_steps if steps is None else steps,
        config=config,
        phase="world_model",
        identity=f"{getattr(model, 'config', '')}, {_fingerprint(train)}",
        held_out=evaluate if held_out is not None else None,
        progress=progress,
        checkpoint=checkpoint,
        seed=seed,
        carried=carried,
    )


HELD_OUT_EPISODES = 16
"""As many are looked at: with pictures, each costs as much as some gradient steps."""

TrainLoss = Callable[[torch.Generator], Losses]
Evaluation = Callable[[], dict[str, float]]


def _window_losses(
    model: Any, train: EpisodeTensors, held_out: EpisodeTensors | None, config: TrainingConfig
) -> tuple[TrainLoss, Evaluation]:
    """Training and held-out loss of a model that reads short windows within episodes."""
    length, context = config.sequence_length, getattr(model, "context", 1)

    def loss(generator: torch.Generator) -> Losses:
        batch = train.sample(config.batch_size, length, context=context, generator=generator)
        return model.loss(batch, generator=generator)

    @torch.no_grad()
    def evaluate() -> dict[str, float]:
        assert held_out is not None
        # Bounded, so that a look at held-out data stays cheap however much there is.
        stride = max(1, len(held_out) // 2048)
        rows = held_out.steps[::stride]
        _, parts = model.loss(held_out.sequences(rows, length, context))
        return {name: float(value) for name, value in parts.items()}

    return loss, evaluate


def _sequence_losses(
    model: Any, train: EpisodeTensors, held_out: EpisodeTensors | None, config: TrainingConfig
) -> tuple[TrainLoss, Evaluation, LatentStore]:
    """Training and held-out loss of a model that filters long sequences, and its latents."""
    rows = len(train.action)
    length = min(config.sequence_length, rows)
    carried = LatentStore(1, rows, *model.latent_sizes)
    compiled = CompiledParts([model], enabled=config.compile)

    def loss(generator: torch.Generator) -> Losses:
        draw = torch.randint(rows - length + 1, (config.batch_size,), generator=generator)
        starts = draw.numpy()
        lane = np.zeros_like(starts)
        state = tree_map(lambda x: x.to(train.device), carried.read(lane, starts - 1))
        batch = train.arrivals(draw.to(train.device), length)
        with compiled:
            learned = model.learn_from(batch, state, generator=generator)
        carried.write(lane[:, None], starts[:, None] + np.arange(length), learned.states)
        return learned.loss, learned.metrics

    @torch.no_grad()
    def evaluate() -> dict[str, float]:
        assert held_out is not None
        # Whole episodes: what is difficult, a grasp, say, does not happen at their beginning.
        sums: dict[str, float] = {}
        batches = torch.arange(len(held_out.first)).to(train.device)[:HELD_OUT_EPISODES].split(8)
        count = sum(map(len, batches))
        for episodes in batches:
            arrivals = Arrivals.from_transitions(held_out.whole(episodes))
            for name, value in model.learn_from(arrivals).metrics.items():
                sums[name] = sums.get(name, 0.0) + float(value) * len(episodes) / count
        return sums

    return loss, evaluate, carried


@torch.no_grad()
def encode(model: Any, data: EpisodeTensors, chunk: int = 32) -> tuple[Tensor, Tensor]:
    """Features ``(N, F)`` and labels ``(N, A)`` of all labelled steps.

    The model filters each episode from its start, as it will when it acts.
    """
    features, labels = [], []
    for episodes in torch.arange(len(data.first), device=data.device).split(chunk):
        batch = data.whole(episodes)
        found = filtered(model, batch)
        keep = batch.mask & batch.label.isfinite().all(-1)
        features.append(found[keep])
        labels.append(batch.label[keep])
    return torch.cat(features), torch.cat(labels)


def filtered(model: Any, batch: SequenceBatch) -> Tensor:
    """Features ``(B, T, F)`` of sequences, observed one step after another from the start."""
    state = model.initial(len(batch.reward))
    found = []
    for step in range(batch.reward.shape[1]):
        obs = tree_map(lambda x, t=step: x[:, t], batch.obs)
        state = model.observe(state, obs, batch.prev_action[:, step], batch.is_first[:, step])
        found.append(model.features(state))
    return torch.stack(found, 1)


def fit_policy(
    policy: Any,
    model: Any,
    train: EpisodeTensors,
    held_out: EpisodeTensors | None,
    config: TrainingConfig,
    *,
    steps: int | None = None,
    refit: bool = False,
    progress: Progress | None = None,
    checkpoint: Path | None = None,
    seed: int | None = None,
) -> FitResult:
    """Clone the labels of ``train`` into ``policy``, on the features of a fitted ``model``.

    Raises:
        ValueError: when no step carries a label.
    """
    seed = config.seed if seed is None else seed
    features, labels = encode(model, train)
    if len(labels) == 0:
        raise ValueError(
            "no step of these episodes carries a demonstrator's label; "
            "collect with the source 'expert' or 'noisy_expert'"
        )
    if not refit:
        policy.fit_statistics(labels)
    kept = encode(model, held_out) if held_out is not None else None
    if kept is not None and len(kept[1]) == 0:
        kept = None

    def loss(generator: torch.Generator) -> Losses:
        draw = torch.randint(len(labels), (config.policy_batch_size,), generator=generator)
        draw = draw.to(labels.device)
        return policy.loss(features[draw], labels[draw], generator=generator)

    @torch.no_grad()
    def evaluate() -> dict[str, float]:
        assert kept is not None
        _, parts = policy.loss(*kept)
        return {k: float(v) for k, v in parts.items()} | policy.diagnose(*kept)

    rate = config.policy_learning_rate
    settings = replace(
        config,
        optimizer="adamw",
        learning_rate=config.learning_rate if rate is None else rate,
    )
    return optimise(
        policy,
        loss,
        steps=config.policy_steps if steps is None else steps,
        config=settings,
        phase="policy",
        identity=f"{getattr(policy, 'config', '')}, {_fingerprint(train)}",
        held_out=evaluate if kept is not None else None,
        progress=progress,
        checkpoint=checkpoint,
        seed=seed + 1,
    )


def prepare(
    episodes: Sequence[Episode],
    config: TrainingConfig,
    *,
    low: Any = -1.0,
    high: Any = 1.0,
    device: torch.device | str = "cpu",
    seed: int | None = None,
) -> tuple[EpisodeTensors, EpisodeTensors | None]:
    """Training and held-out tensors; None where nothing is held out.

    Args:
        low, high: bounds of the recorded actions.
        seed: of the split, ``config.seed`` when None.
    """
    seed = config.seed if seed is None else seed
    train, held = split_episodes(episodes, config.holdout, seed)
    tensors = EpisodeTensors(train, low=low, high=high, device=device)
    if not held:
        return tensors, None
    return tensors, EpisodeTensors(held, low=low, high=high, device=device)


def _fingerprint(data: EpisodeTensors) -> str:
    """Tells one set of episodes from another."""
    total = float(data.action.double().abs().sum() + data.reward.double().sum())
    return f"{len(data.first)} episodes, {len(data)} steps, {total:.9g}"


__all__ = [
    "FitResult",
    "Progress",
    "TrainingConfig",
    "encode",
    "filtered",
    "fit_policy",
    "fit_world_model",
    "prepare",
]
