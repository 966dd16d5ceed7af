"""What rewards pay for: "progress" for finishing, "dense" for staying."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import mbrl_agents  # noqa: F401  (registers the environments)
from mbrl_agents.envs.libero import reward as rewards
from mbrl_agents.envs.libero.reward import SATISFIED, SUCCESS_REWARD, potential

Policy = Callable[[Any], np.ndarray]

TASKS = [
    ("mbrl/LiberoSpatial-v0", 2),
    ("mbrl/LiberoSpatial-v0", 7),
    ("mbrl/LiberoObject-v0", 0),
    ("mbrl/LiberoObject-v0", 3),
    ("mbrl/LiberoGoal-v0", 1),
    ("mbrl/LiberoGoal-v0", 8),
]
STAY = np.array([0.0, 0, 0, 0, 0, 0, -1])


def expert(env: Any) -> np.ndarray:
    return env.expert_action()


def hover(env: Any) -> np.ndarray:
    """Fly to 3 cm above the object, fingers open, and stay there."""
    simulation = env.simulation
    goal = simulation.position_of(simulation.goal[0][1]) + [0.0, 0.0, 0.03]
    action = STAY.copy()
    action[:3] = np.clip((goal - simulation.grip_position) / 0.05, -1, 1)
    return action


def grasp_and_hover(env: Any) -> np.ndarray:
    """What the demonstrator does until the object is 5 cm up; then hold it there."""
    simulation = env.simulation
    name = simulation.goal[0][1]
    if simulation.grasped(name) and simulation.position_of(name)[2] > env.resting_height + 0.05:
        return -STAY
    return env.expert_action()


class Uniform:
    def __init__(self) -> None:
        self.generator = np.random.default_rng(0)

    def __call__(self, env: Any) -> np.ndarray:
        return self.generator.uniform(-1, 1, 7)


@pytest.fixture(scope="module", params=TASKS, ids=lambda task: f"{task[0][5:-3]}-{task[1]}")
def env(request: pytest.FixtureRequest) -> Iterator[gym.Env[Any, Any]]:
    env_id, task = request.param
    env = gym.make(env_id, task=task, reward="progress", assets="primitive")
    yield env
    env.close()


def run(env: gym.Env[Any, Any], policy: Policy) -> tuple[bool, np.ndarray]:
    """Whether the episode succeeded, and its rewards."""
    env.reset(seed=5)
    inner = env.unwrapped
    inner.resting_height = inner.simulation.position_of(inner.simulation.goal[0][1])[2]
    earned, terminated, truncated = [], False, False
    while not (terminated or truncated):
        _, reward, terminated, truncated, _ = env.step(policy(inner))
        earned.append(reward)
    return terminated, np.array(earned)


@pytest.fixture(scope="module")
def episodes(env: gym.Env[Any, Any]) -> dict[str, tuple[bool, np.ndarray]]:
    policies = {
        "expert": expert,
        "random": Uniform(),
        "waiting": lambda _env: STAY,
        "hovering": hover,
        "grasping and hovering": grasp_and_hover,
    }
    return {name: run(env, policy) for name, policy in policies.items()}


@pytest.mark.parametrize("discount", [1.0, 0.997, 0.99])
def test_finishing_earns_most(
    episodes: dict[str, tuple[bool, np.ndarray]], discount: float
) -> None:
    returns = {
        name: float(earned @ discount ** np.arange(len(earned)))
        for name, (_, earned) in episodes.items()
    }
    finished = {name for name, (success, _) in episodes.items() if success}
    assert finished == {"expert"}
    for name, value in returns.items():
        if name != "expert":
            assert value < returns["expert"] - 0.5, returns


def test_holding_the_object_earns_more_than_hovering_and_hovering_more_than_waiting(
    episodes: dict[str, tuple[bool, np.ndarray]],
) -> None:
    total = {name: earned.sum() for name, (_, earned) in episodes.items()}
    assert total["grasping and hovering"] > total["hovering"] + 0.5
    assert total["hovering"] > total["waiting"] + 0.05
    assert abs(total["waiting"]) < 0.05


def test_rewards_sum_to_the_change_of_the_potential() -> None:
    env = gym.make("mbrl/LiberoSpatial-v0", task=2, reward="progress", assets="primitive").unwrapped
    env.reset(seed=1)
    start = potential(env.simulation)
    total = 0.0
    for _ in range(30):
        total += env.step(env.expert_action())[1]
        assert total == pytest.approx(potential(env.simulation) - start, abs=1e-9)
    env.reset(seed=2)
    _, reward, *_ = env.step(STAY)
    assert abs(reward) < 0.01, "nothing of the episode before"
    terminated, total, start = False, reward, potential(env.simulation) - reward
    while not terminated:
        _, reward, terminated, _, _ = env.step(env.expert_action())
        total += reward
    assert total == pytest.approx(SATISFIED - start + SUCCESS_REWARD)
    env.close()


def test_dense_pays_more_for_hovering_than_for_finishing_and_says_so_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rewards, "_warned", set())
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            env = gym.make("mbrl/LiberoSpatial-v0", task=2, reward="dense", assets="primitive")
    assert [r.message.count("hovering earns more than finishing") for r in caplog.records] == [1]
    assert run(env, hover)[1].sum() > run(env, expert)[1].sum()
    env.close()
