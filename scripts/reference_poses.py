"""Record where objects come to rest in stock LIBERO under the MuJoCo it was made with.

LIBERO's results were obtained under MuJoCo below 3.4, whose box-box contacts differ from later
ones (docs/libero.md).  This script runs stock LIBERO and robosuite, not this project's stepping,
over all official initial states of libero_spatial and writes the poses in which the movable
objects are after the ten settling steps of the usual evaluation.  The tests compare every settled
state with them.

The MuJoCo of the reference is put before the installed one, which stays as it is:

    pip install --no-deps --target /tmp/mujoco-3.3.0 mujoco==3.3.0
    PYTHONPATH=/tmp/mujoco-3.3.0 python scripts/reference_poses.py OFFICIAL_ASSETS_FOLDER

About five minutes on one core.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from mbrl_agents.envs.libero.fixtures import Fixtures
from mbrl_agents.envs.libero.init_states import read_init_states
from mbrl_agents.envs.libero.runtime import libero_envs, seeded_numpy, use_assets
from mbrl_agents.envs.libero.suites import SUITES

SUITE = SUITES["libero_spatial"]
SETTLE_STEPS = 10
SETTLE_ACTION = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0]
OUTPUT = Path(__file__).parents[1] / "envs/libero/reference/settled_spatial.npz"


def stock_environment(task: int) -> Any:
    """LIBERO's own evaluation environment with its own settings, without a camera."""
    libero_envs()
    from libero.libero.envs.env_wrapper import ControlEnv

    with seeded_numpy(0):
        return ControlEnv(
            bddl_file_name=str(SUITE.bddl_file(task)),
            has_renderer=False,
            has_offscreen_renderer=False,
            use_camera_obs=False,
        )


def settle(env: Any, state: NDArray[np.float64], seed: int) -> dict[str, NDArray[np.float64]]:
    """Pose (7,) of each movable object, position (m) and quaternion (wxyz), at rest.

    As an evaluation does it: hard reset, initial state, ten steps.  The one addition is that
    fixtures, which the reset has drawn, are put in the centre of their regions.
    """
    with seeded_numpy(seed):
        env.reset()
        inner = env.env
        model, data = inner.sim.model._model, inner.sim.data._data
        fixtures = Fixtures(inner, model)
        fixtures.place(fixtures.centre)
        env.set_init_state(state)
        for _ in range(SETTLE_STEPS):
            env.step(SETTLE_ACTION)
    poses = {}
    for name in inner.objects_dict:
        joint = model.body(inner.objects_dict[name].root_body).jntadr[0]
        assert model.jnt_type[joint] == mujoco.mjtJoint.mjJNT_FREE, name
        start = model.jnt_qposadr[joint]
        poses[name] = data.qpos[start : start + 7].copy()
    return poses


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("assets", type=Path, help="folder of LIBERO's own models")
    parser.add_argument("--out", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    libero_envs()
    use_assets(arguments.assets)
    import robosuite

    record: dict[str, Any] = {
        "mujoco": mujoco.__version__,
        "robosuite": robosuite.__version__,
        "assets": "official",
        "fixtures": "centre",
        "settle_steps": SETTLE_STEPS,
    }
    for task in range(len(SUITE.task_names)):
        env = stock_environment(task)
        states = read_init_states(SUITE.init_states_file(task))
        settled = [settle(env, state, seed) for seed, state in enumerate(states)]
        names = list(settled[0])
        record[f"names_{task}"] = np.array(names)
        poses = np.array([[poses[name] for name in names] for poses in settled])
        record[f"poses_{task}"] = poses.astype(np.float32)
        env.close()
        print(f"task {task}: {poses.shape[0]} states of {', '.join(names)}", file=sys.stderr)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(arguments.out, **record)


if __name__ == "__main__":
    main()
