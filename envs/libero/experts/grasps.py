"""How the scripted demonstrator takes hold of each category of object, and where it lets go."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..simulation import Simulation


@dataclass(frozen=True)
class Grasp:
    """How to take hold of an object of some category.

    Attributes:
        along: m from the object's position to the grasp point along the finger axis.
        up: m from the object's position up to the grasp point.
        width: finger opening in m below which the object counts as held.
        yaw: angle in rad of the finger axis, in the world or relative to ``frame``.
        frame: name of the body whose heading ``yaw`` is relative to; "" for the world.
        symmetry: the grasp repeats itself every so many rad of yaw; the turn nearest to the
            gripper's heading at rest is taken.
        across: m from the object's position to the grasp point across the finger axis.
        approach: m above the grasp point at which the gripper travels towards it.
        slope: metres of height per metre beside the grasp point on the way down.
        turn_first: whether the gripper waits above the object until it is turned as it should be.
    """

    along: float
    up: float
    width: float
    yaw: float = np.pi / 2
    frame: str = ""
    symmetry: float = 2 * np.pi
    across: float = 0.0
    approach: float = 0.06
    slope: float = 3.0
    turn_first: bool = False


@dataclass(frozen=True)
class Placement:
    """Where an object goes, relative to its target's position.

    Attributes:
        offset: of the object's position when placed, in m.
        cruise: m above the placed position at which it is carried.
        lift: m above where it stood at the episode's start at which it is carried, if that is
            higher.
        tilt: angle in rad about the world's x axis that an upright object is laid down by.
        pace: m commanded downwards in each step above the target; None for a quick descent that
            ends in contact.
        lane: m along the world's y axis that the object keeps from its target until it is high
            enough to travel, where something hangs over the straight way up; None for nothing.
    """

    offset: tuple[float, float, float] = (0.0, 0.0, 0.0)
    cruise: float = 0.10
    lift: float = 0.04
    tilt: float = 0.0
    pace: float | None = None
    lane: float | None = None


GRASPS: dict[str, Grasp] = {
    # By the rim: one finger inside, one outside.
    "akita_black_bowl": Grasp(along=0.045, up=0.036, width=0.012),
    # Across the body; the opening is the body's width and a little.
    "alphabet_soup": Grasp(along=0.0, up=0.012, width=0.066),
    "bbq_sauce": Grasp(along=0.0, up=0.02, width=0.054),
    "butter": Grasp(along=0.0, up=0.004, width=0.045),
    "chocolate_pudding": Grasp(along=0.0, up=0.004, width=0.051),
    "cream_cheese": Grasp(along=0.0, up=0.004, width=0.047),
    "ketchup": Grasp(along=0.0, up=0.038, width=0.062),
    "milk": Grasp(along=0.0, up=0.02, width=0.060),
    "orange_juice": Grasp(along=0.0, up=0.02, width=0.060),
    "salad_dressing": Grasp(along=0.0, up=0.038, width=0.058),
    "tomato_sauce": Grasp(along=0.0, up=0.012, width=0.066),
    "wine_bottle": Grasp(along=0.0, up=0.135, width=0.03),
}

RACK = Placement(offset=(0.055, -0.02, 0.026), cruise=0.06, lift=0.15, tilt=0.9, pace=0.01)
"""A bottle lies on the rack's slope, which rises at 31 degrees away from the robot's side."""

HIGH_TARGET = 1.05
"""World height in m of a target above which the arm, near the end of its reach, carries low."""


def grasp_and_placement(simulation: Simulation, name: str, target: str) -> tuple[Grasp, Placement]:
    """How to move ``name`` to ``target`` from where it stands now.

    Raises:
        ValueError: for an object that no grasp is known for, or a target it must be turned over
            or slid into for.
    """
    category = simulation.inner.get_object(name).category_name
    if category not in GRASPS:
        raise ValueError(f"no scripted grasp for {category!r}; known: {', '.join(sorted(GRASPS))}")
    grasp, placement = GRASPS[category], Placement()
    if "wine_rack" in target:
        if category != "wine_bottle":
            raise ValueError(f"no scripted demonstrator places {name!r} at {target!r}")
        # Finger axis along the rack: the hand then fits over its slope, lying as the bottle does.
        return replace(grasp, yaw=np.pi, turn_first=True), RACK
    container = simulation.container_of(name)
    if container is not None:
        # In a drawer the fingers have room along its width only, and most of it on the side
        # that the object is farther from; they must clear its walls.
        fixture, region = container
        width = simulation.data.xmat[simulation.body_of(fixture)].reshape(3, 3)[:, 0]
        beside = width @ (simulation.position_of(name) - simulation.position_of(region))
        grasp = replace(grasp, yaw=np.pi if beside > 0 else 0.0, frame=fixture)
        placement = replace(placement, lift=0.06)
    if "basket" in target:
        placement = replace(placement, cruise=0.15)
    elif simulation.position_of(target)[2] > HIGH_TARGET:
        placement = replace(placement, cruise=0.04)
    return grasp, placement
