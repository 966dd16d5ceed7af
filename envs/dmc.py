"""Tasks of the DeepMind Control Suite [Tassa et al. 2018, arXiv:1801.00690], from pixels or state.

States, rewards and ends are dm_control's.  Its images take most of a step: each is drawn with four
samples a pixel, shadows, reflections and a sky, by a camera that is made anew.  Here the camera
stays, and ``rendering="fast"`` leaves all of that out, which makes an image some twenty times
cheaper and the sky black; ``rendering="dm_control"`` draws exactly what dm_control draws.
`tests/envs/test_dmc.py` holds both to dm_control's own.
"""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from .extras import require

OBSERVATIONS = ("pixels", "state")
RENDERINGS = ("fast", "dm_control")
FAST = {"shadow": False, "reflection": False, "skybox": False}
"""MuJoCo's rendering flags that "fast" sets; beside them there is one sample a pixel."""

CAMERAS: Mapping[str, int] = {"quadruped": 2}
"""By domain, the camera that looks at it, where that is not 0 (the Dreamers' choice)."""

RENDER_SIZE = 256


class DeepMindControl(gymnasium.Env[NDArray[Any], Any]):
    """One task; actions are a Box with dm_control's bounds.

    A reset with a seed starts the episode that ``suite.load(domain, task, {"random": seed})``
    starts first.  An end with discount 0 is `terminated`, the time limit (1,000 control steps in
    most tasks) is `truncated`.

    Args:
        domain, task: names of the suite, such as "walker" and "walk".
        obs: "pixels": images ``(size, size, 3)`` uint8; "state": dm_control's observations in their
            order as one vector, float32.
        size: side of the images in pixels.
        action_repeat: control steps that an action is held for; their rewards are added.  The
            Dreamers' papers take 2.
        camera: number or name; None takes 0, and 2 of quadruped.
        rendering: "fast" or "dm_control", see above.
        render_mode: None or "rgb_array"; `render` draws 256 x 256 pixels.

    Raises:
        MissingExtra: dm_control is not installed.
        ValueError: for unknown values, with those that there are.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012  Gymnasium declares it so
        "render_modes": ["rgb_array"],
        "render_fps": 30,
    }

    def __init__(
        self,
        domain: str = "walker",
        task: str = "walk",
        *,
        obs: str = "pixels",
        size: int = 64,
        action_repeat: int = 2,
        camera: int | str | None = None,
        rendering: str = "fast",
        render_mode: str | None = None,
    ) -> None:
        _one_of("obs", obs, OBSERVATIONS)
        _one_of("rendering", rendering, RENDERINGS)
        if render_mode is not None:
            _one_of("render_mode", render_mode, ("rgb_array",))
        for name, value in (("size", size), ("action_repeat", action_repeat)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        self.domain, self.task, self.obs, self.size = domain, task, obs, size
        self.action_repeat, self.rendering, self.render_mode = action_repeat, rendering, render_mode
        self.camera = CAMERAS.get(domain, 0) if camera is None else camera
        suite = _suite()
        _one_of("domain", domain, tuple(suite.TASKS_BY_DOMAIN))
        _one_of(f"task of {domain}", task, suite.TASKS_BY_DOMAIN[domain])
        # Some tasks draw once and for all while they are built; the same in every process.
        self._env = suite.load(domain, task, task_kwargs={"random": 0})
        self._seeded = False
        self._check_camera()
        if rendering == "fast":
            # Read when the OpenGL context is made, which is with the first image.
            self._env.physics.model.vis.quality.offsamples = 0
        self._cameras: dict[int, Any] = {}
        bounds = self._env.action_spec()
        low, high = bounds.minimum.astype(np.float32), bounds.maximum.astype(np.float32)
        self.action_space: spaces.Box = spaces.Box(low, high, dtype=np.float32)
        self._bounds = bounds.minimum, bounds.maximum
        if obs == "pixels":
            self.observation_space: spaces.Box = spaces.Box(0, 255, (size, size, 3), np.uint8)
        else:
            parts = self._env.observation_spec().values()
            length = sum(int(np.prod(part.shape, dtype=int)) for part in parts)
            self.observation_space = spaces.Box(-np.inf, np.inf, (length,), np.float32)

    @property
    def conditions(self) -> dict[str, Any]:
        """What figures depend on beside the agent."""
        pixels = {"camera": self.camera, "size": self.size, "rendering": self.rendering}
        return {
            "dm_control": importlib.metadata.version("dm-control"),
            "mujoco": importlib.metadata.version("mujoco"),
            "task": f"{self.domain} {self.task}",
            "action_repeat": self.action_repeat,
            "obs": self.obs,
            **(pixels if self.obs == "pixels" else {}),
        }

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        super().reset(seed=seed)
        if seed is not None or not self._seeded:
            drawn = seed if seed is not None else self.np_random.integers(2**32)
            self._env.task.random.seed(int(drawn) % 2**32)
            self._seeded = True
        return self._seen(self._env.reset().observation), {}

    def step(
        self, action: NDArray[np.float32]
    ) -> tuple[NDArray[Any], float, bool, bool, dict[str, Any]]:
        move = np.asarray(action, np.float64)
        if move.shape != self.action_space.shape or not np.isfinite(move).all():
            raise ValueError(
                f"an action of {self.domain} {self.task} is {self.action_space.shape[0]} finite "
                f"numbers, got {action!r}"
            )
        move = np.clip(move, *self._bounds)
        reward = 0.0
        for _ in range(self.action_repeat):
            now = self._env.step(move)
            reward += now.reward or 0.0
            if now.last():
                break
        ended = bool(now.last())
        terminated = ended and now.discount == 0.0
        return self._seen(now.observation), reward, terminated, ended and not terminated, {}

    def render(self) -> NDArray[np.uint8] | None:  # type: ignore[override]
        """``(256, 256, 3)`` uint8, drawn as the observations are; None without a render mode."""
        return None if self.render_mode is None else self._image(RENDER_SIZE)

    def close(self) -> None:
        self._cameras.clear()
        self._env.close()

    def _seen(self, observation: Mapping[str, Any]) -> NDArray[Any]:
        if self.obs == "pixels":
            return self._image(self.size)
        return np.concatenate([np.ravel(part) for part in observation.values()], dtype=np.float32)

    def _image(self, size: int) -> NDArray[np.uint8]:
        if size not in self._cameras:
            from dm_control.mujoco.engine import Camera

            self._cameras[size] = Camera(self._env.physics, size, size, camera_id=self.camera)
        flags = FAST if self.rendering == "fast" else None
        # What it returns is turned about, and overwritten by the next image.
        return np.array(self._cameras[size].render(render_flag_overrides=flags), order="C")

    def _check_camera(self) -> None:
        model = self._env.physics.model
        names = [model.id2name(number, "camera") for number in range(model.ncam)]
        known = range(-1, model.ncam) if isinstance(self.camera, int) else names
        if self.camera not in known:
            listed = ", ".join(f"{number} ({name})" for number, name in enumerate(names))
            raise ValueError(f"{self.domain} has no camera {self.camera!r}; valid: -1, {listed}")


def _suite() -> Any:
    require("dm_control", extra="dmc", env_id="mbrl/DMC-v0")
    # dm_control chooses once, at its first import, and would take a windowed backend.
    os.environ.setdefault("MUJOCO_GL", "egl")
    # Mesa's software renderer would start a thread per core; small images only wait for them.
    os.environ.setdefault("LP_NUM_THREADS", "0")
    from dm_control import suite

    return suite


def _one_of(name: str, value: Any, valid: tuple[str, ...]) -> None:
    if value not in valid:
        near = get_close_matches(str(value), valid, 1)
        hint = f", did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"unknown {name} {value!r}{hint} (valid: {', '.join(valid)})")


__all__ = ["DeepMindControl"]
