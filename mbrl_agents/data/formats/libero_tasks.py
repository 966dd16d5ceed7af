"""What LIBERO's names and numbers mean to our environments: tasks, images, robot states."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from mbrl_agents.data.formats.base import Convention, text_goal

FINGERS = 2
"""The two fingers mirror each other: one joint's position is half of the opening."""


def task_origin(source_file: str, folder: str = "", **env_kwargs: Any) -> dict[str, Any]:
    """An episode's ``info`` as far as the name of its demonstration file tells.

    Args:
        source_file: such as "pick_up_the_black_bowl_..._demo.hdf5", the task's name, or its
            instruction with underscores for spaces.
        folder: the name of the folder it lies in; a suite's name settles which suite is meant.
        **env_kwargs: keywords of the environment that would show such observations.

    Returns:
        ``task_name`` and ``goal``; of a LIBERO task also ``env_id``, ``suite``, ``task``,
        ``task_key`` and ``collection``, by which a run finds its environment.
    """
    name = source_file.rsplit("/", 1)[-1]
    name = name.removesuffix(".hdf5").removesuffix(".h5").removesuffix("_demo")
    info: dict[str, Any] = {"task_name": name, "goal": text_goal(name), "source": "recorded"}
    found = _find(name, folder)
    if found is None:
        return info
    suite, task = found
    described = {"env_id": suite.env_id, "env_kwargs": env_kwargs, "source": "recorded"}
    return {
        **info,
        "task_name": suite.task_names[task],
        "env_id": suite.env_id,
        "suite": suite.name,
        "task": task,
        "task_key": str(task),
        "collection": json.dumps(described, sort_keys=True),
    }


def image_keywords(image: np.ndarray | None, wrist: np.ndarray | None) -> dict[str, Any]:
    """Keywords of the environment that shows such images ``(..., H, W, 3)`` beside the robot."""
    if image is None:
        return {"obs": "robot_pose", "reward": "sparse"}
    cameras = ["agentview"] + ["robot0_eye_in_hand"] * (wrist is not None)
    size = int(image.shape[-2])
    return {"obs": "image", "reward": "sparse", "image_size": size, "cameras": cameras}


def upright(images: np.ndarray, convention: Convention) -> np.ndarray:
    """Images ``(T, H, W, C)`` of a convention, upright; the same function goes back."""
    if convention == "raw":
        return np.ascontiguousarray(images[:, ::-1])
    if convention == "rotated":
        return np.ascontiguousarray(images[:, :, ::-1])
    return images


def canonical_pose(position: np.ndarray, rotation: np.ndarray, opening: np.ndarray) -> np.ndarray:
    """``(T, 7)`` float32 robot poses as our environments show them.

    Args:
        position: ``(T, 3)`` m.
        rotation: ``(T, 3)`` rad, axis-angle in any sign.
        opening: ``(T,)`` m between the fingers.
    """
    from mbrl_agents.envs.libero.observation import axis_angle

    angle = np.linalg.norm(rotation, axis=-1, keepdims=True)
    axis = np.divide(rotation, angle, out=np.zeros_like(rotation), where=angle > 1e-9)
    quaternion = np.concatenate([np.cos(angle / 2), axis * np.sin(angle / 2)], -1)
    turned = np.stack([axis_angle(q) for q in quaternion.astype(np.float64)])
    parts = [position, turned, opening[:, None]]
    return np.concatenate(parts, -1).astype(np.float32)


def _find(name: str, folder: str) -> tuple[Any, int] | None:
    """Suite and index of a task by its name, or by its instruction with underscores."""
    from mbrl_agents.envs.libero.suites import SUITES

    named = [SUITES[folder]] if folder in SUITES else []
    for suite in [*named, *SUITES.values()]:
        if name in suite.task_names:
            return suite, suite.task_index(name)
    goal = name.replace("_", " ")
    for suite in [*named, *SUITES.values()]:
        goals = [text_goal(task) for task in suite.task_names]
        if goal in goals:
            return suite, goals.index(goal)
    return None


__all__ = ["FINGERS", "canonical_pose", "image_keywords", "task_origin", "upright"]
