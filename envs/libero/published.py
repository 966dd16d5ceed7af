"""LIBERO's observations as the evaluations of published policies hand them over.

Two formats.  Key names, shapes, image handling, settling and step limits are those of

- "lerobot": ``lerobot-eval --env.type=libero`` (huggingface/lerobot, ``envs/libero.py``,
  ``envs/utils.py`` and its LIBERO processor step);
- "openvla": ``experiments/robot/libero/run_libero_eval.py`` of openvla/openvla and of
  moojink/openvla-oft, which adds the wrist camera.

Both turn LIBERO's images by 180 degrees, so they are upright and mirrored: a policy that is shown
anything else fails without an error.  Actions are LIBERO's own, -1 for an open gripper and 1 for a
closed one.  OpenVLA's models say 1 for open and 0 for closed; its evaluation converts that outside
of the model, and a policy evaluated here does the same itself.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from .suites import SUITES, get_suite

FORMATS = ("lerobot", "openvla")
"""The formats of published evaluations."""

LEROBOT_STEPS = {
    "libero_spatial": 280,
    "libero_object": 280,
    "libero_goal": 300,
    "libero_10": 520,
    "libero_90": 400,
}
"""LeRobot's step limits, settling not counted; OpenVLA's are `Suite.max_steps`."""

OPENVLA_SIZE = 224
"""Side in pixels of the images that OpenVLA's models take; they are drawn at 256."""

KEYWORDS: Mapping[str, Any] = {
    "obs": "image",
    "cameras": ("agentview", "robot0_eye_in_hand"),
    "image_size": 256,
    "rendering": "libero",
    "image_convention": "rotated",
    "robot_state": "libero8",
    "settle_steps": 10,
    "fixtures": "random",
}
"""Keywords of the environment under which both evaluations run.

Both draw fixture poses anew at each reset, as LIBERO does.  Both use LIBERO's own models: assets
are left to be found, and figures with primitive ones are not comparable.
"""

MAX_INSTRUCTION = 256
"""The longest instruction that the observation space allows, in characters."""


def published_keywords(observation_format: str, suite: str) -> dict[str, Any]:
    """Keywords of ``gymnasium.make`` under which a suite is evaluated in a format.

    Args:
        observation_format: one of ``FORMATS``.
        suite: its name, such as "libero_spatial".

    Raises:
        ValueError: for an unknown format or suite; the message lists the valid ones.
    """
    _check_format(observation_format)
    steps = get_suite(suite).max_steps
    if observation_format == "lerobot":
        steps = LEROBOT_STEPS[suite]
    return {**KEYWORDS, "max_episode_steps": steps}


def published_observation(
    observation: Mapping[str, NDArray[Any]], instruction: str, observation_format: str
) -> dict[str, Any]:
    """An observation of an environment made with `published_keywords`, in a format.

    Returns:
        "lerobot": ``observation.images.image`` (scene) and ``observation.images.image2`` (wrist),
        (3, H, W) float32 in 0 to 1; ``observation.state`` (8,) float32; ``task``.  LeRobot itself
        has a batch axis in front of each, see `batched`.
        "openvla": ``full_image`` (scene) and ``wrist_image``, (224, 224, 3) uint8; ``state`` (8,)
        float64; ``task_description``.

    Raises:
        ValueError: for an unknown format.
    """
    _check_format(observation_format)
    if observation_format == "lerobot":
        return {
            "observation.images.image": _channels_first(observation["image"]),
            "observation.images.image2": _channels_first(observation["wrist"]),
            "observation.state": np.asarray(observation["pose"], dtype=np.float32),
            "task": instruction,
        }
    return {
        "full_image": _as_openvla(observation["image"]),
        "wrist_image": _as_openvla(observation["wrist"]),
        "state": np.asarray(observation["pose"], dtype=np.float64),
        "task_description": instruction,
    }


def batched(observation: Mapping[str, Any]) -> dict[str, Any]:
    """A "lerobot" observation as ``select_action`` of LeRobot's policies gets it.

    Arrays are torch tensors with a batch axis of one; the task is a list of one sentence.
    """
    import torch

    return {
        key: [value] if isinstance(value, str) else torch.from_numpy(np.array(value))[None]
        for key, value in observation.items()
    }


def instruction_of(task_name: str) -> str:
    """A task's sentence, which for libero_10 and libero_90 leaves the scene's name out."""
    return re.sub(r"^[A-Z_]+SCENE\d+_", "", task_name).replace("_", " ")


class PublishedObservations(gymnasium.ObservationWrapper):
    """A LIBERO environment that shows what a published evaluation shows.

    Args:
        env: a LIBERO environment made with `published_keywords`.
        observation_format: "lerobot" or "openvla", see `published_observation`.

    Raises:
        ValueError: for an unknown format, and for an environment that shows something else.
    """

    def __init__(self, env: gymnasium.Env, observation_format: str) -> None:
        super().__init__(env)
        check_shows_published(env)
        self.observation_format = _check_format(observation_format)
        size = (env.observation_space.spaces["image"].shape or (0,))[0]  # type: ignore[attr-defined]
        self.observation_space = _space(observation_format, size)

    @property
    def task_description(self) -> str:
        """The present task's sentence."""
        base: Any = self.unwrapped
        return instruction_of(base.task_names[base.task_index])

    def observation(self, observation: Any) -> dict[str, Any]:
        """See `published_observation`."""
        return published_observation(observation, self.task_description, self.observation_format)


def make_published(
    suite: str = "libero_spatial",
    task: int | str | None = 0,
    observation_format: str = "lerobot",
    **keywords: Any,
) -> PublishedObservations:
    """A task as a published evaluation runs it, from the official init states in order.

    Args:
        suite, task: as of `LiberoEnv`.
        observation_format: one of ``FORMATS``.
        keywords: of ``gymnasium.make``, instead of those of the format.

    Raises:
        ValueError: for an unknown suite, task or format, and for keywords under which the
            environment shows something else.
    """
    given = {"init": "benchmark", **published_keywords(observation_format, suite), **keywords}
    env = gymnasium.make(SUITES[suite].env_id, task=task, disable_env_checker=True, **given)
    return PublishedObservations(env, observation_format)


def check_shows_published(env: gymnasium.Env) -> None:
    """Refuse an environment that published observations cannot be made from.

    Raises:
        ValueError: with the keywords that it would need.
    """
    base: Any = env.unwrapped
    entries = getattr(env.observation_space, "spaces", {})
    shown = {"image", "wrist", "pose"} <= set(entries) and len(entries["image"].shape) == 3
    for name in ("image_convention", "robot_state"):
        shown = shown and getattr(base, name, None) == KEYWORDS[name]
    if not shown:
        wanted = ", ".join(
            f"{name}={KEYWORDS[name]!r}"
            for name in ("obs", "cameras", "image_convention", "robot_state")
        )
        raise ValueError(f"published observations need a LIBERO environment with {wanted}")


def _space(observation_format: str, size: int) -> spaces.Dict:
    letters = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 ")
    sentence = spaces.Text(MAX_INSTRUCTION, charset=letters)
    if observation_format == "lerobot":
        scaled = spaces.Box(0.0, 1.0, (3, size, size), dtype=np.float32)
        return spaces.Dict(
            {
                "observation.images.image": scaled,
                "observation.images.image2": scaled,
                "observation.state": spaces.Box(-np.inf, np.inf, (8,), dtype=np.float32),
                "task": sentence,
            }
        )
    image = spaces.Box(0, 255, (OPENVLA_SIZE, OPENVLA_SIZE, 3), dtype=np.uint8)
    return spaces.Dict(
        {
            "full_image": image,
            "wrist_image": image,
            "state": spaces.Box(-np.inf, np.inf, (8,), dtype=np.float64),
            "task_description": sentence,
        }
    )


def _channels_first(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """``(3, H, W)`` float32 in 0 to 1 of ``(H, W, 3)`` uint8."""
    result: NDArray[np.float32] = np.ascontiguousarray(image.transpose(2, 0, 1), dtype=np.float32)
    result /= 255
    return result


def _as_openvla(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Through JPEG and to 224 pixels by Lanczos' filter, as its training images went.

    TensorFlow does it there, Pillow here: the same quality and filter, rounded elsewhere.
    """
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="JPEG", quality=95)
    resized = Image.open(buffer).resize((OPENVLA_SIZE, OPENVLA_SIZE), Image.Resampling.LANCZOS)
    return np.array(resized, dtype=np.uint8)


def _check_format(observation_format: str) -> str:
    if observation_format not in FORMATS:
        raise ValueError(
            f"unknown observation format {observation_format!r}; valid: {', '.join(FORMATS)}"
        )
    return observation_format
