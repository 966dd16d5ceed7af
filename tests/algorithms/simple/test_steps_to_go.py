"""Steps to go of the pose model, learned from one state to the next and from ends alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces

from mbrl_agents import make_world_model
from mbrl_agents.algorithms.simple import SimpleFit
from mbrl_agents.data.buffer import SequenceBuffer
from mbrl_agents.data.episode import Episode
from mbrl_agents.training.fit import FitSettings

BOX = spaces.Box(-10.0, 10.0, (2,), np.float32)
ACTIONS = spaces.Box(-1.0, 1.0, (1,), np.float32)
FREE = {"obs": torch.tensor([[0.2, 0.0]]), "prev_obs": torch.tensor([[0.1, 0.0]])}
STUCK = {"obs": torch.tensor([[0.0, 1.0]]), "prev_obs": torch.tensor([[0.0, 1.0]])}


def episode(stuck: bool, seed: int) -> Episode:
    """Ten steps along x to success where y is 0; where y is 1 nothing moves for thirty."""
    rng = np.random.default_rng(seed)
    length = 30 if stuck else 10
    x = np.zeros(length + 1) if stuck else np.arange(length + 1) / 10
    places = np.stack([x, np.full(length + 1, float(stuck))], 1)
    actions = rng.uniform(-1, 1, (length, 1)).astype(np.float32)
    return Episode(
        observations={"obs": (places + rng.normal(0, 1e-4, places.shape)).astype(np.float32)},
        actions=actions,
        labels=np.full_like(actions, np.nan),
        rewards=np.zeros(length, np.float32),
        terminated=not stuck,
        success=not stuck,
        info={},
    )


def steps_to_go(**settings) -> tuple[float, float]:
    """What a fitted model says of where episodes succeed, and of where they get stuck."""
    model = make_world_model(
        "simple", BOX, ACTIONS, hidden=(16,), head_hidden=(64,), outcome_hidden=(16,), **settings
    )
    episodes = [episode(bool(i % 2), i) for i in range(16)]
    buffer = SequenceBuffer(BOX, ACTIONS, recorded=episodes)
    phase = SimpleFit(model, FitSettings(holdout=0.0, batch_size=128), seed=0)
    phase.begin(buffer, 500, seed=0, refit=False)
    for _ in range(500):
        phase.update(buffer)
    phase.end(buffer)
    with torch.no_grad():
        found = [model.predict_heads(model.features(state))[2] for state in (FREE, STUCK)]
    return float(found[0]), float(found[1])


def test_bootstrapped_it_learns_that_a_state_without_a_way_out_is_far_from_success():
    free, stuck = steps_to_go(bootstrap=True, slow_rate=0.1)
    assert free == pytest.approx(8, abs=3)
    assert stuck > 40


def test_from_ends_alone_failures_say_nothing():
    free, stuck = steps_to_go(bootstrap=False)
    assert free == pytest.approx(8, abs=3)
    assert stuck < 20


def test_the_slow_copy_is_saved_and_not_trained():
    model = make_world_model("simple", BOX, ACTIONS)
    assert not any(p.requires_grad for p in model.slow_progress.parameters())
    assert any(name.startswith("slow_progress.") for name in model.state_dict())
    plain = make_world_model("simple", BOX, ACTIONS, bootstrap=False)
    assert not any(name.startswith("slow_progress.") for name in plain.state_dict())


@pytest.mark.parametrize(
    ("setting", "value"), [("trace", 1.5), ("steps_expectile", 1.0), ("wavelengths", (0.1, 0.0))]
)
def test_settings_have_ranges(setting, value):
    with pytest.raises(ValueError, match=setting):
        make_world_model("simple", BOX, ACTIONS, **{setting: value})
