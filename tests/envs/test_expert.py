"""The scripted demonstrator on the real simulator, from official init states."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import mbrl_agents  # noqa: F401  (registers the environments)
from mbrl_agents.envs.libero.experts import Demonstrated


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
        "put_the_wine_bottle_on_the_rack",
    ],
)
def test_expert_lays_a_bottle_down(task: str) -> None:
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
