"""Cabinet with three drawers, flat stove with a knob, wine rack.

Dimensions, joints, inertias and sites are LIBERO's (Liu et al. 2023,
https://arxiv.org/abs/2306.03310); the shapes are our own. LIBERO fixes these to the scene, so only
what moves (drawers, knob) has inertia that matters, and it is given outright.
"""

from __future__ import annotations

from .mjcf import MUJOCO_CONTACT, Body, Inertia, Joint, Model, Quat, Site, Visual, rotation
from .shapes import box, cylinder, octagon, rgb, seen, span

WOOD = rgb(0.43, 0.26, 0.14)
WOOD_LIGHT = rgb(0.55, 0.36, 0.21)
METAL = rgb(0.70, 0.70, 0.72)
STEEL = rgb(0.36, 0.37, 0.39)
COAL = rgb(0.10, 0.10, 0.11)

MOVING_PART = Inertia(3.0, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
"""What LIBERO gives every drawer and the knob."""

_UP_IS_X: Quat = (0.70711, 0.0, 0.70711, 0.0)
_HIDDEN = (0.8, 0.8, 0.8, 0.0)


def _drawer(level: str, floor: float, front: float, region: float, handle: float) -> Body:
    """An open tray behind a front panel with a handle.

    Args:
        level: "top", "middle" or "bottom".
        floor, front, region, handle: z of the floor's, front panel's, inner region's and handle's
            centres (m).
    """
    tray = front + 0.0005
    panels = (
        box((0.1093, 0.0027, 0.0343), (0.0033, -0.0752, front)),
        box((0.1068, 0.0036, 0.0321), (0.0033, -0.0684, tray)),
        box((0.1068, 0.0036, 0.0321), (0.0033, 0.0908, tray)),
        box((0.0026, 0.0815, 0.0316), (-0.1019, 0.0111, tray)),
        box((0.0026, 0.0815, 0.0314), (0.1089, 0.0111, tray)),
        box((0.1070, 0.0809, 0.0040), (0.0035, 0.0105, floor)),
    )
    grip = (
        box((0.0445, 0.0077, 0.0082), (-0.0028, -0.1016, handle)),
        box((0.0051, 0.0106, 0.0055), (0.0292, -0.0835, handle)),
        box((0.0051, 0.0106, 0.0056), (-0.0356, -0.0835, handle)),
    )
    return Body(
        f"cabinet_{level}",
        (*panels, *grip),
        (*seen(panels, WOOD_LIGHT), *seen(grip, METAL)),
        (
            Site(
                f"{level}_region",
                (0.02993, 0.07561, 0.10224),
                (0.00328, 0.01128, region),
                "box",
                _UP_IS_X,
                _HIDDEN,
            ),
        ),
        Joint(f"{level}_level", "slide", (0.0, 1.0, 0.0), (-0.16, 0.01), 50.0),
        MOVING_PART,
    )


def wooden_cabinet() -> Model:
    """A case open to -y with three drawers."""
    case = (
        span((-0.1170, 0.1071, 0.0085), (0.1213, 0.1117, 0.2201)),
        box((0.0052, 0.0954, 0.1058), (-0.1122, 0.0162, 0.1143)),
        box((0.0052, 0.0954, 0.1058), (0.1190, 0.0162, 0.1143)),
        span((-0.1188, -0.0733, 0.0046), (0.1269, 0.1060, 0.0102)),
        box((0.1118, 0.0894, 0.0010), (0.0039, 0.0187, 0.0793)),
        box((0.1118, 0.0894, 0.0010), (0.0038, 0.0187, 0.1494)),
        box((0.1273, 0.0941, 0.0014), (0.0039, 0.0158, 0.2216)),
    )
    top = Site(
        "top_side", (0.12534, 0.09438, 0.00147), (0.00354, 0.01567, 0.22152), "box", rgba=_HIDDEN
    )
    base = Body(
        "base",
        case,
        seen(case, WOOD),
        (top,),
        children=(
            _drawer("top", 0.15514, 0.18309, 0.18563, 0.18393),
            _drawer("middle", 0.08543, 0.11338, 0.11690, 0.11041),
            _drawer("bottom", 0.01682, 0.04476, 0.04701, 0.04114),
        ),
    )
    root = Body("object", children=(base,))
    return Model("wooden_cabinet", root, bottom=-0.045, top=0.045, radius=0.045, marker=0.05)


def flat_stove() -> Model:
    """A hot plate with a knob to its side; the knob's site "burner" glows when it is on."""
    # LIBERO has a block and a thin invisible lid 4.5 mm above it; one block to the lid's top.
    block = span((-0.095, -0.095, -0.02), (0.095, 0.095, 0.0255))
    burner = Body(
        "burner",
        (block,),
        (Visual(span((-0.095, -0.095, -0.02), (0.095, 0.095, 0.02)), STEEL),),
        (
            Site("cook_region", (0.075, 0.075, 0.0025), kind="box", rgba=(0.8, 0.8, 0.0, 0.0)),
            Site(
                "burner",
                (0.0625, 0.0005),
                (0.0, 0.0, 0.022),
                "cylinder",
                rgba=(0.9, 0.05, 0.05, 1.0),
            ),
        ),
        pos=(0.15, 0.0, 0.0),
        contact=MUJOCO_CONTACT,
        children=(
            Body(
                "burner_plate",
                visual=(
                    Visual(cylinder(0.0720, 0.0008, (0.0, 0.0, 0.0206)), COAL, "burner"),
                    *seen(
                        (
                            box((0.0700, 0.0045, 0.0020), (0.0, 0.0, 0.0232)),
                            box((0.0045, 0.0700, 0.0020), (0.0, 0.0, 0.0232)),
                        ),
                        COAL,
                    ),
                ),
            ),
        ),
    )
    disc = octagon(0.0480, 0.0062, (0.0013, 0.0045, 0.0066), inset=0.0)
    handle = (
        box((0.0123, 0.0346, 0.0243), (0.0014, 0.0174, 0.0257)),
        span((-0.0110, -0.0330, 0.0040), (0.0134, -0.0120, 0.0449)),
        span((-0.0110, -0.0406, 0.0010), (0.0134, -0.0320, 0.0338)),
    )
    button = Body(
        "button",
        (*disc, *handle),
        (Visual(cylinder(0.0495, 0.0062, (0.0013, 0.0045, 0.0066)), METAL), *seen(handle, COAL)),
        joint=Joint("button", "hinge", (0.0, 0.0, 1.0), (-0.005, 2.1), 1.0),
        inertia=MOVING_PART,
        quat=(0.7071068, 0.0, 0.0, 0.7071068),
    )
    root = Body("object", children=(Body("base", children=(burner, button)),))
    return Model("flat_stove", root, bottom=-0.045, top=0.045, radius=0.045, marker=0.05)


def wine_rack() -> Model:
    """Two tilted shelves with stoppers on a mast; a bottle lies on the upper one."""
    tilt = 1.024  # shelves fall towards -y
    shelves = (
        box((0.1344, 0.0045, 0.0789), (0.0, -0.0061, 0.2512), rotation("x", -tilt)),
        box((0.1344, 0.0045, 0.0789), (0.0, -0.0427, 0.1273), rotation("x", -tilt)),
    )
    stoppers = (
        box((0.1322, 0.0011, 0.0087), (0.0, -0.0748, 0.2207), rotation("x", 0.515)),
        box((0.1322, 0.0011, 0.0087), (0.0, -0.1091, 0.0974), rotation("x", 0.515)),
    )
    foot = (
        box((0.0665, 0.0930, 0.0045), (0.0, 0.0, 0.0066)),
        box((0.0900, 0.0600, 0.0045), (0.0, 0.0694, 0.0101), rotation("x", -0.13)),
        box((0.0900, 0.0600, 0.0045), (0.0, -0.0643, 0.0126), rotation("x", 0.139)),
        box((0.0905, 0.0141, 0.0045), (0.0, 0.0, 0.0205)),
    )
    mast = box((0.0076, 0.0091, 0.1616), (0.0, 0.0089, 0.1703), rotation("x", -0.273))
    region = Site(
        "top_region",
        (0.10087, 0.02200, 0.00251),
        (0.0, -0.08003, 0.21745),
        "box",
        (0.8549119, -0.5187733, 0.0, 0.0),
        _HIDDEN,
    )
    inertia = Inertia(0.15275, (0.0, -0.0122, 0.1111), (2.06e-3, 2.21e-3, 1.09e-3))
    visual = (*seen(shelves, WOOD_LIGHT), *seen(stoppers, WOOD), *seen((*foot, mast), WOOD))
    root = Body("object", (*shelves, *stoppers, *foot, mast), visual, (region,), inertia=inertia)
    return Model("wine_rack", root)


def models() -> tuple[Model, ...]:
    """Everything of this module."""
    return (wooden_cabinet(), flat_stove(), wine_rack())
