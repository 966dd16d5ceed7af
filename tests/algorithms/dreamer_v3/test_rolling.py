"""Imagination without gradients is computed in another way: with the same result."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces

from mbrl_agents import make_world_model
from mbrl_agents.algorithms.dreamer_v3.rolling import stepper

VECTOR = spaces.Box(-np.inf, np.inf, (7,), np.float32)
ACTIONS = spaces.Box(-1.0, 1.0, (3,), np.float32)
TINY = {"deter": 64, "hidden": 16, "classes": 4, "depth": 2, "units": 24, "stoch": 4}
VARIANTS = [
    {},
    {"progress": True},
    {"dynamics_layers": 2, "prior_layers": 3, "reward_layers": 2},
    {"blocks": 4, "classes": 9, "horizon": 20},
    {"expected": True, "prior_layers": 1},
]


def build(options):
    model = make_world_model("dreamer_v3", VECTOR, ACTIONS, **(TINY | options))
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():  # fresh heads give zeros, fresh norms ones
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=draw)
    return model


def begin(model, rows=5):
    draw = torch.Generator().manual_seed(1)
    seen = {"obs": torch.randn(rows, 7, generator=draw)}
    first = torch.ones(rows, dtype=torch.bool)
    with torch.no_grad():
        state = model.observe(model.initial(rows), seen, torch.zeros(rows, 3), first)
    return state, torch.rand(rows, 6, 3, generator=draw) * 4 - 2  # beyond the bounds too


@pytest.mark.parametrize("options", VARIANTS)
@pytest.mark.parametrize("drawn", [False, True])
def test_with_and_without_gradients_the_rollout_is_the_same(options, drawn):
    model = build(options)
    state, actions = begin(model)

    def noise():
        return torch.Generator().manual_seed(5) if drawn else None

    expected = model.imagine(state, actions, generator=noise(), keep_features=True)
    with torch.no_grad():
        found = model.imagine(state, actions, generator=noise(), keep_features=True)
        lean = model.imagine(state, actions, generator=noise())
    assert expected.reward.requires_grad
    assert lean.features is None, "a search does not read them"
    assert found.features.shape == (5, 6, model.feature_size)
    names = ["reward", "continues", *(["steps_to_go"] if options.get("progress") else [])]
    for name in names:
        assert getattr(expected, name).shape == (5, 6)
        assert getattr(expected, name).std() > 0
        for rollout in (found, lean):
            value, true = getattr(rollout, name), getattr(expected, name)
            assert torch.allclose(value, true, rtol=1e-3, atol=1e-4), name
    assert torch.allclose(found.features, expected.features, atol=1e-4)


def test_a_rollout_is_that_of_single_steps():
    model = build({})
    state, actions = begin(model)
    with torch.no_grad():
        rollout = model.imagine(state, actions, keep_features=True)
        for step in range(actions.shape[1]):
            state = model.imagine_step(state, actions[:, step])
            assert torch.allclose(model.features(state), rollout.features[:, step], atol=1e-4)


def test_the_expected_latent_is_what_many_draws_come_to():
    model = build({"expected": True})
    state, actions = begin(model)
    draws = torch.Generator().manual_seed(9)
    with torch.no_grad():
        found = model.imagine_step(state, actions[:, 0])["stoch"]
        drawn = [model.imagine_step(state, actions[:, 0], generator=draws) for _ in range(4000)]
    mean = torch.stack([after["stoch"] for after in drawn]).mean(0)
    assert torch.allclose(found.sum(-1), torch.ones(5, 4))
    assert (found - mean).abs().max() < 0.04
    assert found.max() < 1.0


def test_what_it_began_from_and_what_it_gave_stay_as_they_were():
    model = build({})
    state, actions = begin(model)
    before = {key: value.clone() for key, value in state.items()}
    weights = {key: value.clone() for key, value in model.state_dict().items()}
    with torch.no_grad():
        first = model.imagine(state, actions, keep_features=True)
        copy = first.features.clone()
        model.imagine(state, -actions, keep_features=True)
    assert torch.equal(first.features, copy)
    assert all(torch.equal(state[key], before[key]) for key in state)
    assert all(torch.equal(value, weights[key]) for key, value in model.state_dict().items())


def test_step_by_step_it_draws_what_the_modules_draw(monkeypatch):
    model = build({})
    state, actions = begin(model)

    def followed():
        imagine = stepper(model, state, 6, torch.Generator().manual_seed(7))
        return [imagine(step, actions[:, step]) for step in range(6)]

    quick = followed()
    assert not any(features.requires_grad for features in quick)
    monkeypatch.setattr(type(model), "rolls", False)
    for one, other in zip(quick, followed(), strict=True):
        assert torch.allclose(one, other, atol=1e-4)
