"""The skill that pushes a plate over the table.

The closed fingers stand inside the plate and push against its rim from there: the rim is all
around them, so that the plate cannot slip aside.  From outside there is no room: where the plate
stands, a hand behind it hits the cabinet's handles.
"""

from __future__ import annotations

import numpy as np

from ..simulation import Simulation
from .motion import Vector, brake, command, funnel, hand_down, nearest_turn, rotation_error

_DEPTH = 0.006
"""Metres of the grip above the plate's position while pushing: fingertips press on its bottom."""

_RIM = 0.016
"""Metres above that up to which the fingers are inside the rim and not over it."""

_INSIDE = 0.06
"""Metres from the plate's middle within which they are inside."""

_APPROACH = 0.06
"""Metres above the plate at which the hand travels."""

_LEAD = 0.045
"""Metres by which the hand is wanted ahead of the plate's middle."""

_SPEED = 0.02
"""Largest displacement commanded sideways while pushing, m."""

_INTO_ZONE = np.array([0.01, 0.015])
"""x and y (m) from the zone's middle of where in it the plate is pushed."""

_DETOUR = 0.07
"""Metres along x beside the goal that the plate first makes for: cream cheese lies before it."""


class Push:
    """Pushes a plate into a zone of the table.

    Args:
        simulation: the task's physics, read at each action.
        name: the plate.
        zone: the site it goes to.

    Raises:
        ValueError: for something else than a plate.
    """

    def __init__(self, simulation: Simulation, name: str, zone: str) -> None:
        if simulation.inner.get_object(name).category_name != "plate":
            raise ValueError(f"no scripted demonstrator pushes {name!r}")
        self._simulation = simulation
        self._name, self._zone = name, zone

    def action(self) -> Vector:
        """The action ``(7,)`` in [-1, 1] for the present state."""
        simulation = self._simulation
        plate = simulation.position_of(self._name)
        error = plate + [0.0, 0.0, _DEPTH] - simulation.grip_position
        lateral = float(np.hypot(*error[:2]))
        ahead = self._direction(plate)
        if lateral < _INSIDE and error[2] > -_RIM:
            move = np.array([*(_LEAD * ahead + error[:2]), error[2]])
            move[:2] *= min(1.0, _SPEED / max(float(np.linalg.norm(move[:2])), 1e-9))
        else:
            vertical = error[2] + funnel(lateral, _APPROACH)
            move = np.array([*(brake(vertical) * error[:2]), vertical])
        # The two closed fingers in line with the push: so they reach farthest towards the rim.
        yaw = nearest_turn(float(np.arctan2(ahead[1], ahead[0])), np.pi)
        turn = rotation_error(hand_down(yaw), simulation.hand_rotation)
        return command(move, turn, True)

    def _direction(self, plate: Vector) -> Vector:
        """Unit vector ``(2,)`` in which the plate is to move."""
        way = self._simulation.position_of(self._zone)[:2] + _INTO_ZONE - plate[:2]
        way[0] += _DETOUR * float(np.clip((way[1] - 0.02) / 0.10, 0.0, 1.0))
        return way / max(float(np.linalg.norm(way)), 1e-6)
