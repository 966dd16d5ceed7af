"""Planning and cloning on DreamerV3's latents through the same agent as the pose methods."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest

import mbrl_agents
import toy_grasp

SMALL = {
    "world_model": {"deter": 64, "hidden": 32, "units": 32, "depth": 2, "stoch": 8, "classes": 4},
    "training": {
        "model_steps": 30,
        "policy_steps": 60,
        "evaluate_every": 15,
        "batch_size": 4,
        "sequence_length": 12,
    },
}
QUICK = {"horizon": 4, "samples": 12, "elites": 3, "iterations": 2}
PLANNERS = {
    "dreamer-cem": {**QUICK, "hold": 2},
    "dreamer-policy": {},
    "dreamer-policy-cem": {**QUICK, "policy_samples": 3},
}


class Pictures(gymnasium.ObservationWrapper):
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


def picture_episodes(count: int) -> list:
    episodes = toy_grasp.demonstrations(count)
    for episode in episodes:
        frames = [see(pose) for pose in episode.observations["pose"]]
        episode.observations.clear()
        episode.observations.update({k: np.stack([f[k] for f in frames]) for k in frames[0]})
    return episodes


@pytest.fixture(scope="module")
def episodes():
    return picture_episodes(5)


def make_env():
    return Pictures(gymnasium.make("toy_grasp:ToyGrasp-v0"))


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
def test_it_learns_from_pictures_plans_and_is_saved(name, episodes, tmp_path):
    agent = mbrl_agents.make_agent(name, make_env(), **SMALL, planner=PLANNERS[name])
    metrics = agent.fit(episodes, folder=tmp_path / "run")
    assert metrics["world_model/train/images"] > 0
    assert np.isfinite(list(metrics.values())).all()
    actions = roll(agent)
    assert actions.shape == (5, 7)
    assert np.abs(actions).max() <= 1
    loaded = mbrl_agents.load(tmp_path / "run", make_env())
    np.testing.assert_allclose(roll(loaded), actions, atol=1e-6)


def test_latents_are_carried_from_step_to_step(episodes):
    agent = mbrl_agents.make_agent("dreamer-policy", make_env(), **SMALL)
    agent.fit(episodes)
    obs, _ = make_env().reset(seed=1)
    first, state = agent.predict(obs, None, np.ones(1, bool), deterministic=True)
    second, later = agent.predict(obs, state, np.zeros(1, bool), deterministic=True)
    again, _ = agent.predict(obs, state, np.ones(1, bool), deterministic=True)
    np.testing.assert_allclose(first, again, atol=1e-6)
    assert not np.allclose(first, second)
    assert not later.model["deter"].equal(state.model["deter"])
