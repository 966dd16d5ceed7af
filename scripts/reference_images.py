"""Makes the reference images that `tests/envs/test_reference_images.py` compares with.

They are LIBERO's own images of settled official init states by both cameras, drawn under MuJoCo
3.3.0, beside the state and the fixture poses that they show, and the robot's state of eight numbers
that published evaluations make of LIBERO's observation::

    pip install --no-deps --target mujoco330 mujoco==3.3.0
    PYTHONPATH=mujoco330 python scripts/reference_images.py \\
        --assets FOLDER --out tests/envs/reference/images.npz
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from stock_libero import StockTask, require_reference

from mbrl_agents.envs.libero.runtime import libero_envs
from mbrl_agents.envs.libero.suites import SUITES

TASKS = (0, 2, 4, 5, 7, 9)
"""Bowl beside things, alone, in the drawer, on the ramekin, on the stove and on the cabinet."""


def main() -> None:
    """Draw one settled state of each task and write them all to one file."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--assets", type=Path, required=True, help="LIBERO's own models")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--suite", default="libero_spatial")
    parser.add_argument("--tasks", type=int, nargs="+", default=TASKS)
    parser.add_argument("--size", type=int, default=128, help="pixels")
    arguments = parser.parse_args()
    require_reference()
    libero_envs()  # before robosuite, to keep its warnings off the terminal
    from robosuite.utils.transform_utils import quat2axisangle

    arrays: dict[str, np.ndarray] = {"tasks": np.array(arguments.tasks)}
    for task in arguments.tasks:
        stock = StockTask(
            SUITES[arguments.suite], task, arguments.assets, image_size=arguments.size
        )
        stock.start(task, seed=task)
        fixtures = stock.fixtures()
        arrays[f"state_{task}"] = np.asarray(stock.env.get_sim_state())
        arrays[f"fixtures_{task}"] = np.array(sorted(fixtures))
        arrays[f"poses_{task}"] = np.stack([fixtures[name] for name in sorted(fixtures)])
        observation = stock.observation()
        arrays[f"image_{task}"] = observation["agentview_image"]
        arrays[f"wrist_{task}"] = observation["robot0_eye_in_hand_image"]
        arrays[f"robot_{task}"] = np.concatenate(
            [
                observation["robot0_eef_pos"],
                quat2axisangle(observation["robot0_eef_quat"]),
                observation["robot0_gripper_qpos"],
            ]
        )
        print(f"task {task}: mean grey {arrays[f'image_{task}'].mean():.2f}")
        stock.close()
    np.savez_compressed(arguments.out, **arrays)
    print(f"{arguments.out}: {arguments.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
