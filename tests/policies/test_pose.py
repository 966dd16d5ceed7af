"""GaussianPolicy: cloning, binary dimensions, diagnostics, proposals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces

from mbrl_agents import make_world_model
from mbrl_agents.policies.pose import GaussianPolicy, GaussianPolicyConfig
from mbrl_agents.training.batches import EpisodeTensors
from mbrl_agents.training.fitting import TrainingConfig, encode, fit_policy
from toy_grasp import demonstrations

ACTIONS = spaces.Box(-1.0, 1.0, (7,), np.float32)
POSES = spaces.Dict({"pose": spaces.Box(-np.inf, np.inf, (21,), np.float32)})


@pytest.fixture(scope="module")
def cloned():
    train, held = EpisodeTensors(demonstrations(12)), EpisodeTensors(demonstrations(4, seed=7))
    model = make_world_model("simple", POSES, ACTIONS, hidden=(32,))
    model.fit_statistics(train.sequences(train.steps, 2, 1))
    policy = GaussianPolicy(GaussianPolicyConfig(hidden=(64, 64)), model.feature_size, 7)
    config = TrainingConfig(policy_steps=400, policy_batch_size=256, evaluate_every=200)
    result = fit_policy(policy, model, train, held, config)
    return model, policy, train, result


def test_it_clones_and_says_how_well_on_held_out_episodes(cloned):
    _, policy, _, result = cloned
    assert policy.binary.tolist() == [False] * 6 + [True]
    assert result.metrics["held_out/sign_accuracy_6"] > 0.9
    assert result.metrics["held_out/error_0"] < 0.2
    assert {f"held_out/error_{i}" for i in range(7)} <= set(result.metrics)


def test_it_overfits_one_batch(cloned):
    model, _, train, _ = cloned
    features, labels = (x[:64] for x in encode(model, train))
    policy = GaussianPolicy(GaussianPolicyConfig(hidden=(64,)), model.feature_size, 7)
    policy.fit_statistics(labels)
    optimizer = torch.optim.Adam(policy.parameters(), 3e-3)
    for _ in range(400):
        loss, _ = policy.loss(features, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert (policy.act(features) - labels).abs().mean() < 0.03


def test_proposals_roll_through_the_model(cloned):
    model, policy, train, _ = cloned
    pose = train.obs["pose"][train.first[:3]]
    state = {"obs": pose, "prev_obs": pose}
    with torch.no_grad():
        plan = policy.propose(model, state, 4)
        following = model.imagine_step(state, plan.mean[:, 0])
    assert plan.mean.shape == plan.stddev.shape == (3, 4, 7)
    assert torch.allclose(plan.mean[:, 0], policy.act(model.features(state)))
    assert torch.allclose(plan.mean[:, 1], policy.act(model.features(following)))
    assert plan.mean.abs().max() <= 1
    assert plan.stddev.min() >= policy.config.min_std


def test_unlabelled_steps_are_left_out_and_no_label_at_all_is_an_error(cloned):
    model, policy, _, _ = cloned
    data = EpisodeTensors(demonstrations(2))
    data.label[::2] = torch.nan
    features, labels = encode(model, data)
    assert 0 < len(labels) < len(data)
    assert len(features) == len(labels)
    data.label[:] = torch.nan
    with pytest.raises(ValueError, match="label"):
        fit_policy(policy, model, data, None, TrainingConfig())
