"""Bowl, plate, ramekin and basket.

Dimensions, masses and sites are LIBERO's (Liu et al. 2023, https://arxiv.org/abs/2306.03310);
the shapes are our own. z is up and the origin is near the bottom of each thing.
"""

from __future__ import annotations

import math

from .mjcf import Body, Inertia, Model, Site, Visual
from .shapes import box, cross, cylinder, rgb, ring, seen, span, wall, walls

BLACK = rgb(0.06, 0.06, 0.07)
DARK = rgb(0.13, 0.13, 0.14)
WHITE = rgb(0.93, 0.93, 0.91)
RED = rgb(0.72, 0.12, 0.12)
GREY = rgb(0.62, 0.63, 0.64)
WICKER = rgb(0.72, 0.55, 0.34)
WICKER_DARK = rgb(0.55, 0.40, 0.23)


# Where walls stand around z, in degrees.  LIBERO's initial states begin in contact or just above
# it: task 5's bowl falls on the ramekin's rim and stays leaning there, so angles count.  Two walls
# are there twice, as LIBERO's are, where the bowl's fall turns on how stiff they are.
BOWL_LOWER = (
    *(166.3, -169.07, -143.53, -117.71, -92.07, -66.2, -41.1),
    *(-15.77, -15.77, 0.38, 24.93, 49.92, 69.79),
)
BOWL_UPPER = (
    *(90.12, 111.46, 132.34, 153.42, 174.4, -165.19, -144.28, -123.14, -102.38),
    *(-81.48, -60.43, -39.59, -18.24, 2.25, 22.88, 43.53, 63.98),
)
PLATE_FLAPS = (90.0, 47.9, 3.73, -40.75, -87.27, -133.67, -178.46, 135.47)
RAMEKIN_SIDE = (
    *(-90.0, -64.27, -39.54, -18.45, 1.03, 26.03, 48.37, 71.68, 91.54),
    *(116.8, 141.18, 161.8, -179.36, -179.36, -155.71, -133.33, -110.71),
)


def akita_black_bowl() -> Model:
    """Two tiers of a ring on a small foot; the rim (2.6 mm) is what a gripper closes on."""
    foot = (
        span((-0.01617, -0.02452, 0.00159), (0.01617, 0.02231, 0.00675)),
        span((-0.02263, -0.01540, 0.00159), (0.02316, 0.01554, 0.00675)),
    )
    half = (0.00071, 0.00992, 0.01187)
    lower = (
        wall(math.radians(90.17), 0.03361, 0.00939, half, 1.0611, -0.003),
        wall(math.radians(115.96), 0.03356, 0.00959, half, 1.0550, -0.0057, -0.0029),
        wall(math.radians(141.02), 0.03351, 0.00975, half, 1.0503, -0.0135, -0.0105),
        *walls(BOWL_LOWER, 0.03348, 0.00984, half, lean=1.0475, twist=-0.0245, roll=-0.02137),
    )
    upper = walls(BOWL_UPPER, 0.04712, 0.03367, (0.00128, 0.00934, 0.01875), lean=0.2564)
    seen_upper = ring(12, 0.0471, 0.0337, 0.0013, 0.0188, lean=0.253)
    visual = (
        Visual(cylinder(0.0255, 0.0030, (0.0, 0.0, 0.0046)), BLACK),
        Visual(cylinder(0.0350, 0.0035, (0.0, 0.0, 0.0090)), BLACK),
        Visual(cylinder(0.0432, 0.0020, (0.0, 0.0, 0.0140)), DARK),
        *seen(seen_upper, BLACK),
    )
    inertia = Inertia(
        0.005591,
        (0.00228, 0.00051, 0.02271),
        (5.719e-6, 6.103e-6, 9.081e-6),
        (-2.6e-8, -6.0e-8, -1.2e-8),
    )
    # LIBERO's bowl starts 0.1 m aside; every reset moves it, only qpos0 shows it.
    root = Body("object", (*foot, *lower, *upper), visual, inertia=inertia, pos=(0.0, -0.1, 0.0))
    return Model("akita_black_bowl", root)


def plate() -> Model:
    """A flat base and eight flaps that rise outwards; the flaps' inner edges touch the table."""
    base = span((-0.0285, -0.0306, 0.0009), (0.0285, 0.0306, 0.0053))
    half = (0.00254, 0.02851, 0.01913)
    flaps = walls(PLATE_FLAPS, 0.04828, 0.00696, half, lean=1.2292, twist=-0.0765, roll=-0.0721)
    inner = ring(12, 0.0445, 0.0066, 0.0022, 0.0150, lean=1.234, width=0.0155)
    edge = ring(12, 0.0632, 0.0131, 0.0023, 0.0048, lean=1.234, width=0.0182)
    visual = (
        Visual(cylinder(0.0340, 0.0038, (0.0, 0.0, 0.0014)), WHITE),
        *seen(inner, WHITE),
        *seen(edge, RED),
    )
    inertia = Inertia(
        0.01152,
        (0.00033, 0.00514, 0.00645),
        (1.506e-5, 1.293e-5, 2.763e-5),
        (-9.0e-8, -2.4e-8, -7.6e-8),
    )
    return Model("plate", Body("object", (base, *flaps), visual, inertia=inertia))


def glazed_rim_porcelain_ramekin() -> Model:
    """A low cup with a steep wall."""
    floor = cross(0.0360, 0.0121, 0.00319, (0.0, 0.0, 0.00413))
    half = (0.0026, 0.00948, 0.02085)
    standing = walls(RAMEKIN_SIDE[::2], 0.03824, 0.02166, half, lean=0.1493)
    # The others end 0.1 mm above the ground: a step has half as many contacts.
    half = (0.0026, 0.00948, 0.0208)
    hanging = walls(RAMEKIN_SIDE[1::2], 0.03825, 0.02171, half, lean=0.1493)
    side = (*standing, *hanging)
    seen_side = ring(12, 0.0382, 0.0221, 0.0026, 0.0205, lean=0.151)
    rim = ring(12, 0.0408, 0.0395, 0.0030, 0.0032, lean=0.151)
    visual = (
        Visual(cylinder(0.0350, 0.0033, (0.0, 0.0, 0.0040)), GREY),
        *seen(seen_side, WHITE),
        *seen(rim, GREY),
    )
    inertia = Inertia(
        0.00966,
        (-0.00246, 0.00006, 0.01681),
        (7.371e-6, 7.994e-6, 1.218e-5),
        (-3.0e-8, 1.9e-8, 0.0),
    )
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
