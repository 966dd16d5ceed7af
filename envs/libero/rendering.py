"""Images of a simulation: upright, cheap, with a context made on first use."""

from __future__ import annotations

import atexit
import contextlib
import os
import weakref
from collections.abc import Iterator
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from .simulation import Simulation
from .visuals import Visuals

COLLISION_GROUP = 0
"""Geom group of collision shapes, which images leave out."""

RENDERINGS = ("fast", "libero")
"""The values of the ``rendering`` keyword."""


class SceneRenderer:
    """Renders one simulation's cameras off screen.

    The OpenGL context is made on the first image, so that an environment can be built before
    its worker process is forked.

    "fast" leaves out multisampling, shadows and reflections: they cost three quarters of a
    software-rendered frame and are not worth having in a 64x64 image.  What is left of the time
    goes into triangles; `Visuals` leaves out those that make no difference at this size.
    "libero" draws as LIBERO itself does, under any MuJoCo: published policies saw such images.

    Args:
        simulation: whose scene to draw.
        size: height and width in pixels.
        rendering: one of ``RENDERINGS``.
        full_detail: draw every triangle of every mesh where "fast" would not, to compare with.
        still: whether the cameras of the scene stay where they are on their bodies; otherwise
            nothing is left out for being hidden.

    Raises:
        ValueError: for an unknown ``rendering``; the message lists the valid ones.
    """

    def __init__(
        self,
        simulation: Simulation,
        size: tuple[int, int],
        *,
        rendering: str = "fast",
        full_detail: bool = False,
        still: bool = True,
    ) -> None:
        if rendering not in RENDERINGS:
            raise ValueError(f"unknown rendering {rendering!r}; valid: {', '.join(RENDERINGS)}")
        self._simulation = simulation
        self._height, self._width = size
        self._as_stock = rendering == "libero"
        self._full_detail = full_detail or self._as_stock
        self._still = still
        self._gl: Any = None
        self._views: dict[int, _View] = {}
        self._release: Any = None

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
        _free_dropped()
        if self._gl is None:
            self._gl, self._views = _gl_context(self._width, self._height), {}
            self._release = weakref.finalize(self, _dropped.append, (self._gl, self._views))
            self._release.atexit = False
            _close_at_exit(self)
        self._gl.make_current()
        if camera_id not in self._views:
            size = self._height, self._width
            self._views[camera_id] = _View(
                self._simulation,
                camera_id,
                size,
                full_detail=self._full_detail,
                as_stock=self._as_stock,
                still=self._still,
            )
        # LIBERO shows the state of stoves by toggling sites.
        self._simulation.inner._post_process()
        # OpenGL's first row is the lowest.
        return self._views[camera_id].pixels(data)[::-1].copy()

    @property
    def backend(self) -> str | None:
        """What draws, such as "EGL llvmpipe (LLVM 17.0.6, 256 bits)"; None before an image."""
        if self._gl is None:
            return None
        self._gl.make_current()
        return _backend_name(self._gl)

    def triangles(self, camera: str) -> int:
        """How many triangles the meshes have that a camera drawn before may see."""
        return self._views[self._simulation.model.camera(camera).id].triangles

    def close(self) -> None:
        """Free the OpenGL context; a later image makes another."""
        _open_renderers.discard(self)
        if self._gl is not None:
            self._release()
            self._gl = None
            _free_dropped()


class _View:
    """What one camera of a simulation needs to be drawn.  The GL context must be current."""

    def __init__(
        self,
        simulation: Simulation,
        camera: int,
        size: tuple[int, int],
        *,
        full_detail: bool,
        as_stock: bool,
        still: bool,
    ) -> None:
        height, width = size
        self._model = model = simulation.model
        self._visuals = None
        if not full_detail:
            placed = simulation.placed_bodies
            self._visuals = Visuals(model, simulation.rest_state(), placed, camera, size)
        with contextlib.ExitStack() as stack:
            if self._visuals is not None:
                stack.enter_context(self._visuals.uploading(model))
            stack.enter_context(_linear_textures(model))
            buffer, quality = model.vis.global_, model.vis.quality
            lent: list[tuple[Any, str, int]] = [
                (buffer, "offheight", height),
                (buffer, "offwidth", width),
            ]
            shadows = as_stock and bool(model.light_castshadow.any())
            if not as_stock:
                lent.append((quality, "offsamples", 0))
            if not shadows:
                lent.append((quality, "shadowsize", 0))  # a depth buffer of 64 MiB otherwise
            for options, name, value in lent:
                stack.callback(setattr, options, name, getattr(options, name))
                setattr(options, name, value)
            self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)
        self._scene = mujoco.MjvScene(model, maxgeom=2000)
        self._scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = shadows
        self._scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = as_stock
        self._options = mujoco.MjvOption()
        self._options.geomgroup[COLLISION_GROUP] = 0
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._camera.fixedcamid = camera
        self._viewport = mujoco.MjrRect(0, 0, width, height)
        self._pixels = np.empty((height, width, 3), dtype=np.uint8)
        if still and self._visuals is not None and self._visuals.fixed.any():
            self._leave_out_hidden(self._visuals, simulation.data)

    @property
    def triangles(self) -> int:
        if self._visuals is None:
            return int(self._model.mesh_facenum.sum())
        return self._visuals.triangles

    def pixels(
        self, data: mujoco.MjData, only: NDArray[np.bool_] | None = None
    ) -> NDArray[np.uint8]:
        """``(height, width, 3)`` from the bottom up, overwritten by the next image.

        Args:
            data: the state.
            only: ``(ngeom,)`` draws no other geoms.
        """
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        with contextlib.ExitStack() as stack:
            if self._visuals is not None:
                stack.enter_context(self._visuals.showing(self._model, data, only))
            mujoco.mjv_updateScene(
                self._model,
                data,
                self._options,
                None,
                self._camera,
                mujoco.mjtCatBit.mjCAT_ALL,
                self._scene,
            )
        mujoco.mjr_render(self._viewport, self._scene, self._context)
        mujoco.mjr_readPixels(self._pixels, None, self._viewport, self._context)
        return self._pixels

    def _leave_out_hidden(self, visuals: Visuals, data: mujoco.MjData) -> None:
        """Stop drawing the fixed geoms that other fixed ones hide for good.

        They are drawn alone, in colours that number them: whatever has no pixel then will have
        none in any image from this camera, where other things only hide more.
        """
        flags = self._scene.flags
        numbering = [int(mujoco.mjtRndFlag.mjRND_SEGMENT), int(mujoco.mjtRndFlag.mjRND_IDCOLOR)]
        flags[numbering] = 1
        segments = np.unique(self.pixels(data, visuals.fixed).astype(np.int64) @ [1, 256, 65536])
        flags[numbering] = 0
        hidden = visuals.fixed.copy()
        for geom in self._scene.geoms[: self._scene.ngeom]:
            if geom.objtype == mujoco.mjtObj.mjOBJ_GEOM and geom.segid + 1 in segments:
                hidden[geom.objid] = False
        visuals.leave_out(hidden)
        # Number 0 is the background, which here means the sky.
        flags[mujoco.mjtRndFlag.mjRND_SKYBOX] = 0 in segments

    def free(self) -> None:
        """Free what lies in the GL context."""
        self._context.free()


@contextlib.contextmanager
def _linear_textures(model: mujoco.MjModel) -> Iterator[None]:
    """Lend the model textures whose values are colours as they are, while a context is made of it.

    MuJoCo 3.3.3 and later take PNG files to be in the sRGB space unless a model says otherwise,
    and draw them darker than the versions that LIBERO was made with, by up to 38 grey levels
    (libero_object's floor).  Earlier versions have no such field and no such difference.
    """
    if not hasattr(model, "tex_colorspace"):
        yield
        return
    kept = model.tex_colorspace.copy()
    model.tex_colorspace[:] = int(mujoco.mjtColorSpace.mjCOLORSPACE_LINEAR)
    try:
        yield
    finally:
        model.tex_colorspace[:] = kept


_dropped: list[tuple[Any, dict[int, _View]]] = []
"""GL contexts whose renderers were closed, or collected without having been closed.

MuJoCo frees what it has in whichever GL context is current, and the garbage collector may come in
the middle of another renderer's work: contexts wait here until it is safe.
"""


def _free_dropped() -> None:
    while _dropped:
        gl, views = _dropped.pop()
        gl.make_current()
        for view in views.values():
            view.free()
        gl.free()


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
    _free_dropped()


def _backend_name(context: Any) -> str:
    """The interface to OpenGL and the device behind it; the context must be current."""
    from OpenGL import GL

    name = "EGL" if type(context).__module__.endswith("egl") else "OSMesa"
    device = GL.glGetString(GL.GL_RENDERER)
    return name if device is None else f"{name} {device.decode(errors='replace')}"


def _gl_context(width: int, height: int) -> Any:
    """A context by EGL or OSMesa, whichever works; ``MUJOCO_GL`` may name the first to try.

    ``mujoco.Renderer`` decides once, when MuJoCo is first imported, and picks a windowed backend
    unless the variable was set by then.
    """
    wanted = os.environ.get("MUJOCO_GL", "egl").lower()
    # Mesa's software renderer would start a thread per core; small images only wait for them.
    os.environ.setdefault("LP_NUM_THREADS", "0")
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
