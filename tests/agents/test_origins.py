"""An agent tells environments apart whose spaces are equal."""

from __future__ import annotations

import warnings

import gymnasium
import pytest
from stable_baselines3.common.env_util import make_vec_env

import mbrl_agents
from mbrl_agents.agents.origins import OtherTaskWarning, difference, origin_of, tells_success

REACH, TASKS = "toy_reach:ToyReach-v0", "toy_tasks:ToyTasks-v0"
SMALL = {
    "world_model": {"hidden": [8], "head_hidden": [8], "outcome_hidden": [8], "ensemble": 2},
    "planner": {"horizon": 2, "samples": 4, "elites": 2, "iterations": 1, "hold": 1, "replan": 1},
    "training": {"model_steps": 2, "refit_steps": 1, "random_steps": 40, "round_steps": 40},
}


@pytest.fixture
def strict():
    with warnings.catch_warnings():
        warnings.simplefilter("error", OtherTaskWarning)
        yield


def trained(tmp_path, **kwargs):
    agent = mbrl_agents.make_agent("simple-cem", gymnasium.make(REACH, **kwargs), seed=0, **SMALL)
    agent.learn(80)
    agent.save(tmp_path / "agent")
    return agent


def test_a_task_that_is_not_given_is_the_default():
    """ToyReach has task 0 unless another is asked for."""
    given, left_out = (origin_of(gymnasium.make(REACH, **k)) for k in ({"task": 0}, {}))
    assert given == left_out
    other = origin_of(gymnasium.make(REACH, task=1))
    words = difference(left_out, other)
    assert words is not None
    assert "trained on task 0 of ToyReach-v0, and this is task 1" in words


def test_an_environment_that_nobody_registered_has_no_default_task():
    cart = type(gymnasium.make("CartPole-v1").unwrapped)
    spec = gymnasium.envs.registration.EnvSpec("Own-v0", entry_point=cart)
    assert origin_of(gymnasium.make(spec)) == {"env": "Own-v0", "tasks": None}


def test_another_task_is_warned_of_and_possible(tmp_path, strict):
    agent = trained(tmp_path, task=0)
    mbrl_agents.load(tmp_path / "agent", gymnasium.make(REACH, task=0))
    mbrl_agents.load(tmp_path / "agent")
    words = "trained on task 0 of ToyReach-v0, and this is task 1; ignore OtherTaskWarning"
    with pytest.warns(OtherTaskWarning, match=words):
        moved = mbrl_agents.load(tmp_path / "agent", gymnasium.make(REACH, task=1))
    with pytest.warns(OtherTaskWarning):
        agent.set_env(make_vec_env(REACH, 1, env_kwargs={"task": 1}))
    # Transfer: from then on the new task is its own.
    moved.learn(120, reset_num_timesteps=False)
    moved.save(tmp_path / "moved")
    mbrl_agents.load(tmp_path / "moved", gymnasium.make(REACH, task=1))


def test_names_are_numbers_and_one_of_several_tasks_is_known():
    def origin(**kwargs):
        return origin_of(gymnasium.make(TASKS, **kwargs))

    assert origin(task=1) == {"env": "ToyTasks-v0", "tasks": [1]}
    assert difference(origin(task=[0, 2]), origin(task=2)) is None
    assert difference(origin(task=None), origin(task=2)) is None
    assert difference(origin(task=[0, 2]), origin(task=[2, 0])) is None
    assert "on tasks 0, 2 of ToyTasks-v0, and this is task 1" in difference(
        origin(task=[0, 2]), origin(task=1)
    )
    assert "this is all tasks" in difference(origin(task=0), origin(task=None))


def test_another_environment_and_one_without_a_name():
    first, second = (origin_of(gymnasium.make(f"CartPole-v{n}")) for n in (0, 1))
    assert "trained in CartPole-v0, and this is CartPole-v1" in difference(first, second)
    nameless = gymnasium.make("CartPole-v1").unwrapped
    nameless.spec = None
    assert origin_of(nameless) is None
    assert difference(first, None) is None
    assert difference(None, first) is None


def test_success_is_told_by_an_attribute_behind_any_wrappers():
    assert tells_success(gymnasium.make(REACH))
    assert tells_success(make_vec_env(REACH, 2))
    assert tells_success(gymnasium.make("mbrl/Reach-v0", size=32))
    assert not tells_success(gymnasium.make("mbrl/Catch-v0", size=32))
    assert not tells_success(make_vec_env("Pendulum-v1", 1))


def test_without_success_plans_are_scored_by_predicted_rewards():
    agent = mbrl_agents.make_agent("simple-cem", "Pendulum-v1")
    assert agent.config.search["objective"] == "return"
    assert not agent.config.objective.terminal_value
    assert mbrl_agents.make_agent("simple-cem", gymnasium.make(REACH)).config.search == {
        "planner": "cem", "objective": "progress",
    }  # fmt: skip
    own = mbrl_agents.make_agent("simple-cem", "Pendulum-v1", objective="progress")
    assert own.config.objective.mode == "mean"
    with pytest.raises(ValueError, match=r"tells no success.*unless objective\.name=progress"):
        mbrl_agents.make_agent("simple-cem", "Pendulum-v1", objective={"mode": "end"})
