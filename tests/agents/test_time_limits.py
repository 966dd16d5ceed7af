"""A time-out cuts an episode off; only a termination says that no reward can follow."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.env_util import make_vec_env

import mbrl_agents

LENGTH = 4
TINY_DREAMER = {
    "world_model": {"deter": 16, "hidden": 8, "units": 8, "depth": 2, "stoch": 2, "classes": 2},
    "actor_critic": {"imagination": 2},
    "training": {
        "batch_size": 8, "sequence_length": 6, "train_ratio": 48.0, "learning_starts": 20,
    },
}  # fmt: skip


class Ends(gymnasium.Env):
    """Episodes of four steps, which show how they will end: in turn by a termination (1), by a
    time-out (-1), and by both at once (2), which is a termination."""

    observation_space = spaces.Box(-2.0, 2.0, (2,), np.float32)
    action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
    kinds = (1.0, -1.0, 2.0)

    def __init__(self) -> None:
        self.number = -1

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.number, self.steps = self.number + 1, 0
        return self._see(), {}

    def step(self, action):
        self.steps += 1
        over = self.steps == LENGTH
        return self._see(), 1.0, over and self._kind > 0, over and self._kind != 1, {}

    @property
    def _kind(self) -> float:
        return self.kinds[self.number % 3]

    def _see(self):
        return np.array([self._kind, self.steps / LENGTH], np.float32)


@pytest.fixture(params=[1, 2])
def env(request):
    return make_vec_env(Ends, request.param)


def check(obs: torch.Tensor, is_last: torch.Tensor, terminal: torch.Tensor) -> set[float]:
    """Ends and terminations are where the observations say; returns the kinds of ends seen."""
    over, kind = obs[..., 1] == 1, obs[..., 0]
    assert torch.equal(is_last & over, is_last)
    assert torch.equal(terminal, is_last & (kind > 0))
    return set(kind[is_last].tolist())


def test_what_is_recorded(env):
    agent = mbrl_agents.make_agent("simple-cem", env, training={"random_steps": 10**6})
    agent.learn(13 * env.num_envs)
    episodes = agent.buffer.episodes()
    assert len(episodes) == 3 * env.num_envs
    for episode in episodes:
        assert len(episode) == LENGTH
        assert episode.terminated == (episode.observations["obs"][0, 0] > 0)
    rings = agent.buffer.own
    batch = rings.sequences(rings.place(np.arange(len(rings)), 1), 1)
    assert check(batch.obs["obs"], batch.is_last, batch.terminal) == {1.0, -1.0, 2.0}


def test_what_a_latent_model_is_taught(env, monkeypatch):
    agent = mbrl_agents.make_agent("dreamer", env, **TINY_DREAMER)
    model, seen = agent.algorithm.world_model, set()
    learn = model.compute_loss

    def spy(batch, *arguments, **keywords):
        seen.update(check(batch.obs["obs"], batch.is_last, batch.terminal))
        return learn(batch, *arguments, **keywords)

    monkeypatch.setattr(model, "compute_loss", spy)
    agent.learn(60)
    assert seen == {1.0, -1.0, 2.0}


def test_what_a_fitted_model_believes():
    agent = mbrl_agents.make_agent(
        "simple-cem",
        Ends(),
        world_model={"ensemble": 1, "hidden": [16], "head_hidden": [16], "outcome_hidden": [32]},
        training={
            "random_steps": 200, "round_steps": 10**6, "model_steps": 250, "batch_size": 64,
            "sequence_length": 2, "learning_rate": 1e-2, "holdout": 0.0,
        },
    )  # fmt: skip
    agent.learn(200)
    model = agent.algorithm.world_model
    kinds = torch.tensor(Ends.kinds)
    last = torch.stack([kinds, torch.ones(3)], 1)
    before = torch.stack([kinds, torch.full((3,), 1 - 1 / LENGTH)], 1)
    with torch.no_grad():
        goes_on = model.predict_heads(model.features({"obs": last, "prev_obs": before}))[1]
    assert (goes_on > 0.9).tolist() == [False, True, False]
    assert (goes_on < 0.1).tolist() == [True, False, True]
