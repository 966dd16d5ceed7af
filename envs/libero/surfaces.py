"""Triangles of visible shapes, and coarser triangles that look the same from afar.

A software renderer spends a small image's time on triangles, hundreds of which fall into one
pixel.  `simplified` puts the vertices of every cell of a grid together, at the point that best
keeps the planes of the triangles around them: vertex clustering (Rossignac and Borrel 1993) with
the representatives of Lindstrom (SIGGRAPH 2000).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

TOLERANCE = 0.1
"""How far, in pixels, the planes of triangles put together may be from their new corner."""

FINEST, COARSEST = 0.7, 2.8
"""Smallest and largest cell in pixels."""


@dataclass(frozen=True)
class Surface:
    """Triangles, each with its own three corners.

    Attributes:
        corners: ``(F, 3, 3)`` m.
        normals: ``(F, 3, 3)`` unit vectors at the corners.
        texture: ``(F, 3, 2)`` texture coordinates, or None.
    """

    corners: Floats
    normals: Floats
    texture: Floats | None = None

    def __len__(self) -> int:
        return len(self.corners)

    def part(self, triangles: NDArray[np.bool_]) -> Surface:
        """Only some triangles, ``(F,)``."""
        texture = None if self.texture is None else self.texture[triangles]
        return Surface(self.corners[triangles], self.normals[triangles], texture)

    def moved(self, position: NDArray[np.float64], rotation: NDArray[np.float64]) -> Surface:
        """The surface in the frame in which it stands at ``position`` (3,), ``rotation`` (3, 3)."""
        return Surface(
            (self.corners @ rotation.T + position).astype(np.float32),
            (self.normals @ rotation.T).astype(np.float32),
            self.texture,
        )


def joined(surfaces: Sequence[Surface]) -> Surface:
    """All triangles in one surface; texture coordinates only where every part has them."""
    textures = [surface.texture for surface in surfaces]
    known = [texture for texture in textures if texture is not None]
    return Surface(
        np.concatenate([surface.corners for surface in surfaces]),
        np.concatenate([surface.normals for surface in surfaces]),
        np.concatenate(known) if len(known) == len(textures) else None,
    )


def mesh_surface(model: mujoco.MjModel, mesh: int, *, textured: bool) -> Surface:
    """A compiled mesh's triangles, with its texture coordinates where they are needed."""
    faces = slice(model.mesh_faceadr[mesh], model.mesh_faceadr[mesh] + model.mesh_facenum[mesh])
    vertices = model.mesh_vert[model.mesh_vertadr[mesh] :]
    normals = model.mesh_normal[model.mesh_normaladr[mesh] :]
    texture = None
    if textured and model.mesh_texcoordadr[mesh] >= 0:
        coordinates = model.mesh_texcoord[model.mesh_texcoordadr[mesh] :]
        texture = coordinates[model.mesh_facetexcoord[faces]]
    return Surface(vertices[model.mesh_face[faces]], normals[model.mesh_facenormal[faces]], texture)


def box_surface(size: NDArray[np.float64], parts: Sequence[int] = (1, 1, 1)) -> Surface:
    """A box of half sides ``size`` (3,), its sides divided into ``parts`` along each axis."""
    corners, normals = [], []
    for axis in range(3):
        # Right-handed with the axis: corners run counterclockwise seen from outside.
        first, second = (axis + 1) % 3, (axis + 2) % 3
        u = np.linspace(-1.0, 1.0, parts[first] + 1)
        v = np.linspace(-1.0, 1.0, parts[second] + 1)
        low_u, low_v = (grid.ravel() for grid in np.meshgrid(u[:-1], v[:-1], indexing="ij"))
        high_u, high_v = (grid.ravel() for grid in np.meshgrid(u[1:], v[1:], indexing="ij"))
        around = (low_u, low_v), (high_u, low_v), (high_u, high_v), (low_u, high_v)
        quad = np.empty((len(low_u), 4, 3))
        for corner, (along_first, along_second) in enumerate(around):
            quad[:, corner, first], quad[:, corner, second] = along_first, along_second
        for sign, order in ((1.0, [0, 1, 2, 0, 2, 3]), (-1.0, [0, 2, 1, 0, 3, 2])):
            quad[:, :, axis] = sign
            corners.append(quad[:, order].reshape(-1, 3, 3) * size)
            normals.append(np.broadcast_to(sign * np.eye(3)[axis], corners[-1].shape))
    return Surface(
        np.concatenate(corners).astype(np.float32), np.concatenate(normals).astype(np.float32)
    )


def cylinder_surface(radius: float, half_length: float, slices: int) -> Surface:
    """A cylinder along z with flat ends and smooth sides: ``4 * slices`` triangles."""
    angles = np.linspace(0.0, 2 * np.pi, slices + 1)
    ring = np.stack([np.cos(angles), np.sin(angles), np.zeros_like(angles)], axis=-1)
    up = np.array([0.0, 0.0, 1.0])
    low, high = radius * ring - half_length * up, radius * ring + half_length * up
    corners, normals = [], []
    for i in range(slices):
        corners += [[low[i], low[i + 1], high[i + 1]], [low[i], high[i + 1], high[i]]]
        normals += [[ring[i], ring[i + 1], ring[i + 1]], [ring[i], ring[i + 1], ring[i]]]
        corners += [[half_length * up, high[i], high[i + 1]]]
        corners += [[-half_length * up, low[i + 1], low[i]]]
        normals += [[up] * 3, [-up] * 3]
    return Surface(np.array(corners, dtype=np.float32), np.array(normals, dtype=np.float32))


def simplified(surface: Surface, pixel: float) -> Surface:
    """A coarser surface that stays within a fraction of ``pixel`` metres of this one.

    Cells are as large as the shape allows: cells of `COARSEST` pixels are halved until the planes
    of the triangles inside pass within `TOLERANCE` pixels of one point, or down to `FINEST`
    pixels.  Normals are averaged over the corners that come together and face the same side;
    texture coordinates go on to the new place as the triangle's own mapping does.  A surface that
    gains nothing is returned as it is.
    """
    if len(surface) < 50:
        return surface
    cluster, places = _clusters(surface, pixel)
    corner = cluster.reshape(-1, 3)
    kept = (corner[:, 0] != corner[:, 1]) & (corner[:, 1] != corner[:, 2])
    faces = np.nonzero(kept & (corner[:, 2] != corner[:, 0]))[0]
    # Equal triangles are drawn once; the two sides of a thin wall differ in their sense.
    start = np.argmin(corner[faces], axis=1)
    sense = np.take_along_axis(corner[faces], (start[:, None] + np.arange(3)) % 3, axis=1)
    names = (sense[:, 0] * len(places) + sense[:, 1]) * len(places) + sense[:, 2]
    _, first = np.unique(names, return_index=True)
    faces = faces[np.sort(first)]
    if len(faces) > 0.8 * len(surface):
        return surface
    if len(faces) < 12 and surface.texture is None:
        # Smaller than a cell: its place and size are all that can be seen of it.
        low, high = surface.corners.min(axis=(0, 1)), surface.corners.max(axis=(0, 1))
        return box_surface((high - low) / 2.0).moved((low + high) / 2.0, np.eye(3))
    if len(faces) == 0:
        return surface
    corners = places[corner[faces]]
    normals = _averaged_normals(surface, cluster, faces)
    texture = None
    if surface.texture is not None:
        texture = _moved_texture(surface, faces, corners)
    # A triangle that folded over would be culled as a back face: turned round.
    facing = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    order = np.tile(np.arange(3), (len(faces), 1))
    order[(facing * normals.sum(axis=1)).sum(axis=1) < 0] = [0, 2, 1]
    rows = np.arange(len(faces))[:, None]
    return Surface(
        corners[rows, order].astype(np.float32),
        normals[rows, order].astype(np.float32),
        None if texture is None else texture[rows, order].astype(np.float32),
    )


def _clusters(surface: Surface, pixel: float) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Cluster of every corner ``(3 F,)`` and the point ``(K, 3)`` that stands for each."""
    points = surface.corners.reshape(-1, 3).astype(np.float64)
    low = points.min(axis=0)
    levels = round(np.log2(COARSEST / FINEST))
    finest = pixel * FINEST
    cells = np.floor((points - low) / finest).astype(np.int64)
    # Larger cells are sums of smaller ones: corners are gone through once.
    cell, cells = _numbered(cells)
    planes = _Planes.of(surface, points, cell, len(cells))
    cluster = np.full(len(cells), -1)
    places: list[NDArray[np.float64]] = []
    found = 0
    for level in range(levels, -1, -1):
        rest = np.nonzero(cluster < 0)[0]
        if len(rest) == 0:
            break
        group, larger = _numbered(cells[rest] >> level)
        place, error = planes.added(rest, group, len(larger)).meeting_points(finest * 2**level)
        good = (error < (TOLERANCE * pixel) ** 2) | (level == 0)
        number = np.cumsum(good) - 1 + found
        taken = good[group]
        cluster[rest[taken]] = number[group[taken]]
        places.append(place[good])
        found += int(good.sum())
    return cluster[cell], np.concatenate(places)


def _numbered(cells: NDArray[np.int64]) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """Number of the cell that each row ``(N, 3)`` names, and the cells ``(K, 3)`` that occur."""
    shape = tuple(cells.max(axis=0) + 1)
    flat = np.ravel_multi_index(tuple(cells.T), shape)
    if np.prod(shape) < 20 * len(flat) + 1000:
        # A table of all cells is quicker than sorting.
        occurs = np.zeros(np.prod(shape), dtype=bool)
        occurs[flat] = True
        number = np.cumsum(occurs) - 1
        return number[flat], np.stack(np.unravel_index(np.nonzero(occurs)[0], shape), axis=-1)
    named, inverse = np.unique(flat, return_inverse=True)
    return inverse, np.stack(np.unravel_index(named, shape), axis=-1)


@dataclass(frozen=True)
class _Planes:
    """Sums over the planes of triangles around groups of corners, weighed by area.

    With unit normals n and corners p: ``weight`` (K,) of w, ``points`` (K, 3) of w p, ``outer``
    (K, 3, 3) of w n n', ``offset`` (K, 3) of w n (n.p), ``square`` (K,) of w (n.p)^2.
    """

    weight: NDArray[np.float64]
    points: NDArray[np.float64]
    outer: NDArray[np.float64]
    offset: NDArray[np.float64]
    square: NDArray[np.float64]

    @staticmethod
    def of(
        surface: Surface, points: NDArray[np.float64], group: NDArray[np.intp], number: int
    ) -> _Planes:
        """Sums over the corners ``points`` (3 F, 3) of each group."""
        sides = surface.corners[:, 1:].astype(np.float64) - surface.corners[:, :1]
        cross = np.cross(sides[:, 0], sides[:, 1])
        area = np.maximum(np.linalg.norm(cross, axis=1), 1e-15)
        normal = np.repeat(cross / area[:, None], 3, axis=0)
        weight = np.repeat(area, 3)
        distance = (normal * points).sum(axis=1)

        def total(values: NDArray[np.float64]) -> NDArray[np.float64]:
            return _sums(values * weight, group, number)

        outer = np.empty((number, 3, 3))
        for i in range(3):
            for j in range(i + 1):
                outer[:, i, j] = outer[:, j, i] = total(normal[:, i] * normal[:, j])
        return _Planes(
            _sums(weight, group, number),
            np.stack([total(points[:, i]) for i in range(3)], axis=-1),
            outer,
            np.stack([total(normal[:, i] * distance) for i in range(3)], axis=-1),
            total(distance**2),
        )

    def added(self, rows: NDArray[np.intp], group: NDArray[np.intp], number: int) -> _Planes:
        """The sums of ``rows``, added up by their ``group``."""

        def total(values: NDArray[np.float64]) -> NDArray[np.float64]:
            result = np.zeros((number, *values.shape[1:]))
            np.add.at(result, group, values[rows])
            return result

        parts = self.weight, self.points, self.outer, self.offset, self.square
        return _Planes(*(total(part) for part in parts))

    def meeting_points(self, reach: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """``(K, 3)`` where planes come closest to meeting, ``(K,)`` mean squared distances there.

        Args:
            reach: how far from the corners' mean along each axis a point may be, m.
        """
        centre = self.points / self.weight[:, None]
        matrix = self.outer / self.weight[:, None, None]
        right = self.offset / self.weight[:, None] - (matrix @ centre[:, :, None])[:, :, 0]
        # A little weight on the mean decides where the planes leave it open.
        solved = np.linalg.solve(matrix + 0.01 * np.eye(3), right[:, :, None])[:, :, 0]
        place = centre + np.clip(solved, -reach, reach)
        error = self.square / self.weight
        error -= 2 * (place * self.offset).sum(axis=1) / self.weight
        error += (place[:, None, :] @ matrix @ place[:, :, None])[:, 0, 0]
        return place, error


def _sums(
    values: NDArray[np.floating[Any]], group: NDArray[np.intp], number: int
) -> NDArray[np.float64]:
    """``(number,)`` sums of the values of each group."""
    return np.bincount(group, weights=values, minlength=number).astype(np.float64, copy=False)


def _averaged_normals(
    surface: Surface, cluster: NDArray[np.intp], faces: NDArray[np.intp]
) -> NDArray[np.float64]:
    """``(len(faces), 3, 3)`` normals averaged over a cluster's corners that face the same side."""
    normals = surface.normals.reshape(-1, 3)
    axis = np.argmax(np.abs(normals), axis=1)
    side = 2 * axis + (normals[np.arange(len(normals)), axis] > 0)
    group = cluster * 6 + side
    sides = surface.corners[:, 1:] - surface.corners[:, :1]
    area = np.repeat(np.linalg.norm(np.cross(sides[:, 0], sides[:, 1]), axis=1), 3)
    weighted = normals * area[:, None]
    number = int(group.max()) + 1
    sums = np.stack([_sums(weighted[:, i], group, number) for i in range(3)], axis=-1)
    sums /= np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
    result: NDArray[np.float64] = sums[group.reshape(-1, 3)[faces]]
    return result


def _moved_texture(
    surface: Surface, faces: NDArray[np.intp], corners: NDArray[np.float64]
) -> NDArray[np.float64]:
    """``(len(faces), 3, 2)`` texture coordinates at ``corners``, by each triangle's mapping."""
    assert surface.texture is not None
    old = surface.corners[faces].astype(np.float64)
    texture = surface.texture[faces].astype(np.float64)
    sides = old[:, 1:] - old[:, :1]  # (n, 2, 3)
    change = texture[:, 1:] - texture[:, :1]  # (n, 2, 2)
    gram = sides @ sides.transpose(0, 2, 1)
    scale = np.trace(gram, axis1=1, axis2=2)[:, None, None]
    inverse = np.linalg.inv(gram + 1e-6 * scale * np.eye(2) + 1e-18 * np.eye(2))
    gradient = sides.transpose(0, 2, 1) @ inverse @ change  # (n, 3, 2)
    # Slivers know nothing of the mapping across them.
    length = np.linalg.norm(gradient, axis=(1, 2))
    gradient *= np.minimum(1.0, 2 * np.median(length) / np.maximum(length, 1e-12))[:, None, None]
    result: NDArray[np.float64] = texture + (corners - old) @ gradient
    return result
