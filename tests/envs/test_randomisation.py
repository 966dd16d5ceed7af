"""Domain randomisation, on the real simulator with primitive assets."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from mbrl_agents.envs.libero.env import LiberoEnv
from mbrl_agents.envs.libero.randomisation import (
    PRESETS,
    Randomisation,
    parse_randomisation,
)

pytestmark = pytest.mark.libero
BOWL, PLATE = "akita_black_bowl_1", "plate_1"


def make(randomise: Any = None, **kwargs: Any) -> LiberoEnv:
    return LiberoEnv(task=2, assets="primitive", randomise=randomise, **kwargs)


def images(env: LiberoEnv, *seeds: int) -> np.ndarray:
    return np.stack([env.reset(seed=seed)[0]["image"].astype(float) for seed in seeds])


def test_looks_change_from_episode_to_episode_and_nothing_else_does() -> None:
    both = ("agentview", "robot0_eye_in_hand")
    plain, drawn = make(obs="image", cameras=both), make("looks", obs="image", cameras=both)
    first, second = plain.reset(seed=5)[0], drawn.reset(seed=5)[0]
    np.testing.assert_array_equal(first["pose"], second["pose"])
    for name in (BOWL, PLATE):
        np.testing.assert_array_equal(
            plain.simulation.position_of(name), drawn.simulation.position_of(name)
        )
    for camera in ("image", "wrist"):
        assert np.abs(first[camera].astype(float) - second[camera]).mean() > 5.0
    again = drawn.reset(seed=6)[0], drawn.reset(seed=5)[0]
    assert np.abs(again[0]["image"].astype(float) - second["image"]).mean() > 5.0
    np.testing.assert_array_equal(again[1]["image"], second["image"])
    np.testing.assert_array_equal(again[1]["wrist"], second["wrist"])
    plain.close()
    drawn.close()


@pytest.mark.parametrize("kind", [{"light": 0.5}, {"colours": 0.5}, {"camera": 0.05}])
def test_each_of_the_looks_changes_images_by_itself(kind: dict[str, float]) -> None:
    plain, drawn = make(obs="image"), make(kind, obs="image")
    expected, found = images(plain, 1, 2, 3), images(drawn, 1, 2, 3)
    changes = np.abs(found - expected).mean(axis=(1, 2, 3))
    assert (changes > 1.0).all()
    # More of it changes more.
    little = make({name: size / 10 for name, size in kind.items()}, obs="image")
    assert np.abs(images(little, 1, 2, 3) - expected).mean() < 0.5 * changes.mean()
    for env in (plain, drawn, little):
        env.close()


def test_a_moved_camera_sees_what_another_hid() -> None:
    # Drawn with full detail, the scene is the same: nothing was left out for being hidden.
    env = make({"camera": 0.1}, obs="image", image_size=128)
    exact = make({"camera": 0.1}, obs="image", image_size=128, rendering="libero")
    for seed in range(3):
        pair = images(env, seed)[0], images(exact, seed)[0]
        assert np.abs(pair[0] - pair[1]).mean() < 12.0, "but for shadows and edges"
    env.close()
    exact.close()


def test_physics_are_drawn_for_each_episode_within_their_factors() -> None:
    env, plain = make({"mass": 3.0, "friction": 2.0}), make()
    model, built = env.simulation.model, plain.simulation.model
    masses, frictions = [], []
    for seed in range(12):
        env.reset(seed=seed)
        bodies = [env.simulation.body_of(name) for name in (BOWL, PLATE)]
        masses.append(model.body_mass[bodies] / built.body_mass[bodies])
        np.testing.assert_allclose(
            model.body_inertia[bodies] / built.body_inertia[bodies],
            np.repeat(masses[-1][:, None], 3, axis=1),
        )
        assert model.body_subtreemass[bodies] == pytest.approx(model.body_mass[bodies])
        changed = (model.geom_friction != built.geom_friction).any(axis=1)
        ratios = model.geom_friction[changed, 0] / built.geom_friction[changed, 0]
        np.testing.assert_allclose(ratios, ratios[0])
        frictions.append(ratios[0])
    masses = np.array(masses)
    assert (masses >= 1 / 3).all()
    assert (masses <= 3).all()
    assert masses.min() < 0.8 < 1.25 < masses.max()
    assert not np.allclose(masses[:, 0], masses[:, 1]), "each object has its own"
    assert 0.5 <= min(frictions) < 0.9 < 1.1 < max(frictions) <= 2.0
    arm = built.body("robot0_link3").id
    assert model.body_mass[arm] == built.body_mass[arm]
    env.close()
    plain.close()


def test_places_are_drawn_from_wider_regions() -> None:
    def spread(env: LiberoEnv) -> np.ndarray:
        found = []
        for seed in range(25):
            env.reset(seed=seed)
            found.append(env.simulation.position_of(PLATE)[:2].copy())
        return np.ptp(found, axis=0)

    plain, drawn = make(settle_steps=0), make({"placement": 0.03}, settle_steps=0)
    narrow, wide = spread(plain), spread(drawn)
    assert (wide > narrow + 0.02).all()
    assert (wide < narrow + 0.06).all()
    plain.close()
    drawn.close()


def test_a_disturbance_stays_beside_it() -> None:
    env, heavy = make({"mass": 1.5}, disturbance={"object_mass": 4.0}), make()
    env.reset(seed=0)
    body = env.simulation.body_of(BOWL)
    factor = env.simulation.model.body_mass[body] / heavy.simulation.model.body_mass[body]
    assert 4 / 1.5 <= factor <= 4 * 1.5
    assert factor != pytest.approx(4.0)
    env.close()
    heavy.close()


def test_conditions_tell_it() -> None:
    plain, drawn = make(), make({"preset": "physics", "light": 0.1})
    assert plain.conditions["randomise"] is None
    assert drawn.conditions["randomise"] == "light=0.1 and mass=3 and friction=2"
    assert str(PRESETS["looks"]) == "looks (light=0.5 and colours=0.5 and camera=0.02)"
    plain.close()
    drawn.close()


def test_gymnasium_takes_the_keyword() -> None:
    env = gym.make("mbrl/LiberoSpatial-v0", task=2, assets="primitive", randomise="all")
    obs, _ = env.reset(seed=0)
    assert env.observation_space.contains(obs)
    env.step(env.action_space.sample())
    env.close()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("lights", "unknown randomisation 'lights'; valid: looks, physics, .*light"),
        ({"lights": 1}, "unknown kind of randomisation 'lights'; valid: looks, .*light"),
        (3, "randomise must be looks, .* got 3"),
        ({"light": 2}, "randomise: light must be a number from 0 to 1, got 2"),
        ({"mass": 0.5}, "randomise: mass must be a number from 1 to 100, got 0.5"),
        ({"camera": float("nan")}, "randomise: camera must be a number"),
        ({"colours": True}, "randomise: colours must be a number"),
    ],
)
def test_other_values_are_refused(value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_randomisation(value)


def test_official_states_have_no_drawn_placements() -> None:
    with pytest.raises(ValueError, match="placement wants init='random', got init='benchmark'"):
        make("places", init="benchmark")
    assert parse_randomisation(None) == Randomisation()
