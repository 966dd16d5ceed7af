"""Planning and cloning on DreamerV3's latents through the same agent as the pose methods."""

from __future__ import annotations

from dataclasses import replace

import gymnasium
import numpy as np
import pytest
import torch

import mbrl_agents
import toy_grasp
from mbrl_agents.algorithms.dreamer_v3.prior_fit import encode_states
from mbrl_agents.data.buffer import SequenceBuffer
from mbrl_agents.protocols import Phase, tree_map
from mbrl_agents.training.fit import TOKENS

SMALL = {
    "world_model": {"deter": 64, "hidden": 32, "units": 32, "depth": 2, "stoch": 8, "classes": 4},
    "training": {
        "model_steps": 30,
        "policy_steps": 60,
        "log_every": 15,
        "batch_size": 4,
        "sequence_length": 12,
    },
}
QUICK = {"horizon": 4, "samples": 12, "elites": 3, "iterations": 2}
PLANNERS = {
    "dreamer-cem": {**QUICK, "hold": 2},
    "dreamer-policy": {},
    "dreamer-policy-cem": {**QUICK, "policy_samples": 3},
    "dreamer-actor-cem": {**QUICK, "policy_samples": 3},
}
# What a method needs to be quick beside SMALL.
OWN = {
    "dreamer-actor-cem": {
        "actor": {"units": 32},
        "imagination": {"imagination": 3},
        "training": {**SMALL["training"], "policy_batch_size": 64},
    }
}


class Images(gymnasium.ObservationWrapper):
    """The toy seen from above, beside its hand's pose."""

    def __init__(self, env: gymnasium.Env) -> None:
        super().__init__(env)
        self.observation_space = gymnasium.spaces.Dict(
            {
                "image": gymnasium.spaces.Box(0, 255, (16, 16, 3), np.uint8),
                "pose": gymnasium.spaces.Box(-np.inf, np.inf, (7,), np.float32),
            }
        )

    def observation(self, observation):
        return see(observation["pose"])


def see(pose: np.ndarray) -> dict[str, np.ndarray]:
    image = np.zeros((16, 16, 3), np.uint8)
    for channel, start in enumerate((0, 7, 14)):
        row, column = np.clip(((pose[start : start + 2] + 0.4) * 20).astype(int), 0, 15)
        image[row, column, channel] = 255
    return {"image": image, "pose": pose[:7]}


def image_episodes(count: int) -> list:
    episodes = toy_grasp.demonstrations(count)
    for episode in episodes:
        frames = [see(pose) for pose in episode.observations["pose"]]
        episode.observations.clear()
        episode.observations.update({k: np.stack([f[k] for f in frames]) for k in frames[0]})
    return episodes


@pytest.fixture(scope="module")
def episodes():
    return image_episodes(5)


def make_env():
    return Images(gymnasium.make("toy_grasp:ToyGrasp-v0"))


def roll(agent, steps=5):
    env = make_env()
    obs, _ = env.reset(seed=1)
    state, start, actions = None, np.ones(1, bool), []
    for _ in range(steps):
        action, state = agent.predict(obs, state, start, deterministic=True)
        start = np.zeros(1, bool)
        obs, *_ = env.step(action)
        actions.append(action)
    return np.stack(actions)


@pytest.mark.parametrize("name", PLANNERS)
def test_it_learns_from_images_plans_and_is_saved(name, episodes, tmp_path):
    settings = {**SMALL, **OWN.get(name, {}), "planner": PLANNERS[name]}
    agent = mbrl_agents.make_agent(name, make_env(), **settings)
    metrics = agent.fit(episodes, folder=tmp_path / "run")
    assert metrics["train/world_model/images"] > 0
    assert np.isfinite(list(metrics.values())).all()
    actions = roll(agent)
    assert actions.shape == (5, 7)
    assert np.abs(actions).max() <= 1
    loaded = mbrl_agents.load(tmp_path / "run", make_env())
    np.testing.assert_allclose(roll(loaded), actions, atol=1e-6)
    weights = agent.policy.state_dict()
    assert all(torch.equal(weights[k], v) for k, v in loaded.policy.state_dict().items())


ACTOR = {
    "world_model": SMALL["world_model"],
    "actor": {"units": 32, "imitation_weight": 0.0},
    "imagination": {"imagination": 8},
    "planner": {**QUICK, "policy_samples": 3},
    "training": {
        **SMALL["training"],
        "model_steps": 150,
        "policy_batch_size": 96,
        "policy_learning_rate": 3e-3,
    },
}


def take(phase: Phase, buffer: SequenceBuffer, updates: int) -> None:
    phase.begin(buffer, updates, seed=0, refit=False)
    for _ in range(updates):
        phase.update(buffer)
    phase.end(buffer)


def test_an_actor_imagines_more_reward_after_training_than_before():
    env = gymnasium.make("toy_grasp:ToyGrasp-v0")
    agent = mbrl_agents.make_agent("dreamer-actor-cem", env, **ACTOR)
    buffer = SequenceBuffer(
        env.observation_space, env.action_space, recorded=toy_grasp.demonstrations(6)
    )
    model, prior = agent.algorithm.world_model, agent.algorithm.prior
    fit_model, _, fit_prior = agent.algorithm.phases
    take(fit_model, buffer, 150)
    starts = tree_map(lambda x: x[::4], encode_states(model, buffer.recorded))

    @torch.no_grad()
    def imagined() -> float:
        plan = prior.propose(model, starts, 8).mean
        return float(model.imagine(starts, plan).reward.sum(1).mean())

    before = imagined()
    take(fit_prior, buffer, 100)
    assert imagined() > before + 0.2


def test_an_actor_goes_on_learning_without_labels():
    env = gymnasium.make("toy_grasp:ToyGrasp-v0")
    settings = {
        **ACTOR,
        "training": {
            **ACTOR["training"],
            "model_steps": 10,
            "policy_steps": 5,
            "refit_steps": 5,
            "random_steps": 150,
            "round_steps": 130,
        },
    }
    agent = mbrl_agents.make_agent("dreamer-actor-cem", env, **settings)
    agent.learn(130)
    before = {key: value.clone() for key, value in agent.algorithm.prior.state_dict().items()}
    agent.learn(130, reset_num_timesteps=False)
    after = agent.algorithm.prior.state_dict()
    for part in ("actor", "critic"):
        assert any(not torch.equal(before[k], v) for k, v in after.items() if k.startswith(part))
    # With imitation it needs somebody to imitate, as a cloned policy does.
    settings["actor"] = {"units": 32, "imitation_weight": 1.0}
    agent = mbrl_agents.make_agent("dreamer-actor-cem", env, **settings)
    with pytest.raises(ValueError, match="fit it to demonstrations"):
        agent.learn(10)


def test_own_images_are_refitted_with_recorded_ones(episodes):
    """Vectorised environments put channels first, recorded episodes have them last."""
    refits = {"round_steps": 60, "refit_steps": 3, "clone_successes": True}
    settings = {**SMALL, "training": {**SMALL["training"], **refits}}
    agent = mbrl_agents.make_agent("dreamer-policy", make_env(), **settings)
    agent.fit(episodes)
    before = {key: value.clone() for key, value in agent.algorithm.prior.state_dict().items()}
    agent.learn(130)
    own = agent.buffer.episodes()[len(episodes) :]
    assert own
    for episode in own:
        assert np.isfinite(episode.labels).all() == episode.success
    after = agent.algorithm.prior.state_dict()
    assert any(not torch.equal(before[key], value) for key, value in after.items())


def test_refits_may_leave_the_encoder_as_it_is(episodes):
    refits = {
        "round_steps": 60,
        "refit_steps": 3,
        "refit_encoder": False,
        "own_share": 0.5,
        "refit_learning_rate": 1e-3,
    }
    settings = {**SMALL, "training": {**SMALL["training"], **refits}}
    agent = mbrl_agents.make_agent("dreamer-cem", make_env(), **settings, planner=QUICK)
    agent.fit(episodes)
    model = agent.algorithm.world_model
    before = {key: value.clone() for key, value in model.state_dict().items()}
    read = []
    encode = model.encode
    model.encode = lambda obs: read.append(len(obs["image"])) or encode(obs)
    agent.learn(130)
    changed = {
        key.split(".")[0]
        for key, value in model.state_dict().items()
        if not torch.equal(before[key], value)
    }
    assert not changed & {"encoder", "decoder"}
    assert {"rssm", "reward", "progress"} <= changed
    train, held = agent.buffer.split(0.1, 0)
    own = train.rows - train.own_from
    assert 0 < own < train.rows
    # Two refits: what is recorded is read once, own experience and held-out episodes each time.
    assert sum(read) <= train.own_from + 2 * (own + held.rows)
    tokens = encode({key: value[torch.arange(4)] for key, value in train.obs.items()})
    batch = train.sequences(np.array([0]), 4)
    output = model.compute_loss(batch)
    encoded = model.compute_loss(replace(batch, obs={TOKENS: tokens[None]}))
    for name in ("reward", "progress", "kl"):
        assert torch.allclose(output.metrics[name], encoded.metrics[name], atol=1e-5)
    assert "images" in output.metrics
    assert "images" not in encoded.metrics


def test_latents_are_carried_from_step_to_step(episodes):
    agent = mbrl_agents.make_agent("dreamer-policy", make_env(), **SMALL)
    agent.fit(episodes)
    obs, _ = make_env().reset(seed=1)
    first, state = agent.predict(obs, None, np.ones(1, bool), deterministic=True)
    second, later = agent.predict(obs, state, np.zeros(1, bool), deterministic=True)
    again, _ = agent.predict(obs, state, np.ones(1, bool), deterministic=True)
    np.testing.assert_allclose(first, again, atol=1e-6)
    assert not np.allclose(first, second)
    assert not later.carry["deter"].equal(state.carry["deter"])
