"""What DreamerV3's world model is trained on (Hafner et al. 2023, arXiv:2301.04104)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from mbrl_agents.algorithms.dreamer_v3.rssm import State
from mbrl_agents.algorithms.dreamer_v3.unroll import unrolled
from mbrl_agents.nn.categorical import kl_divergence
from mbrl_agents.nn.masked import weighted_mean
from mbrl_agents.nn.returns import lambda_steps
from mbrl_agents.nn.symlog import TwoHot
from mbrl_agents.protocols import Batch, Observation

if TYPE_CHECKING:
    from mbrl_agents.algorithms.dreamer_v3.model import DreamerV3Model


def losses(
    model: DreamerV3Model,
    batch: Batch,
    obs: Observation | None,
    states: State,
    features: Tensor,
    posterior: Tensor,
    prior: Tensor,
    generator: torch.Generator | None,
) -> dict[str, tuple[Tensor, float]]:
    """Every part of the loss and its weight (equations 4 and 5), by name.

    Args:
        model: whose.
        batch: ``(B, T, ...)``.
        obs: its observations as the model reads them, ``(B T, ...)``; None where they were encoded
            before, and are not to be drawn.
        states, features: ``(B, T, ...)`` of the posterior, with their gradient.
        posterior, prior: log-probabilities ``(B, T, G, n)``.
        generator: draws the images that are decoded; None decodes all.
    """
    config = model.config
    seen = batch.mask.float()
    parts: dict[str, tuple[Tensor, float]] = {}
    if obs is not None:
        drawn = _drawn(model, seen.numel(), generator)
        weight = {"vectors": seen.flatten(), "images": seen.flatten()}
        if drawn is not None:
            weight["images"] = weight["images"][drawn]
        parts = {
            name: (weighted_mean(value, weight[name]), config.reconstruction_weight)
            for name, value in model.decoder.losses(features.flatten(0, 1), obs, drawn).items()
        }
    reward = TwoHot(model.reward(features)).loss(batch.reward)
    parts["reward"] = weighted_mean(reward, seen), config.reward_weight
    goes_on = (~batch.terminal).float() * config.discount
    ends = F.binary_cross_entropy_with_logits(
        model.continues(features)[..., 0].float(), goes_on, reduction="none"
    )
    parts["continue"] = weighted_mean(ends, seen), config.continue_weight
    worth = None
    if config.progress:
        worth = _worth(model, features)
        target = _steps_target(model, batch, worth)
        if not config.own_failures:
            taught = batch.steps_to_go.isfinite() | batch.label.isfinite().all(-1)
            target = torch.where(taught, target, torch.nan)
        guess, tau = TwoHot(model.progress(features)), config.steps_expectile
        lean = torch.where(guess.mean.detach() < target, 2 * tau, 2 * (1 - tau))
        off = guess.loss(target.nan_to_num(0.0)) * lean
        parts["progress"] = weighted_mean(off, seen * target.isfinite()), config.progress_weight
    if config.unroll:
        parts |= unrolled(model, batch, states, posterior, worth, generator)
    if config.imitation_weight:
        shown = batch.label.isfinite().all(-1)
        label = torch.where(shown[..., None], batch.label, 0.0)
        action = torch.tanh(model.imitation(features).float())
        off = F.smooth_l1_loss(action, label, reduction="none", beta=0.1).sum(-1)
        parts["imitation"] = weighted_mean(off, seen * shown), config.imitation_weight
    if config.ensemble:
        before, action = features[:, :-1].flatten(0, 1), batch.prev_action[:, 1:].flatten(0, 1)
        off = model.ensemble.loss(before, action, posterior[:, 1:].exp().flatten(0, 1))
        within = (seen * ~batch.is_first)[:, 1:].flatten()
        parts["ensemble"] = weighted_mean(off, within), 1.0
    # Free nats bound each step's sum over the categoricals, not each categorical.
    dynamics = kl_divergence(posterior.detach(), prior).clamp_min(config.free_nats)
    representation = kl_divergence(posterior, prior.detach()).clamp_min(config.free_nats)
    parts["dynamics"] = weighted_mean(dynamics, seen), config.dynamics_weight
    parts["representation"] = weighted_mean(representation, seen), config.representation_weight
    return parts


@torch.no_grad()
def _worth(model: DreamerV3Model, features: Tensor) -> Tensor | None:
    """Steps to go ``(B, T)`` as the model sees them; None where nothing learns from that.

    Of a slow copy of the head where there is one, which follows the head in training.
    """
    config = model.config
    if not (config.bootstrap or config.unroll):
        return None
    if config.bootstrap and model.training:
        pairs = zip(model.slow_progress.parameters(), model.progress.parameters(), strict=True)
        for slow, fast in pairs:
            slow.lerp_(fast, config.slow_rate)
    head = model.slow_progress if config.bootstrap else model.progress
    return TwoHot(head(features)).mean.clamp(0.0, config.max_steps)


@torch.no_grad()
def _steps_target(model: DreamerV3Model, batch: Batch, worth: Tensor | None) -> Tensor:
    """Steps to go ``(B, T)`` that the head is to learn; NaN where nothing is known."""
    config, steps = model.config, batch.steps_to_go
    if not config.bootstrap:
        if config.failures_count:
            steps = steps.nan_to_num(nan=config.max_steps)
        return steps.clamp_max(config.max_steps)
    assert worth is not None
    return lambda_steps(
        worth,
        steps == 0,
        batch.is_last,
        config.trace,
        failed=batch.terminal,
        most=config.max_steps,
    )


def _drawn(model: DreamerV3Model, count: int, generator: torch.Generator | None) -> Tensor | None:
    """Rows of a flat training batch whose images are decoded; None for all."""
    share = model.config.reconstructed
    if generator is None or share == 1 or not model.layout.images:
        return None
    order = torch.rand(count, generator=generator, device=generator.device)
    return order.topk(max(1, round(share * count))).indices.to(model.device)


__all__ = ["losses"]
