"""SB3's algorithms and the reference policies: random actions, the demonstrator."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

import mbrl_agents
import toy_grasp

TOY = "toy_grasp:ToyGrasp-v0"


@pytest.mark.parametrize(
    ("name", "cls", "settings"),
    [
        ("sb3-sac", SAC, {"learning_starts": 10, "net_arch": [16]}),
        ("sb3-ppo", PPO, {"n_steps": 32, "batch_size": 32, "net_arch": [16]}),
    ],
)
def test_a_baseline_learns_and_predicts(name, cls, settings):
    model = mbrl_agents.make_agent(name, gymnasium.make(TOY), **{"baseline": settings})
    assert isinstance(model, cls)
    model.learn(40)
    obs, _ = gymnasium.make(TOY).reset(seed=0)
    assert model.predict(obs)[0].shape == (7,)


@pytest.mark.parametrize("environments", [1, 2])
def test_demonstrations_lie_in_the_replay_buffer(environments):
    episodes = toy_grasp.demonstrations(2)
    env = make_vec_env(TOY, environments)
    model = mbrl_agents.make_agent(
        "sb3-sac-demos", env, episodes=episodes, baseline={"net_arch": [16]}
    )
    steps = sum(len(e) for e in episodes)
    assert model.replay_buffer.size() * environments == steps - steps % environments
    first = model.replay_buffer.observations["pose"][0, 0]
    assert np.allclose(first, episodes[0].observations["pose"][0])
    model.learn(20)
    with pytest.raises(ValueError, match="needs demonstrations"):
        mbrl_agents.make_agent("sb3-sac-demos", env).learn(4)


def test_box_observations_and_scaled_actions():
    model = mbrl_agents.make_agent("sb3-sac", "Pendulum-v1", baseline={"net_arch": [16]})
    assert type(model.policy).__name__ == "SACPolicy"
    with pytest.raises(ValueError, match=r"did you mean 'baseline.net_arch'"):
        mbrl_agents.make_agent("sb3-sac", "Pendulum-v1", baseline={"netarch": [16]})


@pytest.mark.parametrize(("size", "extractor"), [(64, "NatureCNN"), (32, "FlattenExtractor")])
def test_images_are_read_by_convolutions_where_they_are_large_enough(size, extractor):
    env = gymnasium.make("mbrl/Catch-v0", size=size)
    settings = {"n_steps": 16, "batch_size": 16, "net_arch": [16]}
    model = mbrl_agents.make_agent("sb3-ppo", env, baseline=settings)
    assert type(model.policy.features_extractor).__name__ == extractor
    model.learn(16)
    obs, _ = env.reset(seed=0)
    assert env.action_space.contains(int(model.predict(obs)[0]))


def test_random_actions_follow_the_seed():
    env = gymnasium.make(TOY)
    obs, _ = env.reset(seed=0)
    a, b = (mbrl_agents.make_agent("random", env, seed=1) for _ in range(2))
    first, state = a.predict(obs)
    assert np.array_equal(first, b.predict(obs)[0])
    assert not np.array_equal(first, a.predict(obs, state)[0])
    batch = {"pose": np.zeros((3, 21), np.float32)}
    assert a.predict(batch)[0].shape == (3, 7)


def test_random_actions_are_drawn_from_discrete_spaces_too():
    env = gymnasium.make("CartPole-v1")
    agent = mbrl_agents.make_agent("random", env, seed=1)
    obs, _ = env.reset(seed=0)
    state, drawn = None, set()
    for _ in range(20):
        action, state = agent.predict(obs, state)
        assert env.action_space.contains(action)
        drawn.add(int(action))
    assert drawn == {0, 1}
    assert agent.predict(np.zeros((3, 4), np.float32))[0].shape == (3,)


def test_the_expert_succeeds_in_one_and_in_many_environments():
    envs = make_vec_env(TOY, 2, seed=0)
    successes = []

    def note(scope, _):
        if scope["done"]:
            successes.append(scope["info"]["is_success"])

    expert = mbrl_agents.make_agent("expert", envs)
    evaluate_policy(expert, envs, n_eval_episodes=4, callback=note, warn=False)
    assert successes == [True] * 4
    env = gymnasium.make(TOY)
    obs, _ = env.reset(seed=0)
    assert mbrl_agents.make_agent("expert", env).predict(obs)[0].shape == (7,)
    with pytest.raises(ValueError, match="no demonstrator"):
        mbrl_agents.make_agent("expert", gymnasium.make("Pendulum-v1"))


def test_reference_policies_have_no_settings():
    with pytest.raises(ValueError, match=r"'random' has no settings, got \['planner'\]"):
        mbrl_agents.make_agent("random", gymnasium.make(TOY), planner={"horizon": 3})
