"""One observation space for all tasks of a suite, and for each of them alone."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env as gymnasium_check_env
from stable_baselines3.common.env_checker import check_env as sb3_check_env

import mbrl_agents  # noqa: F401  (registers the environments)

SPATIAL, GOAL = "mbrl/LiberoSpatial-v0", "mbrl/LiberoGoal-v0"


def made(env_id: str, **keywords: Any) -> Any:
    return gym.make(env_id, assets="primitive", settle_steps=0, **keywords).unwrapped


@pytest.mark.parametrize("obs", ["pose", "robot_pose", "image"])
def test_one_task_can_be_observed_as_all_are(obs: str) -> None:
    every = made(GOAL, task=None, obs=obs)
    for keywords in ({"task": 7, "one_hot_task": True}, {"task": [7, 1]}):
        assert made(GOAL, obs=obs, **keywords).observation_space == every.observation_space
    assert "task" not in made(GOAL, task=7, obs=obs).observation_space.spaces
    # Without the entry, the space is still the same whatever the task.
    bare = made(GOAL, task=None, obs=obs, one_hot_task=False).observation_space
    assert set(every.observation_space) - set(bare) == {"task"}
    assert made(GOAL, task=7, obs=obs, one_hot_task=False).observation_space == bare


def test_a_fixed_task_says_which_it_is_and_pads_its_poses() -> None:
    env = made(GOAL, task=7, one_hot_task=True)
    observation, info = env.reset(seed=0, options={"init_state": 49})
    assert observation["task"].tolist() == [0.0] * 7 + [1.0] + [0.0] * 2
    assert (info["task"], env.n_init_states) == (7, 50)
    alone, _ = made(GOAL, task=7).reset(seed=0, options={"init_state": 49})
    assert alone["pose"].shape == (14,)  # one object of interest, where others have two
    np.testing.assert_array_equal(observation["pose"], [*alone["pose"], *np.zeros(7)])
    assert [env.reset(seed=s)[1]["task"] for s in range(3)] == [7, 7, 7]
    with pytest.raises(ValueError, match="made for task 7"):
        env.reset(options={"task": 1})


def test_both_checkers_accept_a_fixed_task_with_its_number() -> None:
    env = gym.make(SPATIAL, task=2, one_hot_task=True, assets="primitive")
    gymnasium_check_env(env.unwrapped, skip_render_check=True)
    sb3_check_env(env)
    env.close()


def test_a_list_of_tasks_draws_among_them() -> None:
    env = made(SPATIAL, task=(3, 8))
    drawn = [env.reset(seed=s)[1]["task"] for s in range(6)]
    assert set(drawn) == {3, 8}
    observation, _ = env.reset(options={"task": 8})
    assert observation["task"].argmax() == env.task_index == 8
    with pytest.raises(ValueError, match="made for task 3, 8"):
        env.reset(options={"task": 2})
    for wrong in ([], [1, 1], [99]):
        with pytest.raises(ValueError, match="task"):
            made(SPATIAL, task=wrong)
    env.close()
