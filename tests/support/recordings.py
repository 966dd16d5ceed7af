"""Small episodes of a LIBERO task's form, and files of other projects' formats."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from mbrl_agents.data.episode import Episode

BOWL = "pick_up_the_black_bowl_from_table_center_and_place_it_on_the_plate"
"""Task 2 of libero_spatial."""


def recorded(steps: int, images: bool = True, **info: Any) -> Episode:
    """An episode with smooth images, which videos keep, and one step without a label."""
    rng = np.random.default_rng(steps)
    observations = {"pose": rng.normal(size=(steps + 1, 7)).astype(np.float32)}
    if images:
        ramp = np.linspace(0, 200, 16).astype(np.uint8)
        grid = np.broadcast_to(ramp[:, None, None], (steps + 1, 16, 16, 3)).copy()
        grid[:, 4:8, 4:8] += np.arange(steps + 1, dtype=np.uint8)[:, None, None, None] * 3
        observations["image"] = grid
    actions = rng.uniform(-1, 1, (steps, 7)).astype(np.float32)
    labels = actions.copy()
    labels[0] = np.nan
    labels[-1] *= 0.5
    told = {"task_name": BOWL, "suite": "libero_spatial", "task": 2, "seed": steps, **info}
    rewards = rng.normal(size=steps).astype(np.float32)
    return Episode(observations, actions, labels, rewards, steps % 2 == 0, steps % 2 == 0, told)


def assert_same(first: Episode, second: Episode, grey: float = 0.0) -> None:
    """Equal but for ``grey`` levels of images on average."""
    assert first.observations.keys() == second.observations.keys()
    for key, value in first.observations.items():
        other = second.observations[key]
        assert (value.dtype, value.shape) == (other.dtype, other.shape), key
        if value.ndim == 4 and grey:
            assert np.abs(value.astype(float) - other).mean() <= grey
        else:
            np.testing.assert_array_equal(value, other)
    for name in ("actions", "labels", "rewards"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    assert (first.terminated, first.success) == (second.terminated, second.success)
    assert first.info == second.info


def write_public(path: Path, lengths: Sequence[int], *, fixed: bool = True) -> None:
    """A shard as ``datasets`` writes that of the public dataset."""
    import datasets

    rng = np.random.default_rng(0)
    numbers = datasets.Value("float32")
    features = datasets.Features(
        {
            "img": datasets.Sequence(datasets.Array3D((8, 8, 3), "uint8")),
            "action": datasets.Sequence(datasets.Sequence(numbers, length=7 if fixed else -1)),
            "rewards": datasets.Sequence(numbers),
            "terminated": datasets.Sequence(numbers),
            "poses": datasets.Sequence(datasets.Sequence(numbers, length=7 if fixed else -1)),
            "source_file": datasets.Value("string"),
            "demo_key": datasets.Value("string"),
        }
    )
    rows = [
        {
            "img": list(rng.integers(0, 256, (steps, 8, 8, 3), dtype=np.uint8)),
            "action": rng.uniform(-1, 1, (steps, 7)).tolist(),
            "rewards": [0.0] * (steps - 1) + [1.0],
            "terminated": [0.0] * (steps - 1) + [1.0],
            "poses": rng.uniform(0, 0.04, (steps, 7)).tolist(),
            "source_file": f"{BOWL}_demo.hdf5",
            "demo_key": f"demo_{number}",
        }
        for number, steps in enumerate(lengths)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    datasets.Dataset.from_list(rows, features=features).to_parquet(str(path))


def write_demonstrations(
    path: Path, states: Sequence[np.ndarray], actions: Sequence[np.ndarray], *, after: bool = True
) -> None:
    """A file as LIBERO's ``create_dataset.py`` leaves it, with random images and robot states.

    Args:
        after: whether observations are those after their actions.
    """
    rng = np.random.default_rng(1)
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["bddl_file_name"] = f"bddl_files/libero_spatial/{BOWL}.bddl"
        goal = {"language_instruction": "put the bowl on the plate"}
        data.attrs["problem_info"] = json.dumps(goal)
        for number, (state, action) in enumerate(zip(states, actions, strict=True)):
            steps = len(action)
            demo = data.create_group(f"demo_{number}")
            demo["states"], demo["actions"] = state, action.astype(np.float64)
            ends = np.zeros(steps, np.uint8)
            ends[-1] = 1
            demo["rewards"], demo["dones"] = ends, ends
            demo.attrs["num_samples"] = steps
            joints = np.concatenate([state[1:], state[-1:] + 0.01]) if after else state
            obs = demo.create_group("obs")
            obs["agentview_rgb"] = rng.integers(0, 256, (steps, 8, 8, 3), dtype=np.uint8)
            obs["joint_states"] = joints[:, 1:8]
            obs["ee_states"] = rng.normal(size=(steps, 6))
            obs["gripper_states"] = np.tile([0.03, -0.02], (steps, 1))


def cut_short(path: Path, share: float = 0.6) -> None:
    """Leave only the first part of a file, as an interrupted copy does."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
