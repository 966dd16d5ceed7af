"""Losses of what the latent model imagines along recorded actions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from gymnasium import spaces

import toy_grasp
from mbrl_agents import make_world_model
from mbrl_agents.data.buffer import SequenceBuffer
from mbrl_agents.nn.symlog import TwoHot

SPACE = spaces.Dict({"pose": spaces.Box(-np.inf, np.inf, (21,), np.float32)})
ACTIONS = spaces.Box(-1.0, 1.0, (7,), np.float32)
TINY = {"deter": 32, "hidden": 16, "units": 16, "stoch": 4, "classes": 4, "progress": True}
LENGTH = 12


@pytest.fixture(scope="module")
def batch():
    buffer = SequenceBuffer(SPACE, ACTIONS, recorded=toy_grasp.demonstrations(3))
    return buffer.recorded.whole(torch.arange(3))[:, :LENGTH]


def model_of(**changes):
    return make_world_model("dreamer_v3", SPACE, ACTIONS, **TINY, **changes)


def generator():
    return torch.Generator().manual_seed(0)


def parts(model, batch, draws=None):
    return model.compute_loss(batch, generator=draws).metrics


def test_nothing_is_unrolled_unless_asked_for(batch):
    assert not any(name.startswith("imagined") for name in parts(model_of(), batch))
    found = parts(model_of(unroll=4), batch)
    assert {n for n in found if n.startswith("imagined")} == {
        "imagined_reward",
        "imagined_dynamics",
        "imagined_progress",
    }


def test_it_is_what_a_planner_imagines_that_is_compared(batch):
    """From the first state on, along the recorded actions, as `imagine` sees them."""
    model = model_of(unroll=LENGTH - 1, free_nats=0.0)
    with torch.no_grad():
        for weight in model.progress.parameters():  # a fresh head says zero everywhere
            weight += 0.1 * torch.randn(weight.shape, generator=generator())
    first = batch[:, :1]
    state = model.observe(
        model.initial(3),
        {key: value[:, 0] for key, value in first.obs.items()},
        first.prev_action[:, 0],
        first.is_first[:, 0],
    )
    rollout = model.imagine(state, batch.prev_action[:, 1:], keep_features=True)
    reached = model.compute_loss(batch).features[:, 1:]
    worth = TwoHot(model.progress(reached)).mean.clamp(0.0, model.config.max_steps)
    seen = batch.mask[:, 1:].float()
    off = TwoHot(model.progress(rollout.features)).loss(worth)
    expected = (off * seen).sum() / seen.sum()
    assert parts(model, batch)["imagined_progress"].item() == pytest.approx(
        expected.item(), rel=1e-4
    )


def test_nothing_counts_beyond_an_episodes_end(batch):
    model = model_of(unroll=LENGTH - 1)
    cut = batch.is_first.clone()
    cut[:, 1:] = True  # every step begins an episode
    found = parts(model, replace(batch, is_first=cut))
    assert found["imagined_reward"] == found["imagined_progress"] == 0
    assert found["imagined_dynamics"] == 0


def test_training_brings_down_what_it_measures(batch):
    model = model_of(unroll=6, unroll_starts=3).train()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    draws = generator()
    seen = []
    for _ in range(60):
        found = model.compute_loss(batch, generator=draws)
        optimizer.zero_grad()
        found.loss.backward()
        optimizer.step()
        seen.append(found.metrics["imagined_progress"].item())
    assert np.mean(seen[-5:]) < 0.6 * np.mean(seen[:5])


def test_dynamics_learn_from_what_heads_say_of_the_imagined(batch):
    model = model_of(
        unroll=6,
        reward_weight=0.0,
        continue_weight=0.0,
        dynamics_weight=0.0,
        representation_weight=0.0,
        reconstruction_weight=0.0,
    )
    with torch.no_grad():
        for weight in model.progress.parameters():
            weight += 0.1 * torch.randn(weight.shape, generator=generator())
    model.compute_loss(batch, generator=generator()).loss.backward()
    assert sum(p.grad.abs().sum() for p in model.rssm.prior.parameters()) > 0


@pytest.mark.parametrize(("setting", "value"), [("unroll", -1), ("unroll_starts", 0)])
def test_settings_have_ranges(setting, value):
    with pytest.raises(ValueError, match=setting):
        model_of(**{setting: value})
