"""Bowl, plate, ramekin and basket.

Dimensions, masses and sites are LIBERO's (Liu et al. 2023, https://arxiv.org/abs/2306.03310);
the shapes are our own. z is up and the origin is near the bottom of each thing.
"""

from __future__ import annotations

from .mjcf import Body, Inertia, Model, Site, Visual
from .shapes import box, cross, cylinder, rgb, ring, seen, wall

BLACK = rgb(0.06, 0.06, 0.07)
DARK = rgb(0.13, 0.13, 0.14)
WHITE = rgb(0.93, 0.93, 0.91)
RED = rgb(0.72, 0.12, 0.12)
GREY = rgb(0.62, 0.63, 0.64)
WICKER = rgb(0.72, 0.55, 0.34)
WICKER_DARK = rgb(0.55, 0.40, 0.23)


def akita_black_bowl() -> Model:
    """Two tiers of a ring on a small foot; the rim (2.6 mm) is what a gripper closes on."""
    foot = cross(0.0245, 0.0158, 0.0026, (0.0, 0.0, 0.0042))
    lower = ring(12, 0.0335, 0.0098, 0.0007, 0.0119, lean=1.057)
    upper = ring(12, 0.0471, 0.0337, 0.0013, 0.0188, lean=0.253)
    visual = (
        Visual(cylinder(0.0255, 0.0030, (0.0, 0.0, 0.0046)), BLACK),
        Visual(cylinder(0.0350, 0.0035, (0.0, 0.0, 0.0090)), BLACK),
        Visual(cylinder(0.0432, 0.0020, (0.0, 0.0, 0.0140)), DARK),
        *seen(upper, BLACK),
    )
    inertia = Inertia(0.00559, (0.0023, 0.0005, 0.0227), (5.72e-6, 6.10e-6, 9.08e-6))
    # LIBERO's bowl starts 0.1 m aside; every reset moves it, only qpos0 shows it.
    root = Body("object", (*foot, *lower, *upper), visual, inertia=inertia, pos=(0.0, -0.1, 0.0))
    return Model("akita_black_bowl", root)


def plate() -> Model:
    """A flat base and eight flaps that rise outwards; only the base touches the table."""
    base = box((0.0285, 0.0306, 0.0038), (0.0, 0.0, 0.0014))
    flaps = ring(8, 0.0492, 0.0070, 0.0025, 0.0191, lean=1.234, width=0.0265)
    inner = ring(12, 0.0445, 0.0066, 0.0022, 0.0150, lean=1.234, width=0.0155)
    edge = ring(12, 0.0632, 0.0131, 0.0023, 0.0048, lean=1.234, width=0.0182)
    visual = (
        Visual(cylinder(0.0340, 0.0038, (0.0, 0.0, 0.0014)), WHITE),
        *seen(inner, WHITE),
        *seen(edge, RED),
    )
    inertia = Inertia(0.01152, (0.0003, 0.0051, 0.0064), (1.51e-5, 1.29e-5, 2.76e-5))
    return Model("plate", Body("object", (base, *flaps), visual, inertia=inertia))


def glazed_rim_porcelain_ramekin() -> Model:
    """A low cup with a steep wall."""
    floor = cross(0.0335, 0.0139, 0.0033, (0.0, 0.0, 0.0040))
    side = ring(12, 0.0382, 0.0221, 0.0026, 0.0205, lean=0.151)
    rim = ring(12, 0.0408, 0.0395, 0.0030, 0.0032, lean=0.151)
    visual = (
        Visual(cylinder(0.0350, 0.0033, (0.0, 0.0, 0.0040)), GREY),
        *seen(side, WHITE),
        *seen(rim, GREY),
    )
    inertia = Inertia(0.00966, (-0.0025, 0.0001, 0.0168), (7.37e-6, 7.99e-6, 1.22e-5))
    root = Body("object", (*floor, *side), visual, inertia=inertia)
    return Model("glazed_rim_porcelain_ramekin", root)


def basket() -> Model:
    """A square basket with four walls that lean out a little; things are dropped into it."""
    floor = box((0.0766, 0.0724, 0.0085), (0.0025, 0.0, 0.0131))
    half = (0.0067, 0.0724, 0.0637)
    quarter = 1.5707963
    walls = (
        wall(0.0, 0.0756, 0.0766, half, lean=0.049),
        wall(quarter, 0.0691, 0.0818, half, lean=0.041),
        wall(2.0 * quarter, 0.0727, 0.0766, half, lean=0.075),
        wall(3.0 * quarter, 0.0686, 0.0818, half, lean=0.043),
    )
    band = tuple(box((0.0072, 0.0735, 0.0060), (*w.pos[:2], 0.1300), w.quat) for w in walls)
    region = Site(
        "contain_region",
        (0.06108, 0.06108, 0.06949),
        (0.0, 0.0, 0.07185),
        "box",
        (0.0, 0.0, 0.0, 1.0),
        (0.8, 0.0, 0.0, 0.0),
    )
    visual = (*seen((floor,), WICKER_DARK), *seen(walls, WICKER), *seen(band, WICKER_DARK))
    inertia = Inertia(0.13611, (0.0013, 0.0001, 0.0609), (6.39e-4, 6.84e-4, 8.17e-4))
    root = Body("object", (floor, *walls), visual, (region,), inertia=inertia)
    return Model("basket", root)


def models() -> tuple[Model, ...]:
    """Everything of this module."""
    return (akita_black_bowl(), plate(), glazed_rim_porcelain_ramekin(), basket())
