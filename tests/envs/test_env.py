"""The Gymnasium face of LIBERO: spaces, determinism, bad input."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env as gymnasium_check_env
from stable_baselines3.common.env_checker import check_env as sb3_check_env

import mbrl_agents  # noqa: F401  (registers the environments)
from mbrl_agents.envs.libero.observation import axis_angle
from mbrl_agents.envs.libero.suites import SUITES, get_suite

SPATIAL = "mbrl/LiberoSpatial-v0"


@pytest.fixture(scope="module")
def env() -> Iterator[gym.Env[Any, Any]]:
    env = gym.make(SPATIAL, task=2, reward="dense", assets="primitive")
    yield env
    env.close()


def test_both_checkers_accept_poses(env: gym.Env[Any, Any]) -> None:
    gymnasium_check_env(env.unwrapped, skip_render_check=True)
    sb3_check_env(env)


def test_both_checkers_accept_pictures() -> None:
    env = gym.make(
        SPATIAL,
        task="pick_up_the_black_bowl_from_table_center_and_place_it_on_the_plate",
        obs="image",
        cameras=("agentview", "robot0_eye_in_hand"),
        image_size=32,
        assets="primitive",
        render_mode="rgb_array",
        render_size=48,
    )
    gymnasium_check_env(env.unwrapped)
    sb3_check_env(env)
    observation, _ = env.reset(seed=0)
    assert observation["image"].shape == observation["wrist"].shape == (32, 32, 3)
    assert observation["pose"].shape == (7,)
    assert observation["image"].std() > 10, "a picture shows something"
    picture = env.render()
    assert picture.shape == (48, 48, 3)
    # Upright: the robot's light wall is above the wooden table, which is redder than blue.
    upper, lower = picture[:12].mean((0, 1)), picture[-12:].mean((0, 1))
    assert lower[0] - lower[2] > upper[0] - upper[2]
    env.close()


def test_pose_lists_robot_and_objects_of_interest(env: gym.Env[Any, Any]) -> None:
    observation, info = env.reset(seed=1, options={"init_state": 4})
    simulation = env.unwrapped.simulation
    pose = observation["pose"]
    assert pose.shape == (21,)
    assert info == {"init_state": 4, "is_success": False, "task": 2}
    np.testing.assert_allclose(pose[:3], simulation.grip_position, atol=1e-6)
    np.testing.assert_allclose(pose[7:10], simulation.position_of("akita_black_bowl_1"), atol=1e-6)
    np.testing.assert_allclose(pose[14:17], simulation.position_of("plate_1"), atol=1e-6)
    assert 0.07 < pose[6] < 0.085, "the gripper is open"
    assert np.linalg.norm(pose[10:14]) == pytest.approx(1.0, abs=1e-5)


def test_all_tasks_in_one_environment() -> None:
    env = gym.make(SPATIAL, task=None, assets="primitive", settle_steps=0)
    observation, info = env.reset(seed=3, options={"task": 7})
    assert observation["task"].argmax() == info["task"] == 7
    first = [env.reset(seed=s)[1]["task"] for s in (0, 1)]
    again = [env.reset(seed=s)[1]["task"] for s in (0, 1)]
    assert first == again
    assert env.observation_space.contains(observation)
    env.close()


def test_same_seed_same_episode(env: gym.Env[Any, Any]) -> None:
    def play() -> list[np.ndarray]:
        rng = np.random.default_rng(0)
        seen = [env.reset(seed=12)[0]["pose"]]
        for _ in range(8):
            seen.append(env.step(rng.uniform(-1, 1, 7).astype(np.float32))[0]["pose"])
        return seen

    np.testing.assert_array_equal(play(), play())
    assert not np.array_equal(env.reset(seed=13)[0]["pose"], env.reset(seed=12)[0]["pose"])


def test_rewards(env: gym.Env[Any, Any]) -> None:
    """The expert grasps (more than 1 a step) and ends in success: 1 + 1."""
    env.reset(seed=0, options={"init_state": 0})
    rewards, done = [], False
    while not done:
        _, reward, terminated, truncated, info = env.step(env.unwrapped.expert_action())
        rewards.append(reward)
        done = terminated or truncated
    assert terminated
    assert info["is_success"] is True
    assert rewards[0] < 1.0
    assert max(rewards[:-1]) > 1.5
    assert rewards[-1] == 2.0

    sparse = gym.make(SPATIAL, task=2, assets="primitive")
    sparse.reset(seed=0)
    assert sparse.step(np.zeros(7, np.float32))[1] == 0.0


def test_time_limit() -> None:
    env = gym.make(SPATIAL, task=2, assets="primitive", max_episode_steps=3, settle_steps=0)
    env.reset(seed=0)
    ends = [env.step(np.zeros(7, np.float32))[2:4] for _ in range(3)]
    assert ends == [(False, False), (False, False), (False, True)]
    assert gym.spec(SPATIAL).max_episode_steps == 220


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"task": 10}, "valid tasks"),
        ({"task": "pick_up_nothing"}, "valid tasks"),
        ({"obs": "poses"}, "robot_pose, pose, image"),
        ({"reward": "big"}, "sparse, dense, progress"),
        ({"init": "official"}, "random, benchmark"),
        ({"assets": "mine"}, "primitive"),
        ({"suite": "libero_lunar"}, "libero_spatial"),
        ({"obs": "image", "cameras": ("sideview",)}, "agentview"),
        ({"obs": "image", "cameras": ()}, "needs a camera"),
        ({"image_size": 0}, "at least 1"),
        ({"render_mode": "ansi"}, "rgb_array"),
    ],
)
def test_bad_keywords_are_answered_with_the_valid_ones(
    keywords: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        gym.make(SPATIAL, **keywords)


def test_bad_actions_leave_the_episode_as_it_was(env: gym.Env[Any, Any]) -> None:
    env.reset(seed=0)
    before = env.unwrapped.simulation.data.qpos.copy()
    with pytest.raises(ValueError, match=r"shape \(7,\)"):
        env.unwrapped.step(np.zeros(6, np.float32))
    with pytest.raises(ValueError, match="finite"):
        env.unwrapped.step(np.full(7, np.nan, np.float32))
    np.testing.assert_array_equal(env.unwrapped.simulation.data.qpos, before)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"init_state": 50}, "0..49"),
        ({"init_state": -1}, "from 0 on"),
        ({"init": 3}, "valid: 'init_state', 'task'"),
        ({"task": 4}, "made for task 2"),
    ],
)
def test_bad_reset_options(env: gym.Env[Any, Any], options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        env.reset(options=options)


def test_a_refused_reset_leaves_the_episode_as_it_was() -> None:
    env = gym.make(SPATIAL, task=None, assets="primitive", settle_steps=0).unwrapped
    env.reset(seed=0, options={"task": 2})
    with pytest.raises(ValueError, match=r"0\.\.49"):
        env.reset(options={"task": 7, "init_state": 50})
    assert env.task_index == 2
    env.step(np.zeros(7, np.float32))
    env.close()


def test_tasks_may_be_numpy_integers() -> None:
    suite = get_suite("libero_spatial")
    assert suite.task_index(np.int64(3)) == 3
    for wrong in (True, 1.5, None):
        with pytest.raises(ValueError, match="valid tasks"):
            suite.task_index(wrong)  # type: ignore[arg-type]


def test_step_before_reset_is_refused() -> None:
    env = gym.make(SPATIAL, task=2, assets="primitive")
    with pytest.raises(gym.error.ResetNeeded):
        env.unwrapped.step(np.zeros(7, np.float32))


def test_benchmark_init_goes_through_the_official_states() -> None:
    env = gym.make(SPATIAL, task=2, assets="primitive", init="benchmark", settle_steps=0)
    assert [env.reset()[1]["init_state"] for _ in range(3)] == [0, 1, 2]
    assert env.unwrapped.n_init_states == 50


def test_suites_are_those_of_libero() -> None:
    assert {name: len(suite.task_names) for name, suite in SUITES.items()} == {
        "libero_spatial": 10,
        "libero_object": 10,
        "libero_goal": 10,
        "libero_10": 10,
        "libero_90": 90,
    }
    for suite in SUITES.values():
        assert suite.env_id in gym.registry
        assert all(suite.bddl_file(t).is_file() for t in range(len(suite.task_names)))
        assert all(suite.init_states_file(t).is_file() for t in range(len(suite.task_names)))
    assert "table_center" in get_suite("libero_spatial").task_names[2]
    with pytest.raises(ValueError, match="libero_spatial"):
        get_suite("spatial")


def test_axis_angle_is_continuous_around_half_a_turn() -> None:
    """A gripper that points down turns through pi without its axis-angle jumping."""
    vectors = []
    for angle in np.linspace(np.pi - 0.3, np.pi + 0.3, 25):
        axis = np.array([0.99, 0.1, -0.1]) / np.linalg.norm([0.99, 0.1, -0.1])
        quaternion = np.r_[np.cos(angle / 2), np.sin(angle / 2) * axis]
        for sign in (1, -1):
            vectors.append(axis_angle(sign * quaternion))
    pairs = np.array(vectors).reshape(-1, 2, 3)
    np.testing.assert_allclose(pairs[:, 0], pairs[:, 1], atol=1e-9)
    assert np.abs(np.diff(pairs[:, 0], axis=0)).max() < 0.03
    np.testing.assert_allclose(axis_angle(np.array([1.0, 0, 0, 0])), 0)
    quarter = np.array([np.cos(np.pi / 4), 0, 0, -np.sin(np.pi / 4)])
    np.testing.assert_allclose(axis_angle(quarter), [0, 0, -np.pi / 2], atol=1e-12)


def test_leaving_without_close_is_quiet() -> None:
    script = (
        "import gymnasium, mbrl_agents\n"
        f"env = gymnasium.make({SPATIAL!r}, task=2, obs='image', assets='primitive')\n"
        "env.reset(seed=0)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert result.stderr == ""
