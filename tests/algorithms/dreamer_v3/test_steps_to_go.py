"""Steps to go of the latent model, learned from one state to the next."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from gymnasium import spaces

import toy_grasp
from mbrl_agents import make_world_model
from mbrl_agents.data.buffer import SequenceBuffer

SPACE = spaces.Dict({"pose": spaces.Box(-np.inf, np.inf, (21,), np.float32)})
ACTIONS = spaces.Box(-1.0, 1.0, (7,), np.float32)
TINY = {"deter": 32, "hidden": 16, "units": 16, "stoch": 4, "classes": 4, "progress": True}


@pytest.fixture(scope="module")
def failed():
    """Whole episodes none of which is known to have succeeded."""
    buffer = SequenceBuffer(SPACE, ACTIONS, recorded=toy_grasp.demonstrations(2))
    batch = buffer.recorded.whole(torch.arange(2))
    return replace(batch, steps_to_go=torch.full_like(batch.steps_to_go, torch.nan))


def test_failures_are_learned_from_only_where_it_bootstraps(failed):
    for bootstrap in (False, True):
        model = make_world_model("dreamer_v3", SPACE, ACTIONS, **TINY, bootstrap=bootstrap)
        loss = model.compute_loss(failed).metrics["progress"]
        assert loss.isfinite()
        assert (loss > 0).item() is bootstrap


def test_own_failures_may_teach_dynamics_alone(failed):
    model = make_world_model(
        "dreamer_v3", SPACE, ACTIONS, **TINY, bootstrap=True, own_failures=False
    )

    def progress(batch):
        return model.compute_loss(batch).metrics["progress"].item()

    shown = progress(failed)  # by a demonstrator, whose labels they carry
    unlabelled = torch.full_like(failed.label, torch.nan)
    own = replace(failed, label=unlabelled)
    assert shown > 0
    assert progress(own) == 0
    # Of its own episodes those that succeed still count.
    ends = torch.arange(failed.mask.shape[1], 0, -1.0).expand(failed.mask.shape)
    assert progress(replace(own, steps_to_go=ends)) > 0


def test_the_slow_copy_follows_in_training_alone_and_is_never_trained(failed):
    model = make_world_model("dreamer_v3", SPACE, ACTIONS, **TINY, bootstrap=True, slow_rate=0.5)
    assert not any(p.requires_grad for p in model.slow_progress.parameters())
    with torch.no_grad():
        for weight in model.progress.parameters():
            weight += 1.0
    before = [weight.clone() for weight in model.slow_progress.parameters()]
    model.eval().compute_loss(failed)
    assert all(map(torch.equal, before, model.slow_progress.parameters()))
    model.train().compute_loss(failed)
    for old, slow in zip(before, model.slow_progress.parameters(), strict=True):
        assert torch.allclose(slow, old + 0.5)


@pytest.mark.parametrize(("setting", "value"), [("trace", -0.1), ("steps_expectile", 0.0)])
def test_settings_have_ranges(setting, value):
    with pytest.raises(ValueError, match=setting):
        make_world_model("dreamer_v3", SPACE, ACTIONS, **TINY, **{setting: value})
