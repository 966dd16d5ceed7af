"""What a camera needs of a model to draw it: coarser meshes, fewer pieces, nothing out of sight.

MuJoCo reads a model's meshes and textures once, when a context for drawing is made, and its geoms
whenever a scene is updated.  `Visuals` lends the model other values for those two moments and
takes them back: physics never sees them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

import mujoco
import numpy as np
from numpy.typing import NDArray

from .pieces import MESH, SHOWN_GROUPS, alike_geoms, fill_slots, is_large_box, piece_surface
from .surfaces import Surface

SHOWN, HIDDEN = 1, 5
"""The geom groups lent while a scene is updated."""

NEAREST_PLACED = 0.6
"""How near (m) objects and fixtures come to a camera that stands still."""

NEAREST_LINK, STROLL = 0.3, 0.2
"""How near (m) the robot comes to such a camera, and how much nearer than when it is at rest."""

NEAREST_OBJECT, NEAREST_FINGER = 0.1, 0.03
"""How near (m) a camera on the hand looks at objects, and at parts of the robot."""


class Visuals:
    """A model as one camera sees it in images of one height.

    Shapes of one body that look alike are one mesh, coarser where that is less than the pixels
    show.

    Args:
        model: the scene.
        rest: a state with the robot at rest, which decides distances and what never moves.
        placed_bodies: objects and fixtures, which resets move even where they are welded to the
            world.
        camera: its id.
        size: height and width of the images in pixels.

    Attributes:
        fixed: ``(ngeom,)`` opaque geoms that never move; none if the camera does.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        rest: mujoco.MjData,
        placed_bodies: Iterable[int],
        camera: int,
        size: tuple[int, int],
    ) -> None:
        height, width = size
        placed = set(placed_bodies)
        self.fixed = _fixed_geoms(model, placed, camera)
        self._camera = camera
        half = np.tan(np.radians(model.cam_fovy[camera]) / 2)
        # Normals (pointing inwards) of the sides of what the camera sees, in its own frame: it
        # looks along -z.
        sides = [
            [1, 0, -half * width / height],
            [-1, 0, -half * width / height],
            [0, 1, -half],
            [0, -1, -half],
        ]
        self._sides = np.array(sides) / np.linalg.norm(sides, axis=1, keepdims=True)
        pixels = _pixel_sizes(model, rest, placed, camera, height)
        pieces = alike_geoms(model, apart=self.fixed)

        def piece(geoms: list[int]) -> Surface | None:
            surface = piece_surface(model, geoms, pixels)
            if surface is None or not self.fixed[geoms[0]]:
                return surface
            return self._visible(surface, model, rest, geoms[0])

        self._slots, surfaces = fill_slots(model, pieces, piece)
        numbers: dict[int, int] = {}
        hosts, middles, radii = [], [], []
        for geoms, surface in zip(pieces, surfaces, strict=True):
            if surface is None:
                hosts += geoms
                middles += [np.zeros(3)] * len(geoms)
                # Planes are said to have no extent; they have no end.
                radii += [radius if radius > 0 else np.inf for radius in model.geom_rbound[geoms]]
                continue
            points = surface.corners.reshape(-1, 3)
            if not len(points):
                continue
            middle = (points.min(axis=0) + points.max(axis=0)) / 2
            hosts.append(geoms[0])
            middles.append(middle)
            radii.append(float(np.linalg.norm(points - middle, axis=1).max()))
            numbers[geoms[0]] = self._slots.number_of(surface)
        self._mesh_geoms = np.array(list(numbers), dtype=np.intp)
        self._mesh_numbers = np.array(list(numbers.values()), dtype=np.intp)
        self._hosts = np.array(hosts)
        self._middles, self._radii = np.array(middles), np.array(radii)
        self._never_seen = np.zeros(len(hosts), dtype=bool)

    @property
    def triangles(self) -> int:
        """How many triangles the meshes have."""
        return sum(len(surface) for surface in self._slots.surfaces)

    @contextlib.contextmanager
    def uploading(self, model: mujoco.MjModel) -> Iterator[None]:
        """Lend the model the coarse meshes while a context is made of it."""
        with contextlib.ExitStack() as stack:
            self._slots.lend(model, stack)
            yield

    @contextlib.contextmanager
    def showing(
        self, model: mujoco.MjModel, data: mujoco.MjData, only: NDArray[np.bool_] | None = None
    ) -> Iterator[None]:
        """Lend the model the geoms to draw while a scene is made of it.

        Args:
            model, data: as they are now.
            only: ``(ngeom,)`` shows nothing else.
        """
        group, kind, mesh = model.geom_group, model.geom_type, model.geom_dataid
        sites = model.site_group
        kept = group.copy(), kind.copy(), mesh.copy(), sites.copy()
        shown = self._hosts[self._in_view(data) & ~self._never_seen]
        if only is not None:
            shown = shown[only[shown]]
        group[:] = HIDDEN
        group[shown] = SHOWN
        kind[self._mesh_geoms] = MESH
        mesh[self._mesh_geoms] = self._mesh_numbers
        # robosuite and LIBERO make sites invisible, which MuJoCo then draws all the same.
        sites[model.site_rgba[:, 3] <= 0] = HIDDEN
        try:
            yield
        finally:
            group[:], kind[:], mesh[:], sites[:] = kept

    def leave_out(self, geoms: NDArray[np.bool_]) -> None:
        """Never show these geoms ``(ngeom,)`` again."""
        self._never_seen |= geoms[self._hosts]

    def _visible(
        self, surface: Surface, model: mujoco.MjModel, rest: mujoco.MjData, geom: int
    ) -> Surface:
        """The triangles of a fixed geom's surface that the camera may see, which is fixed too.

        They face it, lie within its view and are not behind a large box.  What a convex body
        hides from a point is convex, so a triangle is behind a box if its corners are.
        """
        eye, axes = rest.cam_xpos[self._camera], rest.cam_xmat[self._camera].reshape(3, 3)
        corners = surface.corners @ rest.geom_xmat[geom].reshape(3, 3).T + rest.geom_xpos[geom]
        seen = (corners - eye) @ axes
        across = np.cross(seen[:, 1] - seen[:, 0], seen[:, 2] - seen[:, 0])
        visible = (across * seen[:, 0]).sum(axis=1) < 0
        visible &= ((seen @ self._sides.T) > 0).any(axis=1).all(axis=1)
        for box in np.nonzero(self.fixed)[0].tolist():
            if is_large_box(model, box):
                turn = rest.geom_xmat[box].reshape(3, 3)
                start = (eye - rest.geom_xpos[box]) @ turn
                rays = (corners - eye) @ turn
                visible &= ~_passes_box(start, rays, model.geom_size[box]).all(axis=1)
        return surface.part(visible)

    def _in_view(self, data: mujoco.MjData) -> NDArray[np.bool_]:
        """``(G,)`` whether each host's sphere reaches into the pyramid that the camera sees."""
        turned = (data.geom_xmat[self._hosts].reshape(-1, 3, 3) @ self._middles[:, :, None])[..., 0]
        centres = data.geom_xpos[self._hosts] + turned - data.cam_xpos[self._camera]
        seen = centres @ data.cam_xmat[self._camera].reshape(3, 3)
        result: NDArray[np.bool_] = ((seen @ self._sides.T) > -self._radii[:, None]).all(axis=1)
        return result


def _passes_box(
    start: NDArray[np.float64], rays: NDArray[np.float64], size: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """``(...)`` whether ``start + t * rays`` (..., 3) is in a box for some t of (0, 1).

    Args:
        start: ``(3,)`` in the frame of the box.
        rays: from there to points.
        size: ``(3,)`` half sides.
    """
    steps = np.where(np.abs(rays) < 1e-9, 1e-9, rays)
    ends = np.stack([(-size - start) / steps, (size - start) / steps])
    enters, leaves = ends.min(axis=0).max(axis=-1), ends.max(axis=0).min(axis=-1)
    result: NDArray[np.bool_] = (enters > 0) & (enters < np.minimum(leaves, 1 - 1e-4))
    return result


def _fixed_geoms(model: mujoco.MjModel, placed: set[int], camera: int) -> NDArray[np.bool_]:
    fixed = np.ones(model.nbody, dtype=bool)
    for body in range(1, model.nbody):  # parents come before their children
        welded = model.body_weldid[body] == 0 and fixed[model.body_parentid[body]]
        fixed[body] = welded and body not in placed
    if not fixed[model.cam_bodyid[camera]]:
        return np.zeros(model.ngeom, dtype=bool)
    shown = np.isin(model.geom_group, SHOWN_GROUPS) & (model.geom_rgba[:, 3] == 1)
    result: NDArray[np.bool_] = fixed[model.geom_bodyid] & shown
    return result


def _pixel_sizes(
    model: mujoco.MjModel, rest: mujoco.MjData, placed: set[int], camera: int, height: int
) -> NDArray[np.float64]:
    """``(ngeom,)`` m: what a pixel covers of a geom as near as the camera is likely to see it.

    Nothing here may depend on the present state: the same state must give the same image,
    whenever the renderer was made.
    """
    distance = np.linalg.norm(rest.geom_xpos - rest.cam_xpos[camera], axis=1) - model.geom_rbound
    mount = model.cam_bodyid[camera]
    root = model.body_rootid[model.geom_bodyid]
    placed_geom = np.isin(root, list(placed)) | np.isin(model.geom_bodyid, list(placed))
    if model.body_weldid[mount] == 0:
        moves = model.body_weldid[model.geom_bodyid] != 0
        distance = np.maximum(distance - STROLL * moves, NEAREST_LINK)
        distance[placed_geom] = NEAREST_PLACED
    else:
        distance = np.where(
            root == model.body_rootid[mount], np.maximum(distance, NEAREST_FINGER), NEAREST_OBJECT
        )
    half = np.tan(np.radians(model.cam_fovy[camera]) / 2)
    result: NDArray[np.float64] = 2 * distance * half / height
    return result
