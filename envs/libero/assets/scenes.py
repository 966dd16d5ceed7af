"""The empty table and the empty floor: room, lights and cameras.

Poses of walls, lights and cameras and the names that LIBERO's arena classes look up are LIBERO's
(Liu et al. 2023, https://arxiv.org/abs/2306.03310). The arena classes resize the table and replace
the file names of the floor and wall textures, so those two are images; the rest is plain colour.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET

from .mjcf import Attributes, Quat, Rgba, Vec3, element

WALL_ROLES: tuple[tuple[str, Vec3, Quat, Vec3], ...] = (
    (
        "leftcorner",
        (-1.25, 2.25, 1.5),
        (0.6532815, 0.6532815, 0.2705981, 0.2705981),
        (1.06, 1.5, 0.01),
    ),
    (
        "rightcorner",
        (-1.25, -2.25, 1.5),
        (0.6532815, 0.6532815, -0.2705981, -0.2705981),
        (1.06, 1.5, 0.01),
    ),
    ("left", (1.25, 3.0, 1.5), (0.7071, 0.7071, 0.0, 0.0), (1.75, 1.5, 0.01)),
    ("right", (1.25, -3.0, 1.5), (0.7071, -0.7071, 0.0, 0.0), (1.75, 1.5, 0.01)),
    ("rear", (-2.0, 0.0, 1.5), (0.5, 0.5, 0.5, 0.5), (1.5, 1.5, 0.01)),
    ("front", (3.0, 0.0, 1.5), (0.5, 0.5, -0.5, -0.5), (3.0, 1.5, 0.01)),
)
"""Wall name, centre (m), orientation, half size (m)."""

CAMERAS: tuple[tuple[str, Vec3, Quat], ...] = (
    ("frontview", (1.0, 0.0, 1.45), (0.56, 0.43, 0.43, 0.56)),
    ("birdview", (-0.2, 0.0, 3.0), (0.7071, 0.0, 0.0, 0.7071)),
    ("agentview", (0.5, 0.0, 1.35), (0.653, 0.271, 0.271, 0.653)),
    (
        "sideview",
        (-0.05651774593317116, 1.2761224129427358, 1.4879572214102434),
        (0.009905065491771751, 0.006877963156909582, 0.5912228352893879, 0.806418094001364),
    ),
)
"""Camera name, position (m), orientation."""

LIGHTS: tuple[tuple[str, Vec3], ...] = (
    ("light1", (1.0, 1.0, 4.0)),
    ("light2", (-3.0, -3.0, 4.0)),
)

TABLE_COLOUR: Rgba = (0.66, 0.49, 0.33, 1.0)
FLOOR_TEXTURE = "light-gray-floor-tile.png"
WALL_TEXTURE = "light-gray-plaster.png"
"""The file names that LIBERO's table and floor problems ask for by default."""


def _assets() -> ET.Element:
    asset = ET.Element("asset")
    sky = {"type": "skybox", "builtin": "gradient", "width": "32", "height": "192"}
    asset.append(element("texture", {**sky, "rgb1": (0.9, 0.9, 1.0), "rgb2": (0.2, 0.3, 0.4)}))
    for texture, material, file, shine in (
        ("texplane", "floorplane", FLOOR_TEXTURE, {"specular": "0", "shininess": "0"}),
        ("tex-wall", "walls_mat", WALL_TEXTURE, {"specular": "0.8", "shininess": "0.1"}),
    ):
        asset.append(
            element("texture", {"type": "2d", "name": texture, "file": f"../textures/{file}"})
        )
        surface = {"name": material, "texture": texture, "reflectance": "0", **shine}
        asset.append(element("material", {**surface, "texrepeat": "3 3", "texuniform": "true"}))
    return asset


def _room(parent: ET.Element) -> None:
    """Walls, lights and cameras, the same in both scenes."""
    for role, pos, quat, half in WALL_ROLES:
        parent.append(
            element(
                "geom",
                {
                    "name": f"wall_{role}_visual",
                    "type": "box",
                    "pos": pos,
                    "quat": quat,
                    "size": half,
                    "group": "1",
                    "contype": "0",
                    "conaffinity": "0",
                    "material": "walls_mat",
                },
            )
        )
    for name, pos in LIGHTS:
        parent.append(
            element(
                "light",
                {
                    "name": name,
                    "pos": pos,
                    "dir": (0.0, -0.15, -1.0),
                    "diffuse": (0.8, 0.8, 0.8),
                    "specular": (0.3, 0.3, 0.3),
                    "directional": "false",
                    "castshadow": "false",
                },
            )
        )
    for name, pos, quat in CAMERAS:
        parent.append(
            ET.Element(
                "camera",
                {
                    "name": name,
                    "mode": "fixed",
                    # Full precision: the side camera's pose has sixteen digits.
                    "pos": " ".join(map(repr, pos)),
                    "quat": " ".join(map(repr, quat)),
                },
            )
        )


def _floor() -> ET.Element:
    return element(
        "geom",
        {
            "name": "floor",
            "type": "plane",
            "pos": (0.0, 0.0, 0.0),
            "size": (3.0, 3.0, 0.125),
            "condim": "3",
            "group": "1",
            "material": "floorplane",
        },
    )


def _table() -> ET.Element:
    """A table whose size, height and legs LIBERO's TableArena fills in."""
    table = element("body", {"name": "table", "pos": (0.0, 0.0, 0.4)})
    top: Attributes = {"type": "box", "pos": (0.0, 0.0, 0.0), "size": (0.4, 0.4, 0.4)}
    friction = (1.0, 0.005, 0.0001)
    seen: Attributes = {"group": "1", "contype": "0", "conaffinity": "0"}
    table.append(
        element("geom", {"name": "table_collision", **top, "group": "0", "friction": friction})
    )
    table.append(element("geom", {"name": "table_visual", **top, **seen, "rgba": TABLE_COLOUR}))
    marker: Attributes = {
        "name": "table_top",
        "pos": (0.0, 0.0, 0.4),
        "size": (0.001, 0.001, 0.001),
    }
    table.append(element("site", {**marker, "rgba": (0.0, 0.0, 0.0, 0.0)}))
    for leg in range(1, 5):
        shape: Attributes = {"type": "cylinder", "pos": (0.0, 0.0, 0.0), "size": (0.05, 0.1)}
        name = f"table_leg{leg}_visual"
        table.append(element("geom", {"name": name, **shape, **seen, "rgba": TABLE_COLOUR}))
    return table


def scene_xml(workspace: str) -> str:
    """The XML file of the "table" or the "floor" scene."""
    root = ET.Element("mujoco", {"model": f"{workspace}_arena"})
    root.append(_assets())
    world = ET.SubElement(root, "worldbody")
    if workspace == "table":
        world.append(_floor())
        world.append(_table())
    else:
        # LIBERO hangs the target zones of floor tasks on a body of this name.
        body = element("body", {"name": "floor", "pos": (0.0, 0.0, 0.0)})
        body.append(_floor())
        world.append(body)
    _room(world)
    ET.indent(root, " ")
    return ET.tostring(root, encoding="unicode") + "\n"
