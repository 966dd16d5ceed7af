"""Round things out of few boxes, and the shorthands the catalogue is written in.

Boxes collide faster and more steadily in MuJoCo than cylinders, which touch a table in a single
point; so everything that collides is made of boxes. Every contact costs simulation time: where a
thing rests, only as many boxes reach the ground as its stability needs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from .mjcf import IDENTITY, ORIGIN, Quat, Rgba, Shape, Vec3, Visual, compose, rotation

UPRIGHT_TO_Y: Quat = rotation("x", -0.5 * math.pi)
"""Turns a shape built around z so that it stands around y, as LIBERO's cans and bottles do."""


def box(half: Vec3, pos: Vec3 = ORIGIN, quat: Quat = IDENTITY) -> Shape:
    """A box of half sizes ``half`` (m)."""
    return Shape("box", half, pos, quat)


def span(low: Vec3, high: Vec3) -> Shape:
    """The upright box between two corners (m)."""
    half = tuple(0.5 * (b - a) for a, b in zip(low, high, strict=True))
    mid = tuple(0.5 * (a + b) for a, b in zip(low, high, strict=True))
    return box((half[0], half[1], half[2]), (mid[0], mid[1], mid[2]))


def cylinder(radius: float, half_height: float, pos: Vec3 = ORIGIN, axis: str = "z") -> Shape:
    """A cylinder along "z" or "y" (m)."""
    return Shape("cylinder", (radius, half_height), pos, IDENTITY if axis == "z" else UPRIGHT_TO_Y)


def wall(
    angle: float,
    radius: float,
    height: float,
    half: Vec3,
    lean: float = 0.0,
    twist: float = 0.0,
    roll: float = 0.0,
) -> Shape:
    """A box that faces the z axis from distance ``radius`` at polar ``angle``.

    Args:
        angle: where it stands around z (rad).
        radius: distance of its centre from the axis (m).
        height: z of its centre (m).
        half: half thickness, half width along the circle, half length up the slope (m).
        lean: how far its top leans outwards (rad; 0 is upright, pi/2 lies flat).
        twist: how far it faces past the axis, about z (rad).
        roll: how far it is turned in its own plane (rad).
    """
    pos = (radius * math.cos(angle), radius * math.sin(angle), height)
    facing = compose(rotation("z", angle + twist), rotation("y", lean))
    return box(half, pos, compose(facing, rotation("x", roll)))


def ring(
    count: int,
    radius: float,
    height: float,
    thickness: float,
    length: float,
    lean: float = 0.0,
    width: float | None = None,
) -> tuple[Shape, ...]:
    """``count`` equal walls around z, closed by default where they meet at ``radius``.

    Args:
        count: number of walls; the first stands at angle 0.
        radius, height: of the walls' centres (m).
        thickness, length: half sizes through the wall and up the slope (m).
        lean: outward lean (rad), as in `wall`.
        width: half width along the circle (m).
    """
    if width is None:
        width = radius * math.tan(math.pi / count)
    half = (thickness, width, length)
    return tuple(wall(2.0 * math.pi * k / count, radius, height, half, lean) for k in range(count))


def walls(
    angles: Iterable[float],
    radius: float,
    height: float,
    half: Vec3,
    lean: float = 0.0,
    twist: float = 0.0,
    roll: float = 0.0,
) -> tuple[Shape, ...]:
    """Equal walls around z at given polar angles, in degrees; the rest as in `wall`."""
    return tuple(wall(math.radians(a), radius, height, half, lean, twist, roll) for a in angles)


def octagon(
    radius: float, half_height: float, pos: Vec3 = ORIGIN, axis: str = "z", inset: float = 5e-4
) -> tuple[Shape, ...]:
    """A prism of eight sides out of four crossed boxes.

    The two diagonal boxes are shorter by ``inset`` at both ends: the prism then stands on eight
    points instead of sixteen, the corners of the same octagon.

    Args:
        radius: of the circle inside the octagon (m).
        half_height: half the length along ``axis`` ("z" or "y"), m.
        pos: centre (m).
        axis: "z" or "y".
        inset: how much shorter each end of the diagonal boxes is (m).
    """
    side = radius * math.tan(math.pi / 8.0)
    stand = IDENTITY if axis == "z" else UPRIGHT_TO_Y
    return tuple(
        box(
            (radius, side, half_height - inset * (k % 2)),
            pos,
            compose(stand, rotation("z", 0.25 * math.pi * k)),
        )
        for k in range(4)
    )


def cross(long: float, short: float, half_height: float, pos: Vec3 = ORIGIN) -> tuple[Shape, ...]:
    """Two upright boxes across each other: eight corners to stand on (m)."""
    return (box((long, short, half_height), pos), box((short, long, half_height), pos))


def seen(shapes: Iterable[Shape], rgba: Rgba) -> tuple[Visual, ...]:
    """The same shapes as an image in one colour."""
    return tuple(Visual(shape, rgba) for shape in shapes)


def rgb(red: float, green: float, blue: float) -> Rgba:
    """An opaque colour."""
    return (red, green, blue, 1.0)
