"""Which geoms a mesh can stand for, what that mesh is, and where a model has room for it."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Callable
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from .surfaces import (
    TOLERANCE,
    Surface,
    box_surface,
    cylinder_surface,
    joined,
    mesh_surface,
    simplified,
)

SHOWN_GROUPS = (1, 2)
"""Geom groups that images show; group 0 has the collision shapes."""

LARGE_BOX = 0.3
"""Half side (m) from which a box stays one of OpenGL's, whose sides are divided: light falls on
corners, and a table of two triangles would show no gradient."""

LIT_PIXELS = 8
"""Light is worked out at corners; this is how many pixels of a flat side may lie between two."""

MESH, BOX, CYLINDER = (
    int(kind)
    for kind in (
        mujoco.mjtGeom.mjGEOM_MESH,
        mujoco.mjtGeom.mjGEOM_BOX,
        mujoco.mjtGeom.mjGEOM_CYLINDER,
    )
)
_DEFAULT_RGBA = (0.5, 0.5, 0.5, 1.0)


def alike_geoms(model: mujoco.MjModel, apart: NDArray[np.bool_]) -> list[list[int]]:
    """The geoms that are shown, those of one body that look alike together.

    Args:
        model: the scene.
        apart: ``(ngeom,)`` geoms that are not put together with the others.
    """
    looks: dict[Any, list[int]] = {}
    for geom in range(model.ngeom):
        if model.geom_group[geom] in SHOWN_GROUPS:
            look = bool(apart[geom]), *_look(model, geom)
            looks.setdefault(look, []).append(geom)
    # Pieces with meshes first: the others stay as they are where slots run out.
    return sorted(looks.values(), key=lambda geoms: not (model.geom_type[geoms] == MESH).any())


def is_large_box(model: mujoco.MjModel, geom: int) -> bool:
    """Whether a geom is a box that is drawn as MuJoCo draws boxes."""
    return bool(model.geom_type[geom] == BOX and model.geom_size[geom].max() >= LARGE_BOX)


def _is_textured(model: mujoco.MjModel, geom: int) -> bool:
    material = model.geom_matid[geom]
    return bool(material >= 0 and (model.mat_texid[material] >= 0).any())


def _look(model: mujoco.MjModel, geom: int) -> tuple[Any, ...]:
    """Equal for geoms that one mesh can stand for."""
    kind, material = int(model.geom_type[geom]), int(model.geom_matid[geom])
    body, rgba = int(model.geom_bodyid[geom]), tuple(model.geom_rgba[geom].tolist())
    textured = _is_textured(model, geom)
    if kind == MESH and textured:
        return body, material, rgba
    small = kind == BOX and not is_large_box(model, geom)
    if textured or not (kind in (MESH, CYLINDER) or small):
        return (geom,)
    if material < 0:
        return body, rgba
    if np.allclose(rgba, _DEFAULT_RGBA):  # MuJoCo then takes the material's
        rgba = tuple(model.mat_rgba[material].tolist())
    fields = model.mat_emission, model.mat_specular, model.mat_shininess, model.mat_reflectance
    return body, rgba, *(float(field[material]) for field in fields)


def piece_surface(
    model: mujoco.MjModel, geoms: list[int], pixels: NDArray[np.float64]
) -> Surface | None:
    """One surface for geoms that look alike, in the frame of the first; None: leave them be.

    Args:
        model: the scene.
        geoms: as `alike_geoms` puts them together.
        pixels: ``(ngeom,)`` m, what a pixel covers of each geom of the scene.
    """
    if len(_look(model, geoms[0])) == 1:
        return None
    parts = [_surface(model, geom, float(pixels[geom])) for geom in geoms]
    if len(parts) == 1:
        return parts[0]
    origin, rotation = _pose(model, geoms[0])
    moved = []
    for geom, part in zip(geoms, parts, strict=True):
        position, own = _pose(model, geom)
        moved.append(part.moved(rotation.T @ (position - origin), rotation.T @ own))
    return joined(moved)


def _pose(model: mujoco.MjModel, geom: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Position (3,) and rotation (3, 3) of a geom in its body."""
    matrix = np.empty(9)
    mujoco.mju_quat2Mat(matrix, model.geom_quat[geom])
    return model.geom_pos[geom], matrix.reshape(3, 3)


def _surface(model: mujoco.MjModel, geom: int, pixel: float) -> Surface:
    if model.geom_type[geom] == MESH:
        return _simplified_mesh(model, geom, pixel)
    if model.geom_type[geom] == BOX:
        size = model.geom_size[geom]
        parts = np.clip(np.round(2 * size / (pixel * LIT_PIXELS)), 1, 4).astype(int)
        return box_surface(size, parts.tolist())
    radius, half_length = model.geom_size[geom][:2]
    # A polygon of n sides is up to radius * (pi / n)^2 / 2 inside its circle.
    slices = np.pi * np.sqrt(radius / (2 * TOLERANCE * pixel))
    return cylinder_surface(radius, half_length, int(np.clip(np.ceil(slices), 8, 28)))


_simplified: dict[tuple[int, int, int, bool], Surface] = {}
"""Surfaces by content of the mesh and size of a pixel: environments of a process share them."""


def _simplified_mesh(model: mujoco.MjModel, geom: int, pixel: float) -> Surface:
    mesh, textured = int(model.geom_dataid[geom]), _is_textured(model, geom)
    step = round(2 * float(np.log2(pixel)))
    start, number = model.mesh_vertadr[mesh], model.mesh_vertnum[mesh]
    content = zlib.crc32(model.mesh_vert[start : start + number].tobytes())
    key = content, int(model.mesh_facenum[mesh]), step, textured
    if key not in _simplified:
        surface = mesh_surface(model, mesh, textured=textured)
        _simplified[key] = simplified(surface, 2.0 ** (step / 2))
    return _simplified[key]


def fill_slots(
    model: mujoco.MjModel,
    pieces: list[list[int]],
    surface_of: Callable[[list[int]], Surface | None],
) -> tuple[MeshSlots, list[Surface | None]]:
    """A surface for each piece, or None for those that are drawn as they were compiled."""
    slots = MeshSlots(model)
    surfaces: list[Surface | None] = []
    for geoms in pieces:
        surface = surface_of(geoms)
        if surface is not None and not slots.take(surface):
            if (model.geom_type[geoms] == MESH).any():
                # Images so large that nothing can be left out: every mesh stays as it is.
                return MeshSlots(model), [None] * len(pieces)
            surface = None
        surfaces.append(surface)
    return slots, surfaces


class MeshSlots:
    """Surfaces that take the places of a model's meshes."""

    def __init__(self, model: mujoco.MjModel) -> None:
        self.surfaces: list[Surface] = []
        self._number = model.nmesh
        self._corners = min(model.nmeshvert, model.nmeshnormal, 3 * model.nmeshface)
        self._texture = model.nmeshtexcoord

    def take(self, surface: Surface) -> bool:
        """Whether there is room for the surface, which then becomes one of the meshes."""
        if any(other is surface for other in self.surfaces):
            return True
        corners = 3 * len(surface)
        texture = 0 if surface.texture is None else corners
        if self._number == len(self.surfaces):
            return False
        if corners > self._corners or texture > self._texture:
            return False
        self._corners -= corners
        self._texture -= texture
        self.surfaces.append(surface)
        return True

    def number_of(self, surface: Surface) -> int:
        """The mesh that a surface became."""
        return next(i for i, other in enumerate(self.surfaces) if other is surface)

    def lend(self, model: mujoco.MjModel, stack: contextlib.ExitStack) -> None:
        """Put the surfaces into the model's arrays until the stack is closed."""
        number = sum(len(surface) for surface in self.surfaces)
        corners = slice(0, 3 * number)
        textured = [s.texture.reshape(-1, 2) for s in self.surfaces if s.texture is not None]
        texture = slice(0, sum(map(len, textured)))
        all_ = slice(None)
        places = [
            (model.mesh_vert, corners),
            (model.mesh_normal, corners),
            (model.mesh_texcoord, texture),
            (model.mesh_face, slice(0, number)),
            (model.mesh_facenormal, slice(0, number)),
            (model.mesh_facetexcoord, slice(0, number)),
        ]
        counts = [
            model.mesh_vertadr,
            model.mesh_vertnum,
            model.mesh_normaladr,
            model.mesh_normalnum,
            model.mesh_faceadr,
            model.mesh_facenum,
            model.mesh_texcoordadr,
            model.mesh_texcoordnum,
            model.mesh_graphadr,
        ]
        for array, where in [*places, *((count, all_) for count in counts)]:
            stack.callback(array.__setitem__, where, array[where].copy())
        if not number:
            return
        model.mesh_vert[corners] = np.concatenate([s.corners.reshape(-1, 3) for s in self.surfaces])
        model.mesh_normal[corners] = np.concatenate(
            [s.normals.reshape(-1, 3) for s in self.surfaces]
        )
        if textured:
            model.mesh_texcoord[texture] = np.concatenate(textured)
        model.mesh_facenum[:] = 0
        model.mesh_texcoordadr[:] = -1
        model.mesh_graphadr[:] = -1  # no convex hulls: they are not drawn
        face = coordinate = 0
        for slot, surface in enumerate(self.surfaces):
            size = len(surface)
            indices = np.arange(3 * size).reshape(-1, 3)
            for array in (model.mesh_face, model.mesh_facenormal, model.mesh_facetexcoord):
                array[face : face + size] = indices
            model.mesh_vertadr[slot] = model.mesh_normaladr[slot] = 3 * face
            model.mesh_vertnum[slot] = model.mesh_normalnum[slot] = 3 * size
            model.mesh_faceadr[slot], model.mesh_facenum[slot] = face, size
            if surface.texture is not None:
                model.mesh_texcoordadr[slot], model.mesh_texcoordnum[slot] = coordinate, 3 * size
                coordinate += 3 * size
            face += size
