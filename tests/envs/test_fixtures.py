"""Where fixtures stand: in the centre of their regions, or drawn as LIBERO draws them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mbrl_agents.envs.libero.assets import primitive_assets_dir
from mbrl_agents.envs.libero.building import build
from mbrl_agents.envs.libero.env import LiberoEnv
from mbrl_agents.envs.libero.simulation import Simulation
from mbrl_agents.envs.libero.suites import SUITES

SPATIAL = SUITES["libero_spatial"]
CABINET = "wooden_cabinet_1"

pytestmark = pytest.mark.libero


@pytest.fixture(scope="module")
def drawn() -> Simulation:
    return Simulation(SPATIAL, 4, primitive_assets_dir(), fixtures="random")


def pose(simulation: Simulation, name: str = CABINET) -> np.ndarray:
    body = simulation.body_of(name)
    return np.concatenate([simulation.model.body_pos[body], simulation.model.body_quat[body]])


def test_drawn_fixtures_equal_a_hard_reset(drawn: Simulation) -> None:
    """For random placements and official states alike: LIBERO's reset under the same seed."""
    stock = build(SPATIAL, 4, primitive_assets_dir())  # from seed 0
    drawn.reset_random(0)
    np.testing.assert_allclose(drawn.model.body_pos, stock.sim.model._model.body_pos, atol=1e-12)
    drawn.reset_to(3, seed=0)
    np.testing.assert_allclose(drawn.model.body_pos, stock.sim.model._model.body_pos, atol=1e-12)
    np.testing.assert_allclose(drawn.model.body_quat, stock.sim.model._model.body_quat, atol=1e-12)
    state = drawn.init_states[3]
    np.testing.assert_array_equal(drawn.data.qpos, state[1 : 1 + drawn.model.nq])


def test_drawn_fixtures_vary_within_their_regions(drawn: Simulation) -> None:
    centre = Simulation(SPATIAL, 4, primitive_assets_dir())
    centre.reset_to(0)
    poses = []
    for seed in range(10):
        drawn.reset_to(0, seed)
        poses.append(pose(drawn))
    away = np.array(poses) - pose(centre)
    assert np.abs(away[:, :2]).max() <= 0.01 + 1e-9
    assert np.abs(away[:, :2]).max() > 0.003
    assert len(np.unique(np.round(poses, 9), axis=0)) == 10
    drawn.reset_to(0, 4)
    np.testing.assert_array_equal(pose(drawn), poses[4])


def test_the_centre_holds_for_random_placements(drawn: Simulation) -> None:
    centre = Simulation(SPATIAL, 4, primitive_assets_dir())
    centre.reset_to(0)
    expected = pose(centre)
    for seed in range(3):
        centre.reset_random(seed)
        drawn.reset_random(seed)
        np.testing.assert_allclose(pose(centre), expected, atol=1e-12)
        # What stands on the table is placed alike.
        for name in ("plate_1", "cookies_1"):
            np.testing.assert_allclose(centre.position_of(name), drawn.position_of(name))
    # What lies in the drawer goes with the cabinet.
    moved = drawn.position_of("akita_black_bowl_1") - centre.position_of("akita_black_bowl_1")
    assert np.linalg.norm(moved) > 1e-4


@pytest.mark.parametrize("options", [{}, {"init_state": 2}])
def test_the_environment_draws_by_its_seed(options: dict[str, Any]) -> None:
    env = LiberoEnv(task=4, fixtures="random", assets="primitive", settle_steps=0)
    seen = []
    for seed in (1, 2, 1):
        env.reset(seed=seed, options=options)
        seen.append(pose(env.simulation))
    env.close()
    np.testing.assert_array_equal(seen[0], seen[2])
    assert np.abs(seen[0] - seen[1]).max() > 1e-4


@pytest.mark.parametrize("keyword", ["fixtures", "contact_rule"])
def test_unknown_values_are_refused(keyword: str) -> None:
    with pytest.raises(ValueError, match=f"unknown {keyword} 'other'; valid: "):
        LiberoEnv(**{keyword: "other"})
