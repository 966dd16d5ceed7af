"""An algorithm that acts by itself acts by planning as well, on the same weights."""

from __future__ import annotations

import warnings

import gymnasium
import numpy as np
import pytest
import torch

import mbrl_agents
from mbrl_agents.agents.agent import Agent
from mbrl_agents.algorithms.dreamer_v3 import DreamerV3
from mbrl_agents.runs.loading import load_run
from mbrl_agents.runs.spec import RunSpec
from mbrl_agents.runs.training import train_run

ENV = "toy_grasp:ToyGrasp-v0"
TINY = {
    "world_model": {"deter": 32, "hidden": 16, "units": 16, "depth": 2, "stoch": 4, "classes": 4},
    "actor_critic": {"imagination": 3},
    "training": {
        "batch_size": 4, "sequence_length": 8, "train_ratio": 4.0, "learning_starts": 20,
        "log_every": 20,
    },
}  # fmt: skip
QUICK = {"horizon": 4, "samples": 10, "elites": 3, "iterations": 2, "policy_samples": 3}


def roll(agent, steps: int = 4):
    env, actions, state = gymnasium.make(ENV), [], None
    obs, _ = env.reset(seed=2)
    for step in range(steps):
        action, state = agent.predict(obs, state, np.array([step == 0]), deterministic=True)
        obs, *_ = env.step(action)
        actions.append(action)
    return np.stack(actions), state


def test_it_learns_from_experience_that_is_gathered_by_planning(tmp_path):
    agent = mbrl_agents.make_agent("dreamer-v3-cem", gymnasium.make(ENV), planner=QUICK, **TINY)
    assert type(agent) is Agent
    assert type(agent.algorithm) is DreamerV3
    before = {k: v.clone() for k, v in agent.policy.state_dict().items()}
    searches: list[int] = []
    search = agent.policy.planner.plan

    def plan(model, state, **arguments):
        searches.append(agent.num_timesteps)
        assert arguments["prior"] is agent.algorithm.prior
        return search(model, state, **arguments)

    agent.policy.planner.plan = plan
    agent.learn(60)
    assert searches == list(range(60)), "a search at every step"
    assert agent.trainer.phases["dreamer"].updates > 0
    after = agent.policy.state_dict()
    for module in ("world_model", "actor_critic"):
        assert any(not torch.equal(before[k], after[k]) for k in after if k.startswith(module))
    # What the planner's filter saw is where training goes on from.
    assert agent.buffer.own.extras.read(0, slice(0, 60))["known"].all()
    actions, state = roll(agent)
    assert state.plan.actions.shape == (1, 4, 7)
    agent.save(tmp_path / "agent")
    again = mbrl_agents.load(tmp_path / "agent")
    assert np.array_equal(roll(again)[0], actions)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of the method that acts by itself."""
    folder = tmp_path_factory.mktemp("runs") / "dreamer"
    names = [f"{part}.{k}={v}" for part, values in TINY.items() for k, v in values.items()]
    train_run(RunSpec("dreamer", ENV, overrides=tuple(names), steps=40), folder)
    return folder


def test_another_method_plans_on_the_weights_of_a_run(run):
    # However little was learned, nothing holds the search back at the actor's own plan.
    quick = [f"planner.{name}={value}" for name, value in QUICK.items()] + ["planner.pull=0"]
    own, planning = load_run(run), load_run(run, "dreamer-v3-cem", quick)
    left, right = own.policy.state_dict(), planning.policy.state_dict()
    assert left.keys() == right.keys()
    assert all(torch.equal(left[key], right[key]) for key in left)
    assert planning.config.world_model == own.config.world_model
    assert own.policy.planner is None
    by_itself, state = roll(own)
    assert state.plan is None
    by_planning, state = roll(planning)
    assert state.plan.actions.shape == (1, 4, 7)
    assert not np.allclose(by_itself, by_planning)


def test_weights_stay_what_they_were_trained_as(run):
    with pytest.raises(ValueError, match="settled when the run of dreamer was trained"):
        load_run(run, "dreamer-v3-cem", ["world_model.deter=64"])
    with pytest.raises(ValueError, match="cannot use its weights"):
        load_run(run, "dreamer-cem")


def test_an_objective_that_takes_levels_for_changes_is_warned_of():
    from toy_grasp import ToyGrasp

    class Level(ToyGrasp):
        reward_is_change = False

    class Change(ToyGrasp):
        reward_is_change = True

    settings = {"objective": {"cumulative": True}}
    with pytest.warns(UserWarning, match="objective.cumulative=false objective.end_reward=4"):
        mbrl_agents.make_agent("simple-cem", Level(), **settings)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mbrl_agents.make_agent("simple-cem", Change(), **settings)
        mbrl_agents.make_agent("simple-cem", ToyGrasp(), **settings)
        mbrl_agents.make_agent("simple-cem", Level(), objective={"cumulative": False})
