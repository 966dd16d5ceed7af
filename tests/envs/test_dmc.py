"""The Control Suite: states, rewards and ends are dm_control's; images too where they should be."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env as gymnasium_check
from stable_baselines3.common.env_checker import check_env as sb3_check

import mbrl_agents.envs  # noqa: F401  registers
from mbrl_agents.data.conditions import conditions_of
from mbrl_agents.envs.dmc import FAST, DeepMindControl

pytest.importorskip("dm_control", reason='needs dm_control: pip install "mbrl-agents[dmc]"')


def make(**kwargs):
    return gymnasium.make("mbrl/DMC-v0", disable_env_checker=True, **kwargs)


def original(domain, task, seed):
    from dm_control import suite

    return suite.load(domain, task, task_kwargs={"random": seed})


def moves(env, count):
    rng = np.random.default_rng(1)
    space = env.action_space
    return [rng.uniform(space.low, space.high).astype(np.float32) for _ in range(count)]


@pytest.mark.parametrize(
    ("domain", "task"), [("walker", "walk"), ("cartpole", "swingup_sparse"), ("hopper", "stand")]
)
def test_states_and_rewards_are_those_of_dm_control(domain, task):
    env = make(domain=domain, task=task, obs="state", action_repeat=2)
    other = original(domain, task, seed=5)
    for seed in (5, None):  # the second episode too
        left = env.reset(seed=seed)[0]
        right = other.reset()
        for action in [None, *moves(env, 10)]:
            if action is not None:
                left, reward, terminated, truncated, _info = env.step(action)
                first, right = other.step(action), other.step(action)
                assert reward == first.reward + right.reward
                assert not terminated
                assert not truncated
            parts = [np.ravel(part) for part in right.observation.values()]
            assert np.array_equal(left, np.concatenate(parts).astype(np.float32))
    env.close()


@pytest.mark.parametrize(("rendering", "flags"), [("dm_control", None), ("fast", FAST)])
def test_images_are_those_of_dm_control_drawn_alike(rendering, flags):
    env = make(domain="walker", task="run", rendering=rendering, action_repeat=1)
    other = original("walker", "run", seed=3)
    if rendering == "fast":
        other.physics.model.vis.quality.offsamples = 0
    frames = [env.reset(seed=3)[0]]
    other.reset()
    for action in [None, *moves(env, 3)]:
        if action is not None:
            frames.append(env.step(action)[0])
            other.step(action)
        drawn = other.physics.render(64, 64, camera_id=0, render_flag_overrides=flags)
        assert np.array_equal(frames[-1], drawn)
    assert len({frame.tobytes() for frame in frames}) == 4  # none was drawn over by the next
    env.close()


def test_what_is_drawn_fast_moves_as_what_is_drawn_slowly():
    fast, slow = (make(rendering=rendering) for rendering in ("fast", "dm_control"))
    for env in (fast, slow):
        env.reset(seed=0)
    for action in moves(fast, 4):
        left, right = fast.step(action), slow.step(action)
        assert left[1:] == right[1:]
        assert not np.array_equal(left[0], right[0])
    assert np.array_equal(
        fast.unwrapped._env.physics.get_state(), slow.unwrapped._env.physics.get_state()
    )
    fast.close()
    slow.close()


def test_the_time_limit_cuts_off_and_discount_0_ends():
    env = make(domain="cartpole", task="balance", obs="state", action_repeat=400)
    env.reset(seed=0)
    ends = [env.step(np.zeros(1, np.float32))[2:4] for _ in range(3)]
    assert ends == [(False, False), (False, False), (False, True)]  # after 1,000 control steps
    # Of the suite's tasks few end by themselves, and those late.
    env.reset(seed=0)
    env.unwrapped._env.task.get_termination = lambda physics: 0.0
    assert env.step(np.zeros(1, np.float32))[2:4] == (True, False)


def test_gymnasium_and_sb3_find_nothing_wrong():
    for kwargs in ({"obs": "state"}, {"size": 32}):
        env = make(domain="cartpole", task="balance", render_mode="rgb_array", **kwargs)
        gymnasium_check(env.unwrapped)
        sb3_check(env)
        again = gymnasium.make(env.spec)
        assert np.array_equal(again.reset(seed=2)[0], env.reset(seed=2)[0])
        assert env.render().shape == (256, 256, 3)
        told = conditions_of(env)
        assert told["task"] == "cartpole balance"
        assert ("rendering" in told) == ("size" in kwargs)
        env.close()


def test_cameras_by_number_and_name():
    env = make(domain="quadruped", size=32)
    assert env.unwrapped.camera == 2
    env.close()
    by_name, by_number = (DeepMindControl(camera=camera, size=32) for camera in ("back", 1))
    assert np.array_equal(by_name.reset(seed=0)[0], by_number.reset(seed=0)[0])
    by_name.close()
    by_number.close()


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"domain": "waker"}, "unknown domain 'waker', did you mean 'walker'"),
        ({"task": "fly"}, r"unknown task of walker 'fly' \(valid: .*run.*\)"),
        ({"camera": "front"}, r"walker has no camera 'front'; valid: -1, 0 \(side\), 1 \(back\)"),
        ({"camera": 7}, "walker has no camera 7"),
        ({"obs": "pixel"}, "unknown obs 'pixel', did you mean 'pixels'"),
        ({"rendering": "slow"}, "unknown rendering"),
        ({"render_mode": "ansi"}, "unknown render_mode"),
        ({"action_repeat": 0}, "action_repeat must be at least 1"),
    ],
)
def test_wrong_keywords_are_refused(kwargs, message):
    with pytest.raises(ValueError, match=message):
        make(**kwargs)


def test_an_action_of_the_wrong_size_is_refused():
    env = make(domain="cartpole", task="balance", obs="state")
    env.reset(seed=0)
    with pytest.raises(ValueError, match="an action of cartpole balance is 1 finite numbers"):
        env.step(np.zeros(2, np.float32))
