"""The scripted demonstrator on the real simulator, from official init states."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import mbrl_agents  # noqa: F401  (registers the environments)
from mbrl_agents.envs.libero.experts import Demonstrated, expert_for
from mbrl_agents.envs.libero.experts.drawer import OpenDrawer


def _play(env: gym.Env[Any, Any], init_state: int) -> bool:
    env.reset(seed=0, options={"init_state": init_state})
    done, info = False, {}
    while not done:
        _, _, terminated, truncated, info = env.step(env.unwrapped.expert_action())
        done = terminated or truncated
    return bool(info["is_success"])


@pytest.mark.parametrize("task", range(10))
def test_expert_solves_every_spatial_task(task: int) -> None:
    env = gym.make("mbrl/LiberoSpatial-v0", task=task, assets="primitive")
    assert _play(env, init_state=1)
    env.close()


@pytest.mark.parametrize(
    ("suite", "task"),
    [("Object", 1), ("Object", 4), ("Goal", 1), ("Goal", 6)],
)
def test_expert_reaches_other_suites(suite: str, task: int) -> None:
    env = gym.make(f"mbrl/Libero{suite}-v0", task=task, assets="primitive")
    assert _play(env, init_state=0)
    env.close()


@pytest.mark.parametrize(
    "task",
    [
        "open_the_middle_drawer_of_the_cabinet",
        "open_the_top_drawer_and_put_the_bowl_inside",
        "push_the_plate_to_the_front_of_the_stove",
        "turn_on_the_stove",
        "put_the_wine_bottle_on_the_rack",
    ],
)
def test_expert_opens_pushes_turns_and_lays_down(task: str) -> None:
    env = gym.make("mbrl/LiberoGoal-v0", task=task, assets="primitive")
    assert _play(env, init_state=0)
    env.close()


def test_expert_says_what_it_cannot_do() -> None:
    goal = [("close", "microwave_1")]

    class Kitchen(Demonstrated):
        simulation: Any = SimpleNamespace(goal=goal)

    kitchen: Any = Kitchen()
    assert not kitchen.has_expert
    with pytest.raises(ValueError, match=r"no scripted demonstrator for the goal .*microwave_1"):
        kitchen.expert_action()


@pytest.mark.parametrize("region", ["wooden_cabinet_1_bottom_region", "flat_stove_1_cook_region"])
def test_no_hand_fits_before_the_lowest_drawer(region: str) -> None:
    env = gym.make("mbrl/LiberoGoal-v0", task=0, assets="primitive")
    with pytest.raises(ValueError, match=f"no scripted demonstrator opens '{region}'"):
        OpenDrawer(env.unwrapped.simulation, region)
    env.close()


@pytest.mark.parametrize(("task", "steps"), [(0, 47), (5, 40), (7, 55)])
def test_a_demonstrator_made_midway_acts_alike(task: int, steps: int) -> None:
    env = gym.make("mbrl/LiberoGoal-v0", task=task, assets="primitive")
    env.reset(seed=0, options={"init_state": 0})
    base: Any = env.unwrapped
    for _ in range(steps):
        env.step(base.expert_action())
    fresh = expert_for(base.simulation).action().astype(np.float32)
    np.testing.assert_array_equal(base.expert_action(), fresh)
    env.close()


def test_an_open_drawer_is_let_go_of_and_left() -> None:
    """Once the bowl's drawer is open the hand backs out before it turns to the bowl."""
    env = gym.make("mbrl/LiberoGoal-v0", task=3, assets="primitive")
    env.reset(seed=0, options={"init_state": 0})
    base: Any = env.unwrapped
    drawer = OpenDrawer(base.simulation, "wooden_cabinet_1_top_region", wanted=0.116, enough=0.105)
    while drawer.opened < 0.116:
        env.step(base.expert_action())
    assert not drawer.done
    action = base.expert_action()
    assert action[6] == -1.0
    for _ in range(25):
        env.step(base.expert_action())
    assert drawer.done
    assert 0.105 < drawer.opened < 0.14
    env.close()


def test_expert_is_memoryless() -> None:
    """Its action depends on the present state alone, whatever happened before."""
    env = gym.make("mbrl/LiberoSpatial-v0", task=2, assets="primitive")
    env.reset(seed=0, options={"init_state": 0})
    base: Any = env.unwrapped
    for _ in range(30):
        env.step(base.expert_action())
    first = base.expert_action()
    for _ in range(5):
        base.expert_action()
    np.testing.assert_array_equal(base.expert_action(), first)
    simulation = base.simulation
    saved = simulation.data.qpos.copy(), simulation.data.qvel.copy()
    env.step(np.ones(7, np.float32))
    simulation.data.qpos[:], simulation.data.qvel[:] = saved
    import mujoco

    mujoco.mj_forward(simulation.model, simulation.data)
    np.testing.assert_allclose(base.expert_action(), first, atol=1e-6)
    env.close()
