"""Own experience: what environments are given and what is recorded of them is the same."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from small_methods import ACTIONS, small_settings
from stable_baselines3.common.vec_env import DummyVecEnv

from mbrl_agents.agents.agent import Agent
from mbrl_agents.agents.experience import Collector
from mbrl_agents.config import resolve_config
from mbrl_agents.data.buffer import SequenceBuffer
from mbrl_agents.data.extras import KNOWN

LENGTH = 5


class Echo(gymnasium.Env):
    """Shows how many steps were taken, and the action that it was given last.

    Every other episode ends for good, the others are cut off, after `LENGTH` steps.
    """

    def __init__(self, actions: spaces.Space) -> None:
        size = 1 if isinstance(actions, spaces.Discrete) else actions.shape[0]
        self.observation_space = spaces.Box(-np.inf, np.inf, (1 + size,), np.float64)
        self.action_space, self.size = actions, size
        self.taken, self.episodes = 0, 0

    def _seen(self, action: np.ndarray) -> np.ndarray:
        return np.concatenate([[self.taken], action])

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps, self.episodes = 0, self.episodes + 1
        return self._seen(np.zeros(self.size)), {}

    def step(self, action):
        assert self.action_space.contains(action)
        self.taken, self.steps = self.taken + 1, self.steps + 1
        over, good = self.steps == LENGTH, self.episodes % 2 == 0
        seen = self._seen(np.reshape(action, -1).astype(np.float64))
        return seen, float(self.taken), over and good, over and not good, {"is_success": good}


@pytest.fixture(params=ACTIONS)
def gathered(request) -> tuple[SequenceBuffer, spaces.Space]:
    """Experience from two environments: at random first, then by the policy."""
    actions, n_envs = ACTIONS[request.param], 2
    env = DummyVecEnv([lambda: Echo(actions) for _ in range(n_envs)])
    config = resolve_config("dreamer", small_settings("dreamer"))
    agent = Agent(config, env)
    buffer = SequenceBuffer(
        env.observation_space, actions, extras=agent.algorithm.extras, capacity=200, n_envs=n_envs
    )
    collector, seen = Collector(agent.policy, buffer, n_envs), env.reset()
    draw = torch.Generator().manual_seed(0)
    for step in range(40):
        seen, *_ = collector.step(env, seen, draw, random=step < 20)
    return buffer, actions


def test_recorded_actions_are_those_the_environment_was_given(gathered):
    buffer, _ = gathered
    for env in range(2):
        rows = buffer.own.steps.read(env, 0, int(buffer.own.count[env]))
        inside = ~rows["is_first"]
        given = buffer.codec.encode(rows["obs.obs"][inside, 1:])
        assert np.allclose(rows["prev_action"][inside], given, atol=1e-6)
        assert len(np.unique(given, axis=0)) > 2
        assert not rows["prev_action"][rows["is_first"]].any()
        # The reward of a step is the number of the observation that it led to.
        assert np.array_equal(rows["reward"][inside], rows["obs.obs"][inside, 0])
    episodes = buffer.episodes()
    assert len(episodes) == 16
    for episode in episodes:
        shown = episode.observations["obs"][1:, 1:]
        assert np.allclose(episode.actions, shown, atol=1e-6)


def test_ends_and_cuts_are_told_apart_and_last_observations_kept(gathered):
    buffer, _ = gathered
    rows = buffer.own.steps.read(0, 0, int(buffer.own.count[0]))
    assert len(rows["reward"]) == 40 + 8, "the observations that episodes ended with as well"
    first, last = rows["is_first"], rows["is_last"]
    assert np.flatnonzero(first).tolist() == list(range(0, 48, LENGTH + 1))
    assert np.flatnonzero(last).tolist() == list(range(LENGTH, 48, LENGTH + 1))
    assert rows["terminal"][last].tolist() == [False, True] * 4
    assert not rows["terminal"][~last].any()
    assert rows["success"][last].tolist() == [False, True] * 4
    assert (np.diff(rows["obs.obs"][:, 0])[~last[:-1]] == 1).all()


def test_what_the_algorithm_stores_is_known_where_it_acted_itself(gathered):
    buffer, _ = gathered
    count = int(buffer.own.count[0])
    env, index = np.zeros(count, int), np.arange(count)
    rows = buffer.own.steps.read(0, 0, count)
    known = buffer.own.extras.read(env, index)[KNOWN].numpy()
    acted = rows["obs.obs"][:, 0] >= 20
    # Nothing is computed of the observation that an episode ended with.
    assert np.array_equal(known, acted & ~rows["is_last"])
