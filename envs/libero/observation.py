"""What the agent sees: poses, and images beside them."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from .articulation import fixture_joints
from .simulation import Simulation

OBSERVATIONS = ("robot_pose", "pose", "image")
"""The values of the ``obs`` keyword."""

CAMERAS = {"agentview": "image", "robot0_eye_in_hand": "wrist"}
"""Cameras that observations may show, and the keys they appear under."""

ROBOT_STATES = {"pose7": 7, "libero8": 8}
"""The values of the ``robot_state`` keyword, and how many numbers each has."""

IMAGE_CONVENTIONS = ("upright", "raw", "rotated")
"""The values of the ``image_convention`` keyword."""

ROBOT_POSE_SIZE = ROBOT_STATES["pose7"]
OBJECT_POSE_SIZE = 7


def axis_angle(quaternion: NDArray[np.float64]) -> NDArray[np.float64]:
    """Axis-angle vector (3,) in rad of a wxyz quaternion, continuous around half a turn.

    A gripper that points down is half a turn from the identity, where the axis of the shortest
    rotation jumps to its opposite.  So near half a turn (beyond 120 degrees) the sign is chosen
    by the largest component of the axis, which is made positive; the angle may then exceed pi a
    little.  Elsewhere it is the shortest rotation.
    """
    q = quaternion if quaternion[0] >= 0 else -quaternion
    if q[0] < 0.5:
        vector = q[1:]
        if vector[np.argmax(np.abs(vector))] < 0:
            q = -q
    norm = np.linalg.norm(q[1:])
    if norm < 1e-9:
        return np.zeros(3)
    return q[1:] / norm * (2.0 * np.arctan2(norm, q[0]))


def robot_pose(simulation: Simulation) -> NDArray[np.float32]:
    """``(7,)``: grip position (m), axis-angle of the hand (rad), finger opening (m, 0 to 0.08).

    The pose of the course homework and of the LIBERO dataset, in one convention for both.
    """
    fingers = simulation.finger_positions
    pose = np.empty(ROBOT_POSE_SIZE, dtype=np.float32)
    pose[:3] = simulation.grip_position
    pose[3:6] = axis_angle(simulation.hand_quaternion)
    pose[6] = fingers[0] - fingers[1]
    return pose


def stock_axis_angle(quaternion: NDArray[np.float64]) -> NDArray[np.float64]:
    """Axis-angle vector (3,) in rad of a wxyz quaternion, as robosuite 1.4's ``quat2axisangle``.

    The angle, from 0 to 2 pi, follows the quaternion's sign as it comes: where that flips, so
    does the vector.  Published policies were trained on these values.
    """
    cosine = float(np.clip(quaternion[0], -1.0, 1.0))
    sine = np.sqrt(1.0 - cosine * cosine)
    if sine < 1e-9:
        return np.zeros(3)
    return quaternion[1:] * (2.0 * np.arccos(cosine) / sine)


def libero_state(simulation: Simulation) -> NDArray[np.float32]:
    """``(8,)``: grip position (m), axis-angle of the hand (rad), the two finger joints (m).

    The ``state`` of OpenVLA's evaluation and ``observation.state`` of LeRobot's; the second
    finger's position is the first's with the opposite sign, about.
    """
    state = np.empty(ROBOT_STATES["libero8"], dtype=np.float32)
    state[:3] = simulation.grip_position
    state[3:6] = stock_axis_angle(simulation.hand_quaternion)
    state[6:] = simulation.finger_positions
    return state


def robot_state_vector(simulation: Simulation, kind: str) -> NDArray[np.float32]:
    """The robot as a ``robot_state`` keyword has it: `robot_pose` or `libero_state`."""
    return libero_state(simulation) if kind == "libero8" else robot_pose(simulation)


def in_convention(image: NDArray[np.uint8], convention: str) -> NDArray[np.uint8]:
    """An upright image ``(H, W, 3)`` in an ``image_convention``.

    LIBERO returns OpenGL's rows from the bottom up.  Turned by 180 degrees, that is upright but
    mirrored left to right.
    """
    if convention == "raw":
        return np.ascontiguousarray(image[::-1])
    if convention == "rotated":
        return np.ascontiguousarray(image[:, ::-1])
    return image


def object_pose(simulation: Simulation, name: str) -> NDArray[np.float32]:
    """``(7,)``: position (m) and quaternion (xyzw, scalar part not negative)."""
    pose = np.empty(OBJECT_POSE_SIZE, dtype=np.float32)
    pose[:3] = simulation.position_of(name)
    quaternion = simulation.data.xquat[simulation.body_of(name)]
    if quaternion[0] < 0:
        quaternion = -quaternion
    pose[3:6] = quaternion[1:]
    pose[6] = quaternion[0]
    return pose


def pose_vector(simulation: Simulation, names: list[str], size: int) -> NDArray[np.float32]:
    """``(size,)``: the robot's pose, then each object's, then zeros; at least ``7 + 7 n``."""
    poses = [robot_pose(simulation)]
    poses += [object_pose(simulation, name) for name in names]
    vector = np.concatenate(poses)
    return np.pad(vector, (0, size - len(vector)))


def joints_vector(simulation: Simulation, space: spaces.Space[Any]) -> NDArray[np.float32]:
    """The joints (rad, m) of fixtures of interest, padded to the length of their ``space``."""
    positions = fixture_joints(simulation, simulation.objects_of_interest)
    vector = np.zeros(space.shape or (), dtype=np.float32)
    vector[: len(positions)] = positions
    return vector


def state_entries(
    simulation: Simulation, obs: str, space: spaces.Dict, robot_state: str
) -> dict[str, NDArray[Any]]:
    """The entries of an observation that are no images: ``pose``, and ``joints`` where they are.

    Args:
        obs: one of ``OBSERVATIONS``.
        space: of that observation; tasks of a suite may have different numbers of objects, and
            poses are padded to the most.
        robot_state: one of ``ROBOT_STATES``.
    """
    if obs != "pose":
        return {"pose": robot_state_vector(simulation, robot_state)}
    (size,) = space["pose"].shape or ()
    found = {"pose": pose_vector(simulation, simulation.objects_of_interest, size)}
    if "joints" in space.spaces:
        found["joints"] = joints_vector(simulation, space["joints"])
    return found


def observation_space(
    obs: str,
    *,
    objects: int,
    joints: int,
    cameras: int,
    image_size: int,
    task: spaces.Box | None,
    robot_state: str = "pose7",
) -> spaces.Dict:
    """The flat Dict space of an ``obs`` keyword.

    Args:
        obs: one of ``OBSERVATIONS``.
        objects: how many objects of interest ``obs="pose"`` lists.
        joints: how many joints the fixtures among them have; a key of their own where there are
            any, as a stove's pose says nothing of its knob.
        cameras: 1 for the scene's camera, 2 with the wrist's.
        image_size: side of the square images.
        task: the ``task`` entry (`task_codes.code_space`), or None where it is not observed.
        robot_state: one of ``ROBOT_STATES``.

    Raises:
        ValueError: for an unknown ``obs``, with the valid ones, and for a robot state that it
            does not have.
    """
    if obs not in OBSERVATIONS:
        raise ValueError(f"unknown obs {obs!r}; valid: {', '.join(OBSERVATIONS)}")
    if obs == "pose" and robot_state != "pose7":
        raise ValueError(
            f"robot_state={robot_state!r} goes with obs='image' and obs='robot_pose'; "
            "obs='pose' has 'pose7' only"
        )
    size = ROBOT_STATES[robot_state] + (OBJECT_POSE_SIZE * objects if obs == "pose" else 0)
    entries: dict[str, spaces.Space] = {
        "pose": spaces.Box(-np.inf, np.inf, (size,), dtype=np.float32)
    }
    if obs == "pose" and joints:
        entries["joints"] = spaces.Box(-np.inf, np.inf, (joints,), dtype=np.float32)
    if obs == "image":
        image = spaces.Box(0, 255, (image_size, image_size, 3), dtype=np.uint8)
        entries["image"] = image
        if cameras == 2:
            entries["wrist"] = image
    if task is not None:
        entries["task"] = task
    return spaces.Dict(entries)
