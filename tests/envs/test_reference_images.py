"""Images and robot states beside LIBERO's own, made under MuJoCo 3.3.0.

`scripts/reference_images.py` made them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import mujoco
import numpy as np
import pytest
from numpy.typing import NDArray

from mbrl_agents.envs.libero.contacts import SLEEP
from mbrl_agents.envs.libero.observation import libero_state
from mbrl_agents.envs.libero.rendering import SceneRenderer
from mbrl_agents.envs.libero.simulation import Simulation
from mbrl_agents.envs.libero.suites import SUITES
from tests.support.official_assets import official_folder

pytestmark = pytest.mark.libero

FILE = Path(__file__).parent / "reference" / "images.npz"
TASKS = (0, 2, 4, 5, 7, 9)
CAMERAS = {"agentview": "image", "robot0_eye_in_hand": "wrist"}

Reference = dict[str, NDArray[np.float64]]


@pytest.fixture(scope="module", params=TASKS)
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[Simulation, Reference]]:
    """A simulation in a reference state, and what LIBERO's observation of it was."""
    assets, task = official_folder(), request.param
    with np.load(FILE) as file:
        state, names, poses = (file[f"{key}_{task}"] for key in ("state", "fixtures", "poses"))
        observed = {key: file[f"{key}_{task}"] for key in ("image", "wrist", "robot")}
    simulation = Simulation(SUITES["libero_spatial"], task, assets)
    simulation.reset_to(0)
    model, data = simulation.model, simulation.data
    model.opt.enableflags &= ~SLEEP  # MuJoCo moves no fixture while bodies may sleep
    for name, pose in zip(names, poses, strict=True):
        body = model.body(str(name)).id
        model.body_pos[body], model.body_quat[body] = pose[:3], pose[3:]
    data.qpos[:], data.qvel[:] = state[1 : 1 + model.nq], state[1 + model.nq :]
    mujoco.mj_forward(model, data)
    yield simulation, observed
    simulation.close()


# Later versions of MuJoCo shade the stove's burner differently, which fills much of the wrist's
# view; all else is equal.
@pytest.mark.parametrize(
    ("camera", "rendering", "limit"),
    [
        ("agentview", "libero", 0.1),
        ("agentview", "fast", 3.0),
        ("robot0_eye_in_hand", "libero", 0.2),
        ("robot0_eye_in_hand", "fast", 3.0),
    ],
)
def test_images_are_those_of_libero_under_the_reference_mujoco(
    pair: tuple[Simulation, Reference], camera: str, rendering: str, limit: float
) -> None:
    simulation, observed = pair
    image = observed[CAMERAS[camera]][::-1].astype(np.int64)  # LIBERO's is upside-down
    renderer = SceneRenderer(simulation, image.shape[:2], rendering=rendering)
    difference = np.abs(renderer.render(camera) - image).mean()
    renderer.close()
    assert difference < limit


def test_robot_states_are_those_of_published_evaluations(
    pair: tuple[Simulation, Reference],
) -> None:
    simulation, observed = pair
    np.testing.assert_allclose(libero_state(simulation), observed["robot"], atol=1e-6)
