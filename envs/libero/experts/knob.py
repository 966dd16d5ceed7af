"""The skill that turns the stove's knob.

The knob is a bar across a hinge: the hand takes it from above, at the hinge, and turns with it.
"""

from __future__ import annotations

import numpy as np

from ..simulation import Simulation
from .motion import Vector, brake, command, funnel, hand_down, nearest_turn, opening, rotation_error

_HEIGHT = 0.036
"""Metres of the grasp point above the knob's origin."""

_WIDTH = 0.036
"""Opening (m) below which the fingers hold the bar, which is 24.4 mm thick."""

_APPROACH = 0.10
"""Metres above the grasp point at which the hand travels."""

_LEAD = 0.45
"""How far the hand is turned ahead of the knob, rad."""


class TurnKnob:
    """Turns a stove's knob on.

    Args:
        simulation: the task's physics, read at each action.
        stove: the fixture's name.

    Raises:
        ValueError: for something else than a flat stove.
    """

    def __init__(self, simulation: Simulation, stove: str) -> None:
        thing = simulation.inner.get_object(stove)
        if thing.category_name != "flat_stove":
            raise ValueError(f"no scripted demonstrator turns {stove!r} on")
        self._simulation = simulation
        joint = simulation.model.joint(thing.joints[0]).id
        self._body = int(simulation.model.jnt_bodyid[joint])

    def action(self) -> Vector:
        """The action ``(7,)`` in [-1, 1] for the present state."""
        simulation = self._simulation
        knob = simulation.data.xmat[self._body].reshape(3, 3)
        point = simulation.data.xpos[self._body] + _HEIGHT * knob[:, 2]
        error = point - simulation.grip_position
        lateral = float(np.hypot(*error[:2]))
        width = opening(simulation.finger_positions)
        yaw = nearest_turn(float(np.arctan2(knob[1, 0], knob[0, 0])), 2 * np.pi)
        at_point = lateral < 0.015 and abs(error[2]) < 0.015
        if at_point and width < _WIDTH:
            yaw += _LEAD
        if not at_point:
            vertical = error[2] + funnel(lateral, _APPROACH)
            sideways = brake(vertical)
            error = np.array([error[0] * sideways, error[1] * sideways, vertical])
        turn = rotation_error(hand_down(yaw), simulation.hand_rotation)
        return command(error, turn, at_point)
