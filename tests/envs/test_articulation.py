"""Drawers and knobs: what observations and rewards say of their joints."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np
import pytest

import mbrl_agents  # noqa: F401  (registers the environments)
from mbrl_agents.envs.libero.articulation import in_drawer, on_table, progress
from mbrl_agents.envs.libero.bddl import FIXTURE_JOINTS
from mbrl_agents.envs.libero.reward import SATISFIED, potential

GOAL = "mbrl/LiberoGoal-v0"
DRAWER, TOP, STOVE = "wooden_cabinet_1_middle_region", "wooden_cabinet_1_top_region", "flat_stove_1"
ZONE = "main_table_stove_front_region"


def _make(task: int) -> gym.Env[Any, Any]:
    env = gym.make(GOAL, task=task, assets="primitive", reward="progress")
    env.reset(seed=0, options={"init_state": 0})
    return env


@pytest.fixture(scope="module")
def envs() -> Iterator[dict[int, gym.Env[Any, Any]]]:
    made = {task: _make(task) for task in (0, 3, 5, 7)}
    yield made
    for env in made.values():
        env.close()


def _set(simulation: Any, joint: str, position: float) -> None:
    simulation.data.qpos[simulation.model.joint(joint).qposadr[0]] = position
    mujoco.mj_forward(simulation.model, simulation.data)


def test_fixtures_have_as_many_joints_as_task_descriptions_count(
    envs: dict[int, gym.Env[Any, Any]],
) -> None:
    for name, fixture in envs[0].unwrapped.simulation.inner.fixtures_dict.items():
        if name != "main_table":
            assert len(fixture.joints) == FIXTURE_JOINTS.get(fixture.category_name, 0)


@pytest.mark.parametrize(
    ("kind", "name", "joint", "position", "expected"),
    [
        ("open", DRAWER, "wooden_cabinet_1_middle_level", 0.0, 0.0),
        ("open", DRAWER, "wooden_cabinet_1_middle_level", -0.07, 0.5),
        ("open", DRAWER, "wooden_cabinet_1_middle_level", -0.16, 1.0),
        ("close", DRAWER, "wooden_cabinet_1_middle_level", -0.07, 0.5),
        ("close", DRAWER, "wooden_cabinet_1_middle_level", -0.14, 0.0),
        ("turnon", STOVE, "flat_stove_1_button", 0.25, 0.5),
        ("turnon", STOVE, "flat_stove_1_button", 2.0, 1.0),
        ("turnoff", STOVE, "flat_stove_1_button", 0.1, 0.8),
    ],
)
def test_progress_is_the_share_of_a_joints_way(
    envs: dict[int, gym.Env[Any, Any]],
    kind: str,
    name: str,
    joint: str,
    position: float,
    expected: float,
) -> None:
    simulation = envs[0].unwrapped.simulation
    _set(simulation, joint, position)
    assert progress(simulation, kind, name) == pytest.approx(expected)


@pytest.mark.parametrize(("kind", "name"), [("turnon", DRAWER), ("on", STOVE), ("open", ZONE)])
def test_progress_of_what_has_no_such_joint(
    envs: dict[int, gym.Env[Any, Any]], kind: str, name: str
) -> None:
    with pytest.raises(ValueError, match="no joint"):
        progress(envs[0].unwrapped.simulation, kind, name)


def test_where_a_target_is(envs: dict[int, gym.Env[Any, Any]]) -> None:
    simulation = envs[5].unwrapped.simulation
    fixed = ("wine_rack_1_top_region", "flat_stove_1_cook_region", "wooden_cabinet_1_top_side")
    assert in_drawer(simulation, TOP)
    assert not any(in_drawer(simulation, name) for name in (*fixed, ZONE, "plate_1"))
    assert on_table(simulation, ZONE)
    assert not any(on_table(simulation, name) for name in (*fixed, TOP, "plate_1"))


def test_the_knob_is_observed(envs: dict[int, gym.Env[Any, Any]]) -> None:
    env = envs[7]
    observation, _ = env.reset(seed=0, options={"init_state": 0})
    assert env.observation_space.contains(observation)
    assert observation["pose"].shape == (14,)
    assert observation["joints"] == pytest.approx([0.0], abs=1e-3)
    _set(env.unwrapped.simulation, "flat_stove_1_button", 0.3)
    observation = env.step(np.zeros(7, np.float32))[0]
    assert observation["joints"] == pytest.approx([0.3], abs=0.02)


def test_the_drawer_is_observed(envs: dict[int, gym.Env[Any, Any]]) -> None:
    """The site in a drawer moves with it: nothing needs to be added."""
    env = envs[0]
    shut = env.reset(seed=0, options={"init_state": 0})[0]["pose"]
    assert shut.shape == (14,)
    _set(env.unwrapped.simulation, "wooden_cabinet_1_middle_level", -0.1)
    opened = env.step(np.zeros(7, np.float32))[0]["pose"]
    np.testing.assert_allclose(opened[7:10] - shut[7:10], [0.0, 0.1, 0.0], atol=2e-3)


def test_only_tasks_about_such_fixtures_have_joints(envs: dict[int, gym.Env[Any, Any]]) -> None:
    assert [task for task, env in envs.items() if "joints" in env.observation_space.spaces] == [7]
    images = gym.make(GOAL, task=7, obs="robot_pose", assets="primitive")
    assert set(images.observation_space.spaces) == {"pose"}


def test_all_tasks_of_a_suite_have_the_joints_of_one() -> None:
    env = gym.make(GOAL, task=None, assets="primitive", settle_steps=0)
    observation, _ = env.reset(seed=0, options={"task": 8})
    assert env.observation_space.contains(observation)
    assert observation["pose"].shape == (21,)
    assert not observation["joints"].any()
    env.close()


@pytest.mark.parametrize(
    ("task", "joint", "positions"),
    [
        (0, "wooden_cabinet_1_middle_level", (0.0, -0.05, -0.1, -0.13)),
        (3, "wooden_cabinet_1_top_level", (0.0, -0.05, -0.1, -0.13)),
        (7, "flat_stove_1_button", (0.0, 0.1, 0.3, 0.45)),
    ],
)
def test_potential_rises_with_the_joint(
    envs: dict[int, gym.Env[Any, Any]], task: int, joint: str, positions: tuple[float, ...]
) -> None:
    env = envs[task]
    env.reset(seed=0, options={"init_state": 0})
    simulation = env.unwrapped.simulation
    rises = []
    for position in positions:
        _set(simulation, joint, position)
        rises.append(potential(simulation))
    # An opening middle drawer's inside also comes nearer to the gripper, or goes away from it.
    assert np.diff(rises).min() > 0.1
    assert max(rises) <= 2.0 < SATISFIED


def test_potential_rises_as_the_plate_nears_its_zone(envs: dict[int, gym.Env[Any, Any]]) -> None:
    env = envs[5]
    env.reset(seed=0, options={"init_state": 0})
    simulation = env.unwrapped.simulation
    address = int(simulation.model.joint("plate_1_joint0").qposadr[0])
    before = potential(simulation)
    # Along a circle around the gripper the plate is as far from it, and nearer to the zone.
    grip = simulation.grip_position.copy()
    offset = simulation.data.qpos[address : address + 2] - grip[:2]
    turned = np.array([[np.cos(0.5), -np.sin(0.5)], [np.sin(0.5), np.cos(0.5)]]) @ offset
    simulation.data.qpos[address : address + 2] = grip[:2] + turned
    mujoco.mj_forward(simulation.model, simulation.data)
    assert not simulation.success()
    assert before + 0.05 < potential(simulation) <= 2.0


@pytest.mark.parametrize("task", [0, 3, 5, 7])
def test_the_demonstrator_earns_more_than_waiting(
    envs: dict[int, gym.Env[Any, Any]], task: int
) -> None:
    """Before the end as well, where the potential alone counts; and nothing in the pose jumps."""
    env = envs[task]
    poses = [env.reset(seed=0, options={"init_state": 1})[0]["pose"]]
    earned, done = [], False
    while not done:
        observation, reward, done, truncated, _ = env.step(env.unwrapped.expert_action())
        poses.append(observation["pose"])
        earned.append(reward)
        assert not truncated
    assert sum(earned[:-1]) > 0.5
    assert earned[-1] > 10.0
    assert np.abs(np.diff(poses, axis=0)).max() < 0.5
