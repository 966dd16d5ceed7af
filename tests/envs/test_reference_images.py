"""Images beside LIBERO's own, drawn under MuJoCo 3.3.0 by `scripts/reference_images.py`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import mujoco
import numpy as np
import pytest
from numpy.typing import NDArray

from mbrl_agents.envs.libero.contacts import SLEEP
from mbrl_agents.envs.libero.rendering import SceneRenderer
from mbrl_agents.envs.libero.simulation import Simulation
from mbrl_agents.envs.libero.suites import SUITES
from tests.support.official_assets import official_folder

pytestmark = pytest.mark.libero

REFERENCE = Path(__file__).parent / "reference" / "agentview.npz"
TASKS = (0, 2, 4, 5, 7, 9)


@pytest.fixture(scope="module", params=TASKS)
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[Simulation, NDArray[np.int64]]]:
    """A simulation in a reference state, and LIBERO's image of it turned upright."""
    assets, task = official_folder(), request.param
    with np.load(REFERENCE) as reference:
        state = reference[f"state_{task}"]
        names, poses = reference[f"fixtures_{task}"], reference[f"poses_{task}"]
        image = reference[f"image_{task}"][::-1].astype(np.int64)
    simulation = Simulation(SUITES["libero_spatial"], task, assets)
    simulation.reset_to(0)
    model, data = simulation.model, simulation.data
    model.opt.enableflags &= ~SLEEP  # MuJoCo moves no fixture while bodies may sleep
    for name, pose in zip(names, poses, strict=True):
        body = model.body(str(name)).id
        model.body_pos[body], model.body_quat[body] = pose[:3], pose[3:]
    data.qpos[:], data.qvel[:] = state[1 : 1 + model.nq], state[1 + model.nq :]
    mujoco.mj_forward(model, data)
    yield simulation, image
    simulation.close()


@pytest.mark.parametrize(("rendering", "limit"), [("libero", 0.1), ("fast", 3.0)])
def test_images_are_those_of_libero_under_the_reference_mujoco(
    pair: tuple[Simulation, NDArray[np.int64]], rendering: str, limit: float
) -> None:
    simulation, image = pair
    renderer = SceneRenderer(simulation, image.shape[:2], rendering=rendering)
    difference = np.abs(renderer.render("agentview") - image).mean()
    renderer.close()
    assert difference < limit
