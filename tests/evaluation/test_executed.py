"""Evaluated episodes say what a planner's model promised beyond what came of it."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch

import mbrl_agents
import toy_grasp
from mbrl_agents.evaluation.rollouts import EpisodeRecord, run_episode
from mbrl_agents.evaluation.statistics import summarise

SMALL = {
    "world_model": {"hidden": [8], "head_hidden": [8], "outcome_hidden": [8]},
    "training": {"model_steps": 4, "policy_steps": 4, "log_every": 4, "batch_size": 8},
}
SEARCH = {"horizon": 6, "samples": 8, "elites": 2, "iterations": 1}


@pytest.fixture(scope="module")
def episodes():
    return toy_grasp.demonstrations(3)


def agent(name, episodes, **settings):
    env = gymnasium.make("toy_grasp:ToyGrasp-v0", max_episode_steps=20)
    made = mbrl_agents.make_agent(name, env, **SMALL, **settings)
    made.fit(episodes)
    return made, env


def test_what_is_recorded_is_what_the_model_says_of_the_executed_actions(episodes):
    made, env = agent("simple-cem", episodes, planner={**SEARCH, "hold": 1, "replan": 1})
    model = made.algorithm.world_model
    with torch.no_grad():
        before = run_episode(env, made, seed=0)
        # A model that promises one more at every step is more optimistic by one a step.
        model.reward_normaliser.mean += 1.0
        after = run_episode(env, made, seed=0)
    assert before.optimism["horizon"] == 6
    assert before.optimism.keys() == {"horizon", "reward", "progress"}
    # The same plans: a constant changes no order.
    assert after.episode_return == pytest.approx(before.episode_return)
    assert after.optimism["reward"] == pytest.approx(before.optimism["reward"] + 6, abs=1e-2)
    assert after.optimism["progress"] == pytest.approx(before.optimism["progress"], abs=1e-3)
    assert before.to_json()["optimism"] == before.optimism


def test_who_does_not_search_promises_nothing(episodes):
    made, env = agent("simple-policy", episodes)
    assert run_episode(env, made, seed=0).optimism is None


def test_an_episode_shorter_than_the_horizon_is_looked_at_as_far_as_it_goes(episodes):
    made, _ = agent("simple-cem", episodes, planner={**SEARCH, "hold": 1, "replan": 1})
    env = gymnasium.make("toy_grasp:ToyGrasp-v0", max_episode_steps=4)
    assert run_episode(env, made, seed=0).optimism["horizon"] == 4


def test_a_table_has_the_mean_over_episodes():
    def record(optimism):
        return EpisodeRecord(0, None, 0, True, 1.0, 10, (1.0,), optimism=optimism)

    found = summarise(
        [
            record({"horizon": 12.0, "progress": 2.0, "reward": 0.5}),
            record({"horizon": 9.0, "progress": -1.0, "reward": 0.0}),
        ]
    )
    assert found["optimism"] == {"horizon": 12.0, "progress": 0.5, "reward": 0.25}
    assert summarise([record(None)])["optimism"] is None
    only = summarise([record({"horizon": 3.0, "reward": np.float64(0.25)})])
    assert only["optimism"] == {"horizon": 3.0, "reward": 0.25}
