"""Boxes, cans, cartons and bottles of food.

Dimensions, masses and placement sites are LIBERO's (Liu et al. 2023,
https://arxiv.org/abs/2306.03310, objects from the HOPE set, https://arxiv.org/abs/2203.05701); the
shapes are our own. Cans, cartons and most bottles stand along y in their own frame, LIBERO's
placement turns y up.
"""

from __future__ import annotations

from .mjcf import Body, Inertia, Model, Rgba, Shape, Vec3, Visual, rotation
from .shapes import box, cylinder, octagon, rgb, seen, span

METAL = rgb(0.75, 0.76, 0.78)
WHITE = rgb(0.92, 0.92, 0.90)
CREAM = rgb(0.93, 0.89, 0.70)


def _packet(
    category: str,
    half: Vec3,
    inertia: Inertia,
    colour: Rgba,
    label: Rgba,
    pos: Vec3 = (0.0, 0.0, 0.0),
    **placement: float,
) -> Model:
    """A flat box with a printed patch on its large faces."""
    body = box(half, pos)
    patch = box((0.62 * half[0], 0.62 * half[1], half[2] + 4e-4), pos)
    root = Body("object", (body,), (Visual(body, colour), Visual(patch, label)), inertia=inertia)
    return Model(category, root, **placement)


def _can(category: str, inertia: Inertia, label: Rgba, band: Rgba, **placement: float) -> Model:
    """A tin with a paper label; its axis is y."""
    centre = (0.0, -0.0004, -0.0035)
    body = octagon(0.0304, 0.0378, centre, "y")
    visual = (
        Visual(cylinder(0.0308, 0.0378, centre, "y"), METAL),
        Visual(cylinder(0.0312, 0.0330, centre, "y"), label),
        Visual(cylinder(0.0315, 0.0110, centre, "y"), band),
    )
    return Model(category, Body("object", body, visual, inertia=inertia), **placement)


def _carton(category: str, shift: float, colour: Rgba, roof: Rgba) -> Model:
    """A gable-top drink carton: a block, two slanted roof plates and a ridge; its axis is y."""
    block = box((0.02625, 0.05475, 0.02625), (shift, -0.0150, 0.0))
    plate = (0.0263, 0.0022, 0.0138)
    plates = (
        box(plate, (0.0, 0.0478, -0.0135), rotation("x", -0.735)),
        box(plate, (0.0, 0.0478, 0.0135), rotation("x", 0.735)),
    )
    ridge = box((0.0265, 0.0030, 0.0035), (0.0, 0.0585, 0.0))
    band = box((0.0266, 0.0170, 0.0266), (shift, -0.0200, 0.0))
    visual = (
        Visual(block, colour),
        Visual(band, roof),
        *seen(plates, roof),
        Visual(ridge, WHITE),
    )
    inertia = Inertia(0.03167, (shift, -0.0120, 0.0), (4.33e-5, 1.45e-5, 4.34e-5))
    root = Body("object", (block, *plates, ridge), visual, inertia=inertia)
    return Model(category, root, radius=0.03 if shift > 0 else 0.025)


def _bottle(
    category: str,
    inertia: Inertia,
    collision: tuple[Shape, ...],
    visual: tuple[Visual, ...],
    **placement: float,
) -> Model:
    return Model(category, Body("object", collision, visual, inertia=inertia), **placement)


def bbq_sauce() -> Model:
    """Body, neck and cap along z: the one bottle LIBERO does not model along y."""
    body = box((0.0235, 0.0145, 0.0268), (0.0, 0.0, -0.0278))
    neck = box((0.0181, 0.0143, 0.0146), (0.0, 0.0, 0.0123))
    cap = box((0.0134, 0.0131, 0.0134), (0.0, 0.0, 0.0391), rotation("z", 0.10))
    label = box((0.0238, 0.0148, 0.0150), (0.0, 0.0, -0.0290))
    brown = rgb(0.30, 0.13, 0.07)
    visual = (
        *seen((body, neck), brown),
        Visual(label, rgb(0.83, 0.55, 0.14)),
        Visual(cap, rgb(0.72, 0.10, 0.08)),
    )
    inertia = Inertia(0.01218, (0.0, 0.0, -0.0076), (1.12e-5, 1.21e-5, 2.60e-6))
    return _bottle("bbq_sauce", inertia, (body, neck, cap), visual, top=0.06, radius=0.015)


def ketchup() -> Model:
    """A flat red bottle with a round white cap."""
    body = span((-0.0277, -0.0725, -0.0162), (0.0285, -0.0063, 0.0178))
    waist = span((-0.0235, -0.0076, -0.0175), (0.0243, 0.0150, 0.0191))
    neck = span((-0.0183, 0.0138, -0.0175), (0.0191, 0.0364, 0.0191))
    cap = (
        box((0.0163, 0.0185, 0.0110), (0.0004, 0.0547, 0.0008)),
        box((0.0080, 0.0185, 0.0178), (0.0004, 0.0547, 0.0008)),
    )
    label = span((-0.0280, -0.0600, -0.0166), (0.0288, -0.0250, 0.0182))
    red = rgb(0.78, 0.08, 0.06)
    visual = (
        *seen((body, waist, neck), red),
        Visual(label, WHITE),
        Visual(cylinder(0.0172, 0.0185, (0.0004, 0.0547, 0.0008), "y"), WHITE),
    )
    inertia = Inertia(0.02322, (0.0004, -0.0090, 0.0008), (3.79e-5, 6.99e-6, 4.03e-5))
    return _bottle("ketchup", inertia, (body, waist, neck, *cap), visual)


def salad_dressing() -> Model:
    """A bottle that is wide in the middle, with a long neck and a round cap."""
    foot = span((-0.0183, -0.0727, -0.0171), (0.0163, -0.0620, 0.0175))
    low = span((-0.0232, -0.0628, -0.0171), (0.0212, -0.0516, 0.0175))
    main = span((-0.0274, -0.0524, -0.0171), (0.0254, -0.0104, 0.0175))
    high = span((-0.0239, -0.0105, -0.0171), (0.0219, 0.0013, 0.0175))
    neck = span((-0.0124, 0.0000, -0.0147), (0.0134, 0.0360, 0.0151))
    cap = (
        box((0.0166, 0.0186, 0.0085), (0.0003, 0.0542, 0.0004)),
        box((0.0085, 0.0186, 0.0164), (0.0003, 0.0542, 0.0004)),
    )
    label = span((-0.0278, -0.0470, -0.0175), (0.0258, -0.0180, 0.0179))
    visual = (
        *seen((foot, low, main, high), CREAM),
        Visual(label, rgb(0.16, 0.45, 0.16)),
        Visual(neck, CREAM),
        Visual(cylinder(0.0165, 0.0186, (0.0003, 0.0542, 0.0004), "y"), rgb(0.10, 0.30, 0.12)),
    )
    inertia = Inertia(0.02178, (-0.0005, -0.0056, 0.0002), (3.40e-5, 5.19e-6, 3.52e-5))
    return _bottle("salad_dressing", inertia, (foot, low, main, high, neck, *cap), visual)


def wine_bottle() -> Model:
    """A bottle along z: a square foot to stand on, a round belly, shoulders and a thin neck."""
    foot = box((0.0150, 0.0150, 0.0362), (0.0, 0.0, 0.0373))
    belly = octagon(0.0205, 0.0298, (0.0, 0.0, 0.0333), inset=0.0)
    shoulder = box((0.0118, 0.0118, 0.0070), (0.0, 0.0, 0.0811))
    collar = box((0.0080, 0.0080, 0.0070), (0.0, 0.0, 0.0930))
    neck = (
        box((0.0070, 0.0042, 0.0552), (0.0, 0.0, 0.1029)),
        box((0.0042, 0.0070, 0.0552), (0.0, 0.0, 0.1029)),
    )
    glass = rgb(0.16, 0.05, 0.07)
    visual = (
        Visual(cylinder(0.0205, 0.0372, (0.0, 0.0, 0.0383)), glass),
        Visual(cylinder(0.0209, 0.0160, (0.0, 0.0, 0.0380)), CREAM),
        Visual(cylinder(0.0145, 0.0060, (0.0, 0.0, 0.0812)), glass),
        Visual(cylinder(0.0075, 0.0370, (0.0, 0.0, 0.1090)), glass),
        Visual(cylinder(0.0079, 0.0090, (0.0, 0.0, 0.1500)), rgb(0.60, 0.12, 0.14)),
    )
    inertia = Inertia(0.01539, (0.0002, 0.0, 0.0561), (2.29e-5, 2.29e-5, 2.54e-6))
    return _bottle("wine_bottle", inertia, (foot, *belly, shoulder, collar, *neck), visual)


def models() -> tuple[Model, ...]:
    """Everything of this module."""
    return (
        _packet(
            "cookies",
            (0.0310, 0.0413, 0.0094),
            Inertia(0.00964, (0.0, 0.0, 0.0), (5.77e-6, 3.38e-6, 8.58e-6)),
            rgb(0.66, 0.12, 0.11),
            CREAM,
        ),
        _packet(
            "butter",
            (0.0381, 0.0198, 0.0087),
            Inertia(0.00525, (0.0, 0.0, 0.0), (8.16e-7, 2.67e-6, 3.22e-6)),
            rgb(0.95, 0.84, 0.35),
            rgb(0.16, 0.30, 0.62),
            bottom=-0.02,
            top=0.02,
            radius=0.02,
        ),
        _packet(
            "cream_cheese",
            (0.0406, 0.0213, 0.0089),
            Inertia(0.00619, (0.0, 0.0, 0.0), (1.10e-6, 3.57e-6, 4.34e-6)),
            rgb(0.55, 0.66, 0.80),
            WHITE,
            bottom=-0.025,
            top=0.025,
            radius=0.03,
        ),
        _packet(
            "chocolate_pudding",
            (0.0401, 0.0232, 0.0137),
            Inertia(0.01019, (-0.0005, 0.0, 0.0006), (2.46e-6, 6.10e-6, 7.28e-6)),
            rgb(0.34, 0.17, 0.09),
            rgb(0.80, 0.62, 0.40),
            pos=(-0.0005, 0.0, 0.0006),
        ),
        _can(
            "alphabet_soup",
            Inertia(0.02585, (0.0, -0.0008, -0.0027), (1.82e-5, 1.34e-5, 1.87e-5)),
            rgb(0.13, 0.33, 0.66),
            rgb(0.95, 0.80, 0.20),
            bottom=-0.04,
        ),
        _can(
            "tomato_sauce",
            Inertia(0.02663, (0.0006, -0.0008, -0.0023), (1.88e-5, 1.39e-5, 1.94e-5)),
            rgb(0.76, 0.11, 0.09),
            rgb(0.20, 0.48, 0.18),
        ),
        _carton("milk", 0.0004, WHITE, rgb(0.20, 0.42, 0.76)),
        _carton("orange_juice", -0.0004, rgb(0.95, 0.55, 0.10), rgb(0.20, 0.50, 0.20)),
        bbq_sauce(),
        ketchup(),
        salad_dressing(),
        wine_bottle(),
    )
