"""Image conventions, LIBERO's robot state, and observations as published evaluations have them."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from robosuite.utils.transform_utils import convert_quat, quat2axisangle

import mbrl_agents  # noqa: F401  (registers the environments)
from mbrl_agents.envs import PublishedObservations, make_published
from mbrl_agents.envs.libero.observation import stock_axis_angle
from mbrl_agents.envs.libero.published import (
    batched,
    instruction_of,
    published_keywords,
)
from mbrl_agents.envs.libero.suites import SUITES

pytestmark = pytest.mark.libero

SPATIAL = "mbrl/LiberoSpatial-v0"
BOTH = ("agentview", "robot0_eye_in_hand")
SMALL = {"assets": "primitive", "rendering": "fast", "image_size": 32, "fixtures": "centre"}


def observe(**keywords: Any) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """What an environment shows of one state, and what it renders."""
    env = gym.make(
        SPATIAL, task=2, obs="image", cameras=BOTH, image_size=32, assets="primitive",
        render_mode="rgb_array", render_size=32, **keywords,
    )  # fmt: skip
    observation, _ = env.reset(seed=0, options={"init_state": 0})
    rendered = env.render()
    env.close()
    return observation, rendered


@pytest.fixture(scope="module")
def upright() -> tuple[dict[str, np.ndarray], np.ndarray]:
    return observe()


@pytest.mark.parametrize(
    ("convention", "turn"),
    [
        ("raw", lambda image: image[::-1]),
        ("rotated", lambda image: image[::-1][::-1, ::-1]),
    ],
)
def test_conventions_turn_observed_images_but_not_rendered_ones(
    upright: tuple[dict[str, np.ndarray], np.ndarray], convention: str, turn: Any
) -> None:
    observation, rendered = observe(image_convention=convention)
    for key in ("image", "wrist"):
        np.testing.assert_array_equal(observation[key], turn(upright[0][key]))
    np.testing.assert_array_equal(rendered, upright[1])
    np.testing.assert_array_equal(rendered, upright[0]["image"])


def test_libero8_has_both_fingers_and_the_same_place(
    upright: tuple[dict[str, np.ndarray], np.ndarray],
) -> None:
    pose7 = upright[0]["pose"]
    state = observe(robot_state="libero8")[0]["pose"]
    assert state.shape == (8,)
    np.testing.assert_array_equal(state[:3], pose7[:3])
    assert state[6] - state[7] == pytest.approx(pose7[6])
    assert state[6] > 0.03 > -0.03 > state[7]


@pytest.mark.parametrize("obs", ["robot_pose", "image"])
def test_spaces_know_the_robot_state(obs: str) -> None:
    env = gym.make(SPATIAL, task=2, obs=obs, robot_state="libero8", assets="primitive")
    assert env.observation_space["pose"].shape == (8,)
    env.close()


def test_axis_angles_are_robosuites() -> None:
    generator = np.random.default_rng(0)
    for quaternion in generator.normal(size=(200, 4)):
        unit = quaternion / np.linalg.norm(quaternion)
        expected = quat2axisangle(convert_quat(unit, to="xyzw"))
        np.testing.assert_allclose(stock_axis_angle(unit), expected, atol=1e-9)
    np.testing.assert_array_equal(stock_axis_angle(np.array([1.0, 0, 0, 0])), np.zeros(3))


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"rendering": "slow"}, "fast, libero"),
        ({"image_convention": "mirrored"}, "upright, raw, rotated"),
        ({"robot_state": "pose8"}, "pose7, libero8"),
        ({"obs": "pose", "robot_state": "libero8"}, "pose7"),
    ],
)
def test_bad_keywords_are_answered_with_the_valid_ones(
    keywords: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        gym.make(SPATIAL, task=2, **keywords)


def test_lerobot_observations() -> None:
    env = make_published(task=2, observation_format="lerobot", **SMALL)
    observation, info = env.reset(seed=0)
    assert info["init_state"] == 0
    assert env.observation_space.contains(observation)
    assert set(observation) == {
        "observation.images.image", "observation.images.image2", "observation.state", "task",
    }  # fmt: skip
    image = observation["observation.images.image"]
    assert image.shape == (3, 32, 32)
    assert image.dtype == np.float32
    assert 0.0 <= image.min() < 0.5 < image.max() <= 1.0
    seen = observe()[0]["image"][:, ::-1]  # upright is mirrored
    np.testing.assert_array_equal(np.round(255 * image).astype(np.uint8), seen.transpose(2, 0, 1))
    assert observation["task"].startswith("pick up the black bowl from table center")
    batch = batched(observation)
    assert batch["observation.images.image2"].shape == (1, 3, 32, 32)
    assert batch["observation.state"].dtype == torch.float32
    assert batch["task"] == [observation["task"]]
    stepped = env.step(np.zeros(7, np.float32))[0]
    assert env.observation_space.contains(stepped)
    env.close()


def test_openvla_observations() -> None:
    env = make_published(task=2, observation_format="openvla", **{**SMALL, "image_size": 256})
    observation, _ = env.reset(seed=0)
    assert env.observation_space.contains(observation)
    assert set(observation) == {"full_image", "wrist_image", "state", "task_description"}
    assert observation["state"].shape == (8,)
    # Resized and once through JPEG, it is still the same image.
    shown = observe(image_convention="rotated")[0]["image"].astype(float)
    coarse = observation["full_image"].reshape(32, 7, 32, 7, 3).mean(axis=(1, 3))
    assert np.abs(coarse - shown).mean() < 12
    assert np.abs(coarse[:, ::-1] - shown).mean() > 2 * np.abs(coarse - shown).mean()
    env.close()


def test_limits_and_settling_are_those_of_the_evaluations() -> None:
    for name, suite in SUITES.items():
        assert published_keywords("openvla", name)["max_episode_steps"] == suite.max_steps
    assert published_keywords("lerobot", "libero_spatial")["max_episode_steps"] == 280
    keywords = published_keywords("lerobot", "libero_10")
    assert (keywords["max_episode_steps"], keywords["settle_steps"]) == (520, 10)
    assert (keywords["image_size"], keywords["rendering"]) == (256, "libero")


def test_instructions_are_liberos() -> None:
    from mbrl_agents.envs.libero.runtime import libero_envs

    libero_envs()
    from libero.libero.benchmark import grab_language_from_filename

    for suite in ("libero_spatial", "libero_10", "libero_90"):
        for name in SUITES[suite].task_names:
            assert instruction_of(name) == grab_language_from_filename(f"{name}.bddl")


def test_other_environments_are_refused() -> None:
    env = gym.make(SPATIAL, task=2, obs="image", cameras=BOTH, assets="primitive")
    with pytest.raises(ValueError, match="image_convention='rotated'"):
        PublishedObservations(env, "lerobot")
    env.close()
    with pytest.raises(ValueError, match="lerobot, openvla"):
        make_published(task=2, observation_format="octo")
