"""Vector observations: one flat tensor, and what its dimensions mean."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import torch
from gymnasium import spaces
from torch import Tensor

POSE_KEY = "pose"
ROBOT_POSE_SIZE = 7
OBJECT_POSE_SIZE = 7


def vector_sizes(space: spaces.Space) -> dict[str, int]:
    """Size of each vector in an observation space, in the order they are concatenated.

    A plain Box counts as a Dict with the one key "obs".

    Raises:
        ValueError: for images and anything else that is not a Box or a Dict of vectors.
    """
    entries = space.spaces if isinstance(space, spaces.Dict) else {"obs": space}
    sizes: dict[str, int] = {}
    for key, entry in entries.items():
        if not isinstance(entry, spaces.Box):
            raise ValueError(f"observation {key!r} is a {type(entry).__name__}; need a Box")
        if len(entry.shape) != 1:
            raise ValueError(
                f"observation {key!r} has shape {entry.shape}; this model reads vectors only. "
                "Leave images out (LIBERO: obs='pose' or obs='robot_pose') or take a model "
                "that encodes them"
            )
        sizes[key] = int(entry.shape[0])
    if not sizes:
        raise ValueError("the observation space is empty")
    return sizes


def flatten(obs: Mapping[str, Tensor], keys: tuple[str, ...]) -> Tensor:
    """Concatenate the vectors ``(..., n)`` of ``keys`` to one float32 ``(..., D)``."""
    if len(keys) == 1:
        return obs[keys[0]].float()
    return torch.cat([obs[key].float() for key in keys], -1)


def pose_positions(sizes: Mapping[str, int]) -> list[int]:
    """Where the positions of gripper and objects start in LIBERO's flat pose observation.

    The layout is seven numbers of the robot, then position and quaternion of each object; only a
    Dict space with the key "pose" of such a size has it.  Empty otherwise, and when there is no
    object.
    """
    offset = 0
    for key, size in sizes.items():
        if key == POSE_KEY:
            objects, rest = divmod(size - ROBOT_POSE_SIZE, OBJECT_POSE_SIZE)
            if rest or objects < 1:
                return []
            starts = [ROBOT_POSE_SIZE + OBJECT_POSE_SIZE * i for i in range(objects)]
            return [offset + start for start in (0, *starts)]
        offset += size
    return []


def gripper_openings(sizes: Mapping[str, int]) -> list[int]:
    """Where the gripper's opening stands in LIBERO's flat pose observation; empty elsewhere."""
    return [start + ROBOT_POSE_SIZE - 1 for start in pose_positions(sizes)[:1]]


def relative_pairs(sizes: Mapping[str, int]) -> list[list[int]]:
    """All pairs of position starts, gripper to objects first, then object to object."""
    return [list(pair) for pair in combinations(pose_positions(sizes), 2)]
