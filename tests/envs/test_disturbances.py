"""Disturbed test environments, on the real simulator with primitive assets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from typer.testing import CliRunner

from mbrl_agents.cli.main import app
from mbrl_agents.data.collect import Collection, collect_to_folder
from mbrl_agents.envs.libero.disturbances import (
    PRESETS,
    Disturbance,
    Disturber,
    _place,
    parse_disturbance,
)
from mbrl_agents.envs.libero.env import LiberoEnv
from mbrl_agents.envs.libero.settled import SETTLE_ACTION

pytestmark = pytest.mark.libero
BOWL = "akita_black_bowl_1"
STAY = SETTLE_ACTION.astype(np.float32)


def make(disturbance: Any = None, **kwargs: Any) -> LiberoEnv:
    return LiberoEnv(task=2, assets="primitive", disturbance=disturbance, **kwargs)


@pytest.fixture(scope="module")
def plain() -> Iterator[LiberoEnv]:
    env = make()
    yield env
    env.close()


def play(env: LiberoEnv, seed: int, steps: int = 12) -> np.ndarray:
    """Poses ``(steps + 1, 21)`` under random actions, the same each time."""
    rng = np.random.default_rng(0)
    seen = [env.reset(seed=seed)[0]["pose"]]
    seen += [env.step(rng.uniform(-1, 1, 7).astype(np.float32))[0]["pose"] for _ in range(steps)]
    return np.stack(seen)


def test_a_heavier_object_settles_where_it_did(plain: LiberoEnv) -> None:
    heavy = make({"object_mass": 2.0})
    own, other = plain.simulation, heavy.simulation
    body = own.body_of(BOWL)
    assert other.model.body_mass[body] == pytest.approx(2 * own.model.body_mass[body])
    np.testing.assert_allclose(other.model.body_inertia[body], 2 * own.model.body_inertia[body])
    assert other.model.body_subtreemass[body] == pytest.approx(2 * own.model.body_mass[body])
    rest = np.arange(own.model.nbody) != body
    np.testing.assert_array_equal(other.model.body_mass[rest], own.model.body_mass[rest])
    for env in (plain, heavy):
        env.reset(seed=3)
    np.testing.assert_allclose(other.position_of(BOWL), own.position_of(BOWL), atol=5e-4)
    np.testing.assert_array_equal(other.position_of("plate_1"), own.position_of("plate_1"))
    assert np.abs(other.data.qvel[other.model.body(body).dofadr[0] :][:6]).max() < 1e-2
    heavy.close()


def test_the_friction_of_the_grasp_changes_by_the_factor(plain: LiberoEnv) -> None:
    slippery = make({"object_friction": 0.5})
    own, other = plain.simulation, slippery.simulation
    changed = np.flatnonzero((own.model.geom_friction != other.model.geom_friction).any(axis=1))
    bodies = {own.model.body(own.model.geom_bodyid[geom]).name for geom in changed}
    assert {name.split("_")[0] for name in bodies} == {"akita", "gripper0"}
    assert BOWL + "_main" in bodies
    ratio = other.model.geom_friction[changed] / own.model.geom_friction[changed]
    np.testing.assert_allclose(ratio, np.tile([0.5, 1.0, 1.0], (len(changed), 1)))

    def grip(env: LiberoEnv) -> float:
        env.reset(seed=0)
        simulation = env.simulation
        for _ in range(60):
            env.step(env.expert_action())
            if simulation.grasped(BOWL):
                break
        pads = [simulation.model.geom(pad).id for pads in simulation._finger_pads for pad in pads]
        found = [c.friction[0] for c in simulation.data.contact if set(c.geom) & set(pads)]
        return float(max(found))

    assert grip(slippery) == pytest.approx(0.5 * grip(plain))
    slippery.close()


def test_a_push_moves_the_object_once_and_by_its_distance() -> None:
    env = make({"push_step": 4, "push_distance": 0.06})
    simulation = env.simulation
    moves = []
    for seed in (1, 2, 1):
        env.reset(seed=seed)
        places = [simulation.position_of(BOWL).copy()]
        for _ in range(15):
            env.step(STAY)
            places.append(simulation.position_of(BOWL).copy())
        steps = np.diff(places, axis=0)
        assert np.flatnonzero(np.linalg.norm(steps, axis=1) > 1e-3).tolist() == [4]
        assert np.linalg.norm(steps[4, :2]) == pytest.approx(0.06, abs=1e-3)
        assert abs(steps[4, 2]) < 1e-3
        moves.append(steps[4, :2])
    # With nothing below it, it falls, although it was asleep.
    before = simulation.position_of(BOWL).copy()
    _place(simulation, BOWL, np.array([0.0, 0.0, 0.05]))
    for _ in range(10):
        env.step(STAY)
    np.testing.assert_allclose(simulation.position_of(BOWL), before, atol=5e-3)
    np.testing.assert_array_equal(moves[0], moves[2])
    assert np.linalg.norm(moves[0] - moves[1]) > 1e-3, "the seed draws the direction"
    env.close()


def test_what_the_gripper_holds_is_pushed_when_it_lets_go() -> None:
    env = make({"push_step": 0, "push_distance": 0.05})
    simulation = env.simulation
    env.reset(seed=0)
    env._disturber._pushed = True  # until it is held
    while not simulation.grasped(BOWL):
        env.step(env.expert_action())
    env._disturber._pushed = False
    for _ in range(5):
        env.step(np.array([0, 0, 0, 0, 0, 0, 1], np.float32))
        assert simulation.grasped(BOWL)
        assert not env._disturber._pushed
    for _ in range(25):
        env.step(np.array([0, 0, 0.3, 0, 0, 0, -1], np.float32))
    assert env._disturber._pushed
    env.close()


def test_noise_has_its_size_and_the_delay_shifts(plain: LiberoEnv) -> None:
    scale = plain.noise_scale
    noisy = Disturber(Disturbance(action_noise=0.4), scale)
    noisy.begin(np.random.default_rng(0))
    drawn = np.stack([noisy(plain.simulation, np.full(7, 0.1)) for _ in range(4000)])
    np.testing.assert_allclose(drawn.std(axis=0), 0.4 * np.array(scale), rtol=0.05, atol=1e-9)
    np.testing.assert_allclose(drawn.mean(axis=0), 0.1, atol=0.03)

    delayed = Disturber(Disturbance(action_delay=2), scale)
    given = np.arange(35.0).reshape(5, 7)
    for seed in (0, 1):  # the second episode begins as the first did
        delayed.begin(np.random.default_rng(seed))
        executed = [delayed(plain.simulation, action) for action in given]
        np.testing.assert_array_equal(executed, [SETTLE_ACTION, SETTLE_ACTION, *given[:3]])


def test_a_delayed_arm_does_later_what_it_would_have_done(plain: LiberoEnv) -> None:
    env = make({"action_delay": 3})
    env.reset(seed=5)
    for _ in range(3):
        env.step(np.ones(7, np.float32))
    delayed = env.step(STAY)[0]["pose"]
    plain.reset(seed=5)
    for _ in range(3):
        plain.step(STAY)
    np.testing.assert_array_equal(plain.step(np.ones(7, np.float32))[0]["pose"], delayed)
    env.close()


@pytest.mark.parametrize("preset", PRESETS)
def test_the_same_seed_gives_the_same_disturbed_episode(plain: LiberoEnv, preset: str) -> None:
    env = make(preset)
    first, other, again = play(env, 7, 24), play(env, 8, 24), play(env, 7, 24)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    np.testing.assert_allclose(first[0, 14:17], play(plain, 7, 0)[0, 14:17], err_msg="placements")
    assert preset in ("heavy", "slippery") or not np.array_equal(first, play(plain, 7, 24))
    env.close()


def test_a_disturbed_environment_leaves_others_alone(plain: LiberoEnv) -> None:
    before = play(plain, 4)
    env = make({"object_mass": 3, "object_friction": 0.2, "action_noise": 0.5, "action_delay": 2})
    play(env, 4)
    env.close()
    np.testing.assert_array_equal(play(plain, 4), before)
    fresh = make()
    np.testing.assert_array_equal(play(fresh, 4), before)
    fresh.close()


def test_results_tell_the_disturbance(plain: LiberoEnv, tmp_path: Path) -> None:
    assert plain.conditions["disturbance"] is None
    env = make("noisy", settle_steps=0)
    assert env.conditions["disturbance"] == "noisy (action_noise=0.3)"
    env.close()
    kwargs: dict[str, Any] = {"task": 2, "assets": "primitive", "settle_steps": 0}
    kwargs["max_episode_steps"] = 2
    spatial = "mbrl/LiberoSpatial-v0"
    collect_to_folder(tmp_path, Collection(spatial, kwargs, source="random", episodes=1))
    disturbed = {**kwargs, "disturbance": {"action_delay": 1}}
    with pytest.raises(ValueError, match="disturbance=None, not 'action_delay=1'"):
        collect_to_folder(tmp_path, Collection(spatial, disturbed, source="random", episodes=1))


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("env.disturbance=moved", "moved (push_step=20 and push_distance=0.03)"),
        ("env.disturbance.push_distance=0.02", "push_step=0 and push_distance=0.02"),
        ("env.disturbance={preset: noisy, action_delay: 1}", "action_noise=0.3 and action_delay=1"),
    ],
)
def test_the_command_line_disturbs(override: str, told: str, tmp_path: Path) -> None:
    arguments = ["eval", "random", "--task", "2", "--episodes", "1", "--out", str(tmp_path)]
    arguments += ["env.assets=primitive", "env.max_episode_steps=2", override, "--json"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["conditions"]["disturbance"] == told


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("heavvy", "unknown disturbance 'heavvy'; valid: heavy, slippery, .*object_mass"),
        ({"mass": 2}, "unknown kind of disturbance 'mass'; valid: heavy, .*object_mass"),
        ({"preset": "none"}, "unknown disturbance 'none'"),
        (3, "disturbance must be heavy, .* got 3"),
        ({"object_mass": 0}, r"object_mass must be a number from 0\.1 to 1000, got 0"),
        ({"object_mass": "2"}, "object_mass must be a number"),
        ({"action_delay": 1.5}, "action_delay must be a whole number from 0 to 50, got 1.5"),
        ({"push_distance": float("nan")}, "push_distance must be a number"),
        ({"action_noise": True}, "action_noise must be a number"),
    ],
)
def test_mistakes_are_answered(value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_disturbance(value)


def test_a_task_without_an_object_to_move_says_so() -> None:
    env = gym.make(
        "mbrl/LiberoGoal-v0", task="turn_on_the_stove", assets="primitive", disturbance="heavy"
    )
    with pytest.raises(ValueError, match="moves no object"):
        env.reset()
    env.close()
