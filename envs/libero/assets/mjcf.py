"""Plain data for a MuJoCo model (shapes, bodies, sites, joints) and its XML text.

Lengths are metres, angles radians, masses kilograms, colours RGBA in [0, 1]; quaternions are
(w, x, y, z). Group 0 holds what collides and carries mass, group 1 what is seen: robosuite
compiles with ``inertiagrouprange="0 0"``, so an image never weighs anything.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass

Vec3 = tuple[float, float, float]
Quat = tuple[float, float, float, float]
Rgba = tuple[float, float, float, float]
Attributes = dict[str, str | Sequence[float] | None]

IDENTITY: Quat = (1.0, 0.0, 0.0, 0.0)
ORIGIN: Vec3 = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Shape:
    """A box (three half sizes) or a cylinder (radius, half height along its own z)."""

    kind: str
    size: tuple[float, ...]
    pos: Vec3 = ORIGIN
    quat: Quat = IDENTITY


@dataclass(frozen=True)
class Visual:
    """A shape that is only seen."""

    shape: Shape
    rgba: Rgba
    name: str | None = None


@dataclass(frozen=True)
class Site:
    """A marker; LIBERO's predicates look regions up by these names."""

    name: str
    size: tuple[float, ...]
    pos: Vec3 = ORIGIN
    kind: str = "sphere"
    quat: Quat = IDENTITY
    rgba: Rgba = (0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Joint:
    """A limited joint; ``axis`` in the body's frame, ``span`` in metres (slide) or radians."""

    name: str
    kind: str
    axis: Vec3
    span: tuple[float, float]
    damping: float


@dataclass(frozen=True)
class Inertia:
    """Mass (kg), centre of mass (m) and inertia about it (kg m2), in the body's axes.

    ``products`` are the tensor's xy, xz and yz entries, for what starts in a delicate balance.

    Given outright rather than left to the shapes: LIBERO's boxes overlap and some appear twice,
    and only its totals, not its boxes, are worth keeping.
    """

    mass: float
    centre: Vec3
    diagonal: Vec3
    products: Vec3 = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Contact:
    """Contact parameters shared by the shapes of a body."""

    friction: Vec3
    solref: tuple[float, float] | None = None
    solimp: Vec3 | None = None


LIBERO_CONTACT = Contact((0.95, 0.3, 0.1), (0.001, 1.0), (0.998, 0.998, 0.001))
"""What LIBERO gives nearly every object: stiff contacts with torsional and rolling friction."""

MUJOCO_CONTACT = Contact((1.0, 0.005, 0.0001))
"""MuJoCo's defaults, which LIBERO leaves in place on the stove's plate."""


@dataclass(frozen=True)
class Body:
    """A rigid body and its children."""

    name: str | None
    collision: tuple[Shape, ...] = ()
    visual: tuple[Visual, ...] = ()
    sites: tuple[Site, ...] = ()
    joint: Joint | None = None
    inertia: Inertia | None = None
    """None for what never moves."""
    pos: Vec3 = ORIGIN
    quat: Quat = IDENTITY
    contact: Contact = LIBERO_CONTACT
    children: tuple[Body, ...] = ()


@dataclass(frozen=True)
class Model:
    """One asset: the body robosuite calls "object" and its placement markers."""

    category: str
    root: Body
    bottom: float = -0.06
    top: float = 0.04
    radius: float = 0.025
    marker: float = 0.005
    """Placement: z of the bottom and top sites, x = y of the horizontal one, size of all (m)."""


def numbers(values: Sequence[float]) -> str:
    """Text of a vector, to seven digits and 0.1 nm."""
    return " ".join(f"{round(value, 10) + 0.0:.7g}" for value in values)


def rotation(axis: str, angle: float) -> Quat:
    """Quaternion of a turn by ``angle`` radians about the axis "x", "y" or "z"."""
    half = 0.5 * angle
    vector = [math.sin(half) if axis == name else 0.0 for name in "xyz"]
    return (math.cos(half), vector[0], vector[1], vector[2])


def compose(first: Quat, second: Quat) -> Quat:
    """Quaternion product: turn by ``second``, then by ``first``."""
    w, x, y, z = first
    a, b, c, d = second
    return (
        w * a - x * b - y * c - z * d,
        w * b + x * a + y * d - z * c,
        w * c - x * d + y * a + z * b,
        w * d + x * c - y * b + z * a,
    )


def element(tag: str, attributes: Attributes) -> ET.Element:
    """An XML element; vectors become text, None leaves an attribute out."""
    texts = {
        key: value if isinstance(value, str) else numbers(value)
        for key, value in attributes.items()
        if value is not None
    }
    return ET.Element(tag, texts)


def _placed(pos: Vec3, quat: Quat) -> Attributes:
    return {
        "pos": pos if pos != ORIGIN else None,
        "quat": quat if quat != IDENTITY else None,
    }


def _collision_geom(shape: Shape, contact: Contact) -> ET.Element:
    return element(
        "geom",
        {
            "type": shape.kind,
            "size": shape.size,
            **_placed(shape.pos, shape.quat),
            "group": "0",
            "friction": contact.friction,
            "solref": contact.solref,
            "solimp": contact.solimp,
        },
    )


def _visual_geom(visual: Visual) -> ET.Element:
    shape = visual.shape
    return element(
        "geom",
        {
            "name": visual.name,
            "type": shape.kind,
            "size": shape.size,
            **_placed(shape.pos, shape.quat),
            "group": "1",
            "contype": "0",
            "conaffinity": "0",
            "mass": "0",
            "rgba": visual.rgba,
        },
    )


def _site_element(site: Site) -> ET.Element:
    # LIBERO copies a region's pos, quat, size and type out of the XML: they must all be written.
    return element(
        "site",
        {
            "name": site.name,
            "type": site.kind,
            "pos": site.pos,
            "quat": site.quat,
            "size": site.size,
            "rgba": site.rgba,
            "group": "0",
        },
    )


def body_element(body: Body) -> ET.Element:
    """The XML of a body and its children."""
    node = element("body", {"name": body.name, **_placed(body.pos, body.quat)})
    if body.inertia is not None:
        inertia = body.inertia
        mass: Attributes = {
            "pos": inertia.centre,
            "mass": (inertia.mass,),
            "fullinertia": (*inertia.diagonal, *inertia.products),
        }
        node.append(element("inertial", mass))
    if body.joint is not None:
        joint = body.joint
        node.append(
            element(
                "joint",
                {
                    "name": joint.name,
                    "type": joint.kind,
                    "pos": ORIGIN,
                    "axis": joint.axis,
                    "limited": "true",
                    "range": joint.span,
                    "damping": (joint.damping,),
                },
            )
        )
    node.extend(_site_element(site) for site in body.sites)
    node.extend(_visual_geom(visual) for visual in body.visual)
    node.extend(_collision_geom(shape, body.contact) for shape in body.collision)
    node.extend(body_element(child) for child in body.children)
    return node


def model_xml(model: Model) -> str:
    """The XML file of an object, in the form robosuite's MujocoXMLObject reads.

    robosuite wants a nameless outer body that holds the body "object" and three placement sites.
    """
    root = ET.Element("mujoco", {"model": model.category})
    # The empty asset section is there because robosuite prefixes its children's names.
    root.append(ET.Element("compiler", {"angle": "radian"}))
    root.append(ET.Element("asset"))
    outer = ET.SubElement(ET.SubElement(root, "worldbody"), "body")
    outer.append(body_element(model.root))
    for name, pos in (
        ("bottom_site", (0.0, 0.0, model.bottom)),
        ("top_site", (0.0, 0.0, model.top)),
        ("horizontal_radius_site", (model.radius, model.radius, 0.0)),
    ):
        outer.append(_site_element(Site(name, (model.marker,), pos)))
    ET.indent(root, " ")
    return ET.tostring(root, encoding="unicode") + "\n"
