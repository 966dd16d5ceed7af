"""What counts as success, and on which initial states it is measured."""

from __future__ import annotations

import numpy as np

from mbrl_agents.data.parallel import make_env
from mbrl_agents.data.recording import run_episode
from mbrl_agents.data.rollout import succeeded
from mbrl_agents.evaluation import rollouts
from mbrl_agents.runs.loading import ReferencePredictor

TOY = "toy_reach:ToyReach-v0"


def test_an_end_alone_is_no_success():
    assert not succeeded({})
    assert succeeded({"is_success": True})
    env = make_env("CartPole-v1", {})

    class Left:
        def predict(self, observation, state=None, episode_start=None, deterministic=False):
            return 0, None

    # Fell, and so terminated; the environment says nothing of success.
    assert rollouts.run_episode(env, Left(), seed=0).success is None

    class Ends(make_env(TOY, {}).unwrapped.__class__):
        def step(self, action):
            obs, reward, *_ = super().step(action)
            return obs, reward, True, False, {}

    assert not run_episode(Ends(), source="random", seed=np.random.SeedSequence(0)).success


def test_official_states_by_default_where_there_are_some():
    assert rollouts.default_init(TOY) == "benchmark"
    assert rollouts.default_init("mbrl/LiberoSpatial-v0") == "benchmark"
    assert rollouts.default_init("Pendulum-v1") == "random"
    records = rollouts.evaluate(ReferencePredictor("random"), "Pendulum-v1", episodes=1)
    assert records[0].init_state is None
