"""MiniGrid as images: what it draws, in sizes that world models take, and what success is."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from stable_baselines3.common.env_checker import check_env as sb3_check

import mbrl_agents.envs  # noqa: F401  registers
from mbrl_agents.data.conditions import conditions_of

pytest.importorskip("minigrid", reason='needs minigrid: pip install "mbrl-agents[minigrid]"')
LEFT, RIGHT, FORWARD = 0, 1, 2


def make(**kwargs):
    return gymnasium.make("mbrl/MiniGrid-v0", disable_env_checker=True, **kwargs)


@pytest.mark.parametrize("view", ["agent", "grid"])
def test_images_are_minigrids_own(view):
    from minigrid import wrappers

    # Tiles that fill the image leave nothing to resize: 7 x 7 cells, or 8 x 8.
    side, task = (7, "MiniGrid-Empty-8x8-v0") if view == "agent" else (8, "MiniGrid-Empty-8x8-v0")
    env = make(env_id=task, view=view, size=8 * side)
    wrap = wrappers.RGBImgPartialObsWrapper if view == "agent" else wrappers.RGBImgObsWrapper
    other = wrappers.ImgObsWrapper(wrap(gymnasium.make(task), tile_size=8))
    left, right = env.reset(seed=0)[0], other.reset(seed=0)[0]
    for action in (FORWARD, RIGHT, FORWARD, LEFT):
        assert np.array_equal(left, right)
        (left, *after), (right, *others) = env.step(action), other.step(action)
        assert after[:3] == others[:3]


def test_success_is_an_end_with_a_reward():
    env = make(env_id="MiniGrid-Empty-5x5-v0")
    assert env.observation_space.shape == (64, 64, 3)
    assert env.action_space.n == 7
    assert env.reset(seed=0)[1]["is_success"] is False
    for action in (FORWARD, FORWARD, RIGHT, FORWARD, FORWARD):
        _, reward, terminated, _, info = env.step(action)
        assert info["is_success"] == terminated == (reward > 0)
    assert terminated
    lava = make(env_id="MiniGrid-DistShift1-v0")
    lava.reset(seed=0)
    for action in (FORWARD, FORWARD, RIGHT, FORWARD, LEFT, FORWARD, LEFT, FORWARD):
        _, reward, terminated, _, info = lava.step(action)
        if terminated:
            break
    assert (terminated, reward, info["is_success"]) == (True, 0.0, False)


def test_sb3_finds_nothing_wrong_and_the_spec_builds_the_same_task():
    env = make(env_id="MiniGrid-DoorKey-6x6-v0", size=32, view="grid", render_mode="rgb_array")
    sb3_check(env)
    again = gymnasium.make(env.spec)
    assert np.array_equal(again.reset(seed=2)[0], env.reset(seed=2)[0])
    assert env.render().ndim == 3
    assert conditions_of(env)["task"] == "MiniGrid-DoorKey-6x6-v0"
    # The step limit is the task's own; its keywords are passed on.
    short = make(max_steps=3)
    short.reset(seed=0)
    assert [short.step(LEFT)[3] for _ in range(3)] == [False, False, True]


def test_wrong_keywords_are_refused():
    with pytest.raises(ValueError, match="unknown view 'top'; valid: agent, grid"):
        make(view="top")
    with pytest.raises(ValueError, match="CartPole-v1 is no task of MiniGrid"):
        make(env_id="CartPole-v1")
    with pytest.raises(gymnasium.error.NameNotFound):
        make(env_id="MiniGrid-Nowhere-v0")
