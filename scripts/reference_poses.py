"""Records where objects come to rest in LIBERO's own environment under MuJoCo 3.3.0.

LIBERO's results were obtained under MuJoCo below 3.4, whose box-box contacts differ from later
ones (docs/libero.md).  This script runs stock LIBERO and robosuite, not this project's stepping,
over all official initial states of libero_spatial and writes the poses in which the movable
objects are after the settling steps of the usual evaluation.  The tests compare every settled
state with them::

    pip install --no-deps --target mujoco330 mujoco==3.3.0
    PYTHONPATH=mujoco330 python scripts/reference_poses.py \\
        --assets FOLDER --out envs/libero/reference/settled_spatial.npz

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
from stock_libero import Poses, StockTask, require_reference

from mbrl_agents.envs.libero.fixtures import Fixtures
from mbrl_agents.envs.libero.runtime import libero_envs
from mbrl_agents.envs.libero.settled import SETTLE_STEPS
from mbrl_agents.envs.libero.suites import SUITES

SUITE = SUITES["libero_spatial"]


def centred_fixtures(stock: StockTask) -> Poses:
    """The poses that put each fixture in the middle of its placement region."""
    return {
        stock.model.body(body).name: np.concatenate(pose)
        for body, pose in Fixtures(stock.env.env, stock.model).centre.items()
    }


def objects(stock: StockTask) -> dict[str, NDArray[np.float64]]:
    """Pose ``(7,)`` of each movable object by name: position (m) and quaternion (wxyz)."""
    model, data = stock.model, stock.env.sim.data._data
    poses = {}
    for name, thing in stock.env.env.objects_dict.items():
        joint = model.body(thing.root_body).jntadr[0]
        assert model.jnt_type[joint] == mujoco.mjtJoint.mjJNT_FREE, name
        start = model.jnt_qposadr[joint]
        poses[name] = data.qpos[start : start + 7].copy()
    return poses


def main() -> None:
    """Settle every state of each task and write all poses to one file."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--assets", type=Path, required=True, help="LIBERO's own models")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tasks", type=int, nargs="+", default=list(range(len(SUITE.task_names))))
    arguments = parser.parse_args()
    require_reference()
    libero_envs()  # before robosuite, to keep its warnings off the terminal
    import robosuite

    record: dict[str, Any] = {
        "mujoco": mujoco.__version__,
        "robosuite": robosuite.__version__,
        "assets": "official",
        "fixtures": "centre",
        "settle_steps": SETTLE_STEPS,
    }
    for task in arguments.tasks:
        stock = StockTask(SUITE, task, arguments.assets)
        fixtures = centred_fixtures(stock)
        settled = []
        for state in range(stock.n_init_states):
            stock.start(state, fixtures=fixtures, seed=state)
            settled.append(objects(stock))
        stock.close()
        names = list(settled[0])
        record[f"names_{task}"] = np.array(names)
        poses = np.array([[poses[name] for name in names] for poses in settled])
        record[f"poses_{task}"] = poses.astype(np.float32)
        print(f"task {task}: {len(poses)} states of {', '.join(names)}", file=sys.stderr)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(arguments.out, **record)


if __name__ == "__main__":
    main()
