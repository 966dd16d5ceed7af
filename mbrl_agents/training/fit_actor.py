"""Fitting an action prior: in imagination, from the latents of recorded episodes, or by cloning."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mbrl_agents.policies.actor import Actor
from mbrl_agents.policies.actor_critic import Critic
from mbrl_agents.protocols import tree_map
from mbrl_agents.training.batches import EpisodeTensors
from mbrl_agents.training.compiling import CompiledParts
from mbrl_agents.training.fitting import fit_policy
from mbrl_agents.training.imagination import Behaviour, ImaginationConfig
from mbrl_agents.training.optimise import FitResult, Losses, Progress, TrainingConfig, optimise
from mbrl_agents.world_models.dreamer_v3.model import DreamerV3, Learned
from mbrl_agents.world_models.dreamer_v3.rssm import State

LENGTH = 16
"""Steps of the recorded sequences that imagination sets out from, and the critic learns from."""


def fit_prior(
    prior: Any,
    model: Any,
    train: EpisodeTensors,
    held_out: EpisodeTensors | None,
    config: TrainingConfig,
    *,
    behaviour: ImaginationConfig | None = None,
    refit: bool = False,
    **arguments: Any,
) -> FitResult:
    """Train a prior the way it learns: `fit_actor` where it ``imagines``, else `fit_policy`.

    Args:
        behaviour: settings of imagination, DreamerV3's when None.
        refit: keep what a prior noted about the labels.
        **arguments: ``steps``, ``progress``, ``checkpoint`` and ``seed``, which both take.
    """
    if not getattr(prior, "imagines", False):
        return fit_policy(prior, model, train, held_out, config, refit=refit, **arguments)
    return fit_actor(
        prior.actor,
        model,
        train,
        held_out,
        config,
        behaviour=behaviour,
        critic=prior.critic,
        imitation=prior.config.imitation_weight,
        **arguments,
    )


def fit_actor(
    actor: Actor,
    model: DreamerV3,
    train: EpisodeTensors,
    held_out: EpisodeTensors | None,
    config: TrainingConfig,
    *,
    behaviour: ImaginationConfig | None = None,
    critic: Critic | None = None,
    imitation: float = 0.0,
    steps: int | None = None,
    progress: Progress | None = None,
    checkpoint: Path | None = None,
    seed: int | None = None,
) -> FitResult:
    """Train ``actor`` by DreamerV3's actor-critic inside a fitted world model, which stays as is.

    Imagination begins from the latents of recorded steps; the critic learns from what was imagined
    and from the recorded rewards.

    Args:
        actor: continuous, on the model's features; trained in place.
        model: fitted.
        train, held_out: recorded episodes; on the latter the imagined return is measured.
        config: gives the number of steps and states of a batch, learning rate and evaluations.
        behaviour: settings of imagination and losses; DreamerV3's when None.
        critic: on the model's features, trained in place; a new one, which nobody keeps, when
            None.
        imitation: weight of the negative log-likelihood of the demonstrators' labels, in nats:
            above 0 the actor stays where demonstrations are, and the model knows its way.
        steps: gradient steps, ``config.policy_steps`` when None.
        progress, checkpoint, seed: see `optimise`.

    Returns:
        Metrics: losses by name, ``return`` (imagined from the recorded states), and with
        ``imitation`` the ``likelihood`` (log-density of the labels, nats) and the mean absolute
        ``label_error``.

    Raises:
        ValueError: for ``imitation`` without labels, or an actor of other sizes than the model's.
    """
    seed = config.seed if seed is None else seed
    settings = behaviour or ImaginationConfig()
    if imitation and not bool(_labelled(train).any()):
        raise ValueError("imitation needs episodes with a demonstrator's labels")
    if actor.action_size != model.action_size:
        raise ValueError(
            f"the actor has {actor.action_size} actions, the world model {model.action_size}"
        )
    if critic is None:
        fresh = torch.Generator().manual_seed(seed)
        units = model.config.width("units")
        critic = Critic(model.feature_size, units, 3, model.config.bins, generator=fresh)
    parts = Behaviour(settings, actor, critic).to(train.device)
    compiled = CompiledParts([model, parts], enabled=config.compile)
    states = encode_states(model, train)
    length = min(LENGTH, len(train.action))
    batch_size = max(1, config.policy_batch_size // length)
    draws = torch.Generator(train.device)

    def loss(generator: torch.Generator) -> Losses:
        # At the start rather than after the step, of which nobody tells; at first it does nothing.
        parts.update_slow()
        # What is imagined is drawn where it is used; the batch's generator decides it all.
        draws.manual_seed(int(torch.randint(2**31, (), generator=generator)))
        starts = torch.randint(len(train.action) - length + 1, (batch_size,), generator=generator)
        starts = starts.to(train.device)
        learned = _learned(model, states, starts, length)
        with compiled:
            total, metrics = parts.loss(
                model, learned, train.arrivals(starts, length), generator=draws
            )
        if imitation:
            likelihood, shown = imitated(train, starts, learned.features)
            total, metrics = total - imitation * likelihood, metrics | shown
        return total, metrics

    def imitated(
        data: EpisodeTensors, starts: Tensor, features: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean log-likelihood of the labels of sequences, 0 where there are none, and metrics."""
        rows = starts[:, None] + torch.arange(features.shape[1], device=data.device)
        shown = _labelled(data)[rows]
        label = torch.where(shown[..., None], data.label[rows], 0.0)
        count = shown.sum().clamp_min(1)
        found = actor(features)
        likelihood = (found.log_prob(label) * shown).sum() / count
        error = ((found.mode - label).abs().mean(-1) * shown).sum() / count
        return likelihood, {"likelihood": likelihood.detach(), "label_error": error.detach()}

    kept = None if held_out is None else encode_states(model, held_out)

    @torch.no_grad()
    def evaluate() -> dict[str, float]:
        assert held_out is not None
        assert kept is not None
        within = min(length, len(held_out.action))
        count = min(batch_size, len(held_out.action) - within + 1)
        starts = torch.linspace(0, len(held_out.action) - within, count).long()
        starts = starts.to(held_out.device)
        before = (parts.scale.low.clone(), parts.scale.high.clone())
        learned = _learned(model, kept, starts, within)
        _, metrics = parts.loss(
            model, learned, held_out.arrivals(starts, within), generator=draws.manual_seed(seed)
        )
        # A look must not change how returns are scaled.
        parts.scale.low.copy_(before[0])
        parts.scale.high.copy_(before[1])
        if imitation:
            metrics |= imitated(held_out, starts, learned.features)[1]
        return {name: float(value) for name, value in metrics.items()}

    rate = config.policy_learning_rate
    config = replace(
        config,
        optimizer="laprop",
        learning_rate=config.learning_rate if rate is None else rate,
        # The loss of an actor-critic says nothing about how good it is.
        keep_best=False,
    )
    total = float(train.action.double().abs().sum() + train.reward.double().sum())
    data = f"{len(train)} steps, {total:.9g}"
    return optimise(
        parts,
        loss,
        steps=config.policy_steps if steps is None else steps,
        config=config,
        phase="policy",
        identity=f"{settings}, {actor.config}, imitation {imitation}, {data}",
        held_out=evaluate if held_out is not None else None,
        progress=progress,
        checkpoint=checkpoint,
        seed=seed + 1,
    )


@torch.no_grad()
def encode_states(model: DreamerV3, data: EpisodeTensors, chunk: int = 32) -> State:
    """The model's state at every row of ``data``, leaves ``(rows, ...)``.

    Each episode is filtered from its start by the most likely latents, as when the model acts.
    """
    found = model.initial(len(data.action))
    for episodes in torch.arange(len(data.first), device=data.device).split(chunk):
        first, last = data.first[episodes], data.first[episodes] + data.length[episodes]
        state = model.initial(len(episodes))
        for step in range(int(data.length[episodes].max()) + 1):
            # Episodes that are over see their last observation again, to no effect.
            rows = torch.minimum(first + step, last)
            seen = data.arrivals(rows, 1)[:, 0]
            state = model.observe(state, seen.obs, seen.prev_action, seen.is_first)
            going = first + step <= last
            for name, value in state.items():
                found[name][rows[going]] = value[going]
    return found


def _labelled(data: EpisodeTensors) -> Tensor:
    """``(rows,)`` where a demonstrator said what it would do."""
    return data.label.isfinite().all(-1)


def _rows(states: State, rows: Tensor) -> State:
    picked: State = tree_map(lambda x: x[rows], states)
    return picked


def _learned(model: DreamerV3, states: State, starts: Tensor, length: int) -> Learned:
    """Sequences of stored states, in the form of what the model learned from a batch."""
    rows = starts[:, None] + torch.arange(length, device=starts.device)
    picked = _rows(states, rows)
    return Learned(torch.zeros((), device=starts.device), {}, picked, model.features(picked))


__all__ = ["encode_states", "fit_actor", "fit_prior"]
