"""Imagined states that learn what recorded ones are worth: a loss over the planning horizon."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mbrl_agents.algorithms.dreamer_v3.rssm import State
from mbrl_agents.nn.categorical import kl_divergence
from mbrl_agents.nn.masked import weighted_mean
from mbrl_agents.nn.symlog import TwoHot
from mbrl_agents.protocols import Batch

if TYPE_CHECKING:
    from mbrl_agents.algorithms.dreamer_v3.model import DreamerV3Model


def unrolled(
    model: DreamerV3Model,
    batch: Batch,
    states: State,
    posterior: Tensor,
    worth: Tensor | None,
    generator: torch.Generator | None,
) -> dict[str, tuple[Tensor, float]]:
    """Losses of what is imagined along recorded actions, and their weights, by name.

    From some states of each sequence the model imagines ``config.unroll`` steps as a planner does,
    without draws.  Reward and steps to go imagined there are to be those of the states
    that were reached (value equivalence: Schrittwieser et al. 2020), and the prior there is to be
    their posterior (latent overshooting: Hafner et al. 2019, equation 7).  One step ahead, as the
    KL loss looks, a grasp that fails is a matter of a few nats; a plan is chosen by it.

    Args:
        model: whose.
        batch: ``(B, T, ...)``.
        states: its posterior states ``(B, T, ...)``, with their gradient.
        posterior: log-probabilities ``(B, T, G, n)``.
        worth: ``(B, T)`` steps to go as the model sees them in the states that were reached, in
            failed episodes too, whether or not these teach how far success is; None without a
            head for them.
        generator: draws where imagining starts; None starts at the first step alone.
    """
    config, rssm = model.config, model.rssm
    length = batch.mask.shape[1]
    ahead = min(config.unroll, length - 1)
    if ahead < 1:
        return {}
    starts = torch.zeros(1, dtype=torch.long, device=model.device)
    if generator is not None:
        possible = length - ahead
        drawn = torch.rand(possible, generator=generator, device=generator.device)
        starts = drawn.topk(min(config.unroll_starts, possible)).indices.to(model.device)
    window = starts[:, None] + torch.arange(1, ahead + 1, device=model.device)  # (S, H)

    def after(values: Tensor) -> Tensor:
        """``(B, T, ...)`` at the steps that are imagined, ``(B S, H, ...)``."""
        return values[:, window].flatten(0, 1)

    state = {k: v[:, starts].flatten(0, 1) for k, v in states.items()}
    context = states.get("context")
    actions = rssm.embed_action(
        after(batch.prev_action), None if context is None else after(context)
    )
    parts = rssm.recurrent_parts()
    features, priors = [], []
    for step in range(ahead):
        deter = rssm.advance(state["deter"], state["stoch"].flatten(1), actions[:, step], parts)
        prior = rssm.prior_log_probs(deter)
        state = {"deter": deter, "stoch": rssm.imagined(prior)}
        features.append(rssm.features(state))
        priors.append(prior)
    imagined = torch.stack(features, 1)
    # Beyond the episode's end nothing was recorded that the imagined could be like.
    goes_on = (~after(batch.is_first)).long().cumprod(1)
    within = after(batch.mask).float() * goes_on
    weight = config.unroll_weight
    reward = TwoHot(model.reward(imagined)).loss(after(batch.reward))
    away = kl_divergence(after(posterior).detach(), torch.stack(priors, 1))
    found = {
        "imagined_reward": (weighted_mean(reward, within), weight * config.reward_weight),
        "imagined_dynamics": (
            weighted_mean(away.clamp_min(config.free_nats), within),
            weight * config.dynamics_weight,
        ),
    }
    if worth is not None:
        # Without the lean of recorded states: of two outcomes that are as likely, a plan is worth
        # what comes of both.
        off = TwoHot(model.progress(imagined)).loss(after(worth))
        found["imagined_progress"] = weighted_mean(off, within), weight * config.progress_weight
    return found


__all__ = ["unrolled"]
