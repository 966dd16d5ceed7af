"""Pictures of a simulation: upright, cheap, with a context made on first use."""

from __future__ import annotations

import atexit
import os
import weakref
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from .simulation import Simulation

COLLISION_GROUP = 0
"""Geom group of collision shapes, which pictures leave out."""


class SceneRenderer:
    """Renders one simulation's cameras off screen.

    The OpenGL context is made on the first picture, so that an environment can be built before
    its worker process is forked.  Multisampling, shadows and reflections are off: they cost three
    quarters of a software-rendered frame and are not worth having in a 64x64 picture.

    Args:
        simulation: whose scene to draw.
        size: height and width in pixels.
    """

    def __init__(self, simulation: Simulation, size: tuple[int, int]) -> None:
        self._simulation = simulation
        self._height, self._width = size
        self._context: Any = None

    def render(self, camera: str) -> NDArray[np.uint8]:
        """``(height, width, 3)`` uint8, upright.

        Raises:
            ValueError: for a camera that the scene does not have; the message lists them.
            RuntimeError: where neither EGL nor OSMesa is to be had.
        """
        model, data = self._simulation.model, self._simulation.data
        camera_id = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_CAMERA, camera)
        if camera_id < 0:
            names = ", ".join(model.camera(i).name for i in range(model.ncam))
            raise ValueError(f"unknown camera {camera!r}; valid cameras: {names}")
        if self._context is None:
            self._open(model)
        self._gl.make_current()
        # LIBERO shows the state of stoves by toggling sites.
        self._simulation.inner._post_process()
        self._camera.fixedcamid = camera_id
        mujoco.mjv_updateScene(
            model,
            data,
            self._options,
            None,
            self._camera,
            mujoco.mjtCatBit.mjCAT_ALL,
            self._scene,
        )
        mujoco.mjr_render(self._viewport, self._scene, self._context)
        mujoco.mjr_readPixels(self._pixels, None, self._viewport, self._context)
        # OpenGL's first row is the lowest.
        return self._pixels[::-1].copy()

    def close(self) -> None:
        """Free the OpenGL context."""
        if self._context is not None:
            _open_renderers.discard(self)
            self._gl.make_current()
            self._context.free()
            self._gl.free()
            self._context = None

    def _open(self, model: mujoco.MjModel) -> None:
        model.vis.quality.offsamples = 0
        buffer = model.vis.global_
        buffer.offheight = max(buffer.offheight, self._height)
        buffer.offwidth = max(buffer.offwidth, self._width)
        self._gl = _gl_context(self._width, self._height)
        self._gl.make_current()
        self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)
        _close_at_exit(self)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        self._scene = mujoco.MjvScene(model, maxgeom=2000)
        for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
            self._scene.flags[flag] = 0
        self._options = mujoco.MjvOption()
        self._options.geomgroup[COLLISION_GROUP] = 0
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._viewport = mujoco.MjrRect(0, 0, self._width, self._height)
        self._pixels = np.empty((self._height, self._width, 3), dtype=np.uint8)


_open_renderers: weakref.WeakSet[SceneRenderer] = weakref.WeakSet()


def _close_at_exit(renderer: SceneRenderer) -> None:
    """Close the renderer at exit where nobody did.

    Registered after the context was made: exit functions run last in, first out, and MuJoCo's own
    shuts the whole of EGL down, after which freeing a context is an error.
    """
    if not _open_renderers:
        atexit.register(_close_renderers)
    _open_renderers.add(renderer)


def _close_renderers() -> None:
    for renderer in list(_open_renderers):
        renderer.close()


def _gl_context(width: int, height: int) -> Any:
    """A context by EGL or OSMesa, whichever works; ``MUJOCO_GL`` may name the first to try.

    ``mujoco.Renderer`` decides once, when MuJoCo is first imported, and picks a windowed backend
    unless the variable was set by then.
    """
    wanted = os.environ.get("MUJOCO_GL", "egl").lower()
    errors = []
    for backend in ("osmesa", "egl") if wanted == "osmesa" else ("egl", "osmesa"):
        try:
            if backend == "egl":
                from mujoco.egl import GLContext
            else:
                from mujoco.osmesa import GLContext
            return GLContext(width, height)
        except (ImportError, AttributeError, RuntimeError) as error:
            errors.append(f"{backend}: {error}")
    raise RuntimeError(
        "no off-screen OpenGL found (" + "; ".join(errors) + "); on Debian or Ubuntu: "
        "apt-get install libegl1 libosmesa6"
    )
