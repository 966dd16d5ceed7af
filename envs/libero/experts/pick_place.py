"""The skill that picks an object up and places it on or in its target.

What phases would say is read off the state: how far the gripper is from the grasp point, how far
its fingers are open, and where the object is; heights follow funnels, so that the action varies
smoothly everywhere except where the gripper must close or open.
"""

from __future__ import annotations

import numpy as np

from ..simulation import Simulation
from .grasps import Grasp, Placement
from .motion import (
    Vector,
    brake,
    command,
    funnel,
    hand_down,
    nearest_turn,
    opening,
    rotation_error,
    tilted,
    unturned,
)


class PickAndPlace:
    """Picks ``name`` and places it at ``target``.

    Args:
        simulation: the task's physics, read at each action.
        name: the object to move.
        target: the object, fixture or site it goes to.
        grasp, placement: how.
    """

    def __init__(
        self, simulation: Simulation, name: str, target: str, grasp: Grasp, placement: Placement
    ) -> None:
        self._simulation = simulation
        self._name, self._target = name, target
        self._grasp, self._placement = grasp, placement
        self._start_height = float(simulation.position_of(name)[2])

    def action(self) -> Vector:
        """The action ``(7,)`` in [-1, 1] for the present state."""
        simulation = self._simulation
        grip = simulation.grip_position.copy()
        width = opening(simulation.finger_positions)
        thing = simulation.position_of(self._name)
        yaw = self._yaw()
        error = thing + self._grasp_point(yaw) - grip
        # Closing fingers shift the object a little, so what counts as being at the grasp point
        # widens as they close.
        closing = width < 0.07
        reach = 0.025 if closing else 0.012
        at_point = np.hypot(*error[:2]) < reach and abs(error[2]) < reach
        held = bool(at_point and width < self._grasp.width)
        if held:
            move, close = self._carry(thing)
        elif at_point:
            move, close = error, True
        else:
            move, close = self._approach(error, yaw), False
        wanted = hand_down(yaw)
        if held and self._placement.tilt:
            wanted = tilted(self._tilt(thing)) @ wanted
        return command(move, rotation_error(wanted, simulation.hand_rotation), close)

    def _grasp_point(self, yaw: float) -> Vector:
        """``(3,)`` m from the object's position to where it is taken hold of."""
        c, s = np.cos(yaw), np.sin(yaw)
        along = self._grasp.along * np.array([c, s, 0.0])
        if self._grasp.across:
            along += self._grasp.across * np.array([-s, c, 0.0])
        if self._placement.tilt:
            matrix = self._simulation.data.xmat[self._simulation.body_of(self._name)]
            return along + self._grasp.up * matrix.reshape(3, 3)[:, 2]
        return along + [0.0, 0.0, self._grasp.up]

    def _tilt(self, thing: Vector) -> float:
        """Angle in rad that the object is carried at: upright near where it stood, then more."""
        lifted = (float(thing[2]) - self._start_height - 0.03) / 0.08
        return self._placement.tilt * float(np.clip(lifted, 0.0, 1.0))

    def _yaw(self) -> float:
        """World angle of the finger axis for the grasp, in rad."""
        grasp = self._grasp
        yaw = grasp.yaw
        if grasp.frame:
            simulation = self._simulation
            matrix = simulation.data.xmat[simulation.body_of(grasp.frame)]
            yaw += float(np.arctan2(matrix[3], matrix[0]))
        return nearest_turn(yaw, grasp.symmetry)

    def _approach(self, error: Vector, yaw: float) -> Vector:
        """Error in m: fly to above the grasp point, then down a funnel, fingers open."""
        grasp = self._grasp
        lateral = float(np.hypot(*error[:2]))
        height = funnel(lateral, grasp.approach, grasp.slope)
        if grasp.turn_first:
            turn = rotation_error(hand_down(yaw), self._simulation.hand_rotation)
            height = max(height, grasp.approach * unturned(turn))
        vertical = error[2] + height
        sideways = brake(vertical)
        return np.array([error[0] * sideways, error[1] * sideways, vertical])

    def _carry(self, thing: Vector) -> tuple[Vector, bool]:
        """Lift, travel above obstacles, come down a funnel onto the target, let go."""
        target = self._simulation.position_of(self._target)
        error = target + np.asarray(self._placement.offset) - thing
        lateral = float(np.hypot(*error[:2]))
        carry_height = self._start_height + self._placement.lift
        cruise = max(self._placement.cruise, carry_height - target[2])
        vertical = error[2] + funnel(lateral, cruise)
        sideways = brake(vertical)
        pace = self._placement.pace
        placed = lateral < 0.02 and vertical > -0.005
        if lateral < 0.02:
            # Press on to contact at a steady pace instead of creeping up to it.
            vertical = min(vertical, -0.02) if pace is None else -pace
        move = np.array([error[0] * sideways, error[1] * sideways, vertical])
        if self._placement.lane is not None:
            beside = self._placement.lane - float(thing[1] - target[1])
            move[1] += (1.0 - sideways) * max(0.0, beside)
        return move, not placed
