"""A scripted demonstrator that picks an object up and places it on or in its target.

It is memoryless: the action is a function of the present poses alone, with no phase, counter or
timer.  A policy cloned from it therefore never sees one observation with two labels.  What phases
would say is read off the state instead: how far the gripper is from the grasp point, how far its
fingers are open, and where the object is; heights follow funnels, so that the action varies
smoothly everywhere except where the gripper must close or open.
"""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
from numpy.typing import NDArray

from .controller import POSITION_SCALE, ROTATION_SCALE
from .grasps import REST_YAW, Grasp, Placement, grasp_and_placement
from .simulation import Simulation

Vector = NDArray[np.float64]

GAIN = 1.6 / POSITION_SCALE
"""Action units per metre of position error."""

APPROACH = 0.06
"""Metres above the grasp point at which the gripper travels towards it."""

FUNNEL = 3.0
"""Metres of height per metre of horizontal distance on the way down."""


class Expert:
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
        self._carry_height = simulation.position_of(name)[2] + placement.lift

    def action(self) -> Vector:
        """The action ``(7,)`` in [-1, 1] for the present state."""
        simulation = self._simulation
        grip = simulation.grip_position.copy()
        fingers = simulation.finger_positions
        opening = float(fingers[0] - fingers[1])
        thing = simulation.position_of(self._name)
        yaw = self._yaw()
        axis = np.array([np.cos(yaw), np.sin(yaw), 0.0])
        error = thing + self._grasp.along * axis + [0.0, 0.0, self._grasp.up] - grip
        # Closing fingers shift the object a little, so what counts as being at the grasp point
        # widens as they close.
        closing = opening < 0.07
        reach = 0.025 if closing else 0.012
        at_point = np.hypot(*error[:2]) < reach and abs(error[2]) < reach
        if at_point and opening < self._grasp.width:
            move, close = self._carry(thing)
        elif at_point:
            move, close = error, True
        else:
            move, close = self._approach(error), False
        action = np.empty(7)
        action[:3] = GAIN * move
        action[3:6] = self._rotation_error(yaw) / ROTATION_SCALE
        action[6] = 1.0 if close else -1.0
        return np.clip(action, -1.0, 1.0)

    def _yaw(self) -> float:
        """World angle of the finger axis for the grasp, in rad."""
        grasp = self._grasp
        yaw = grasp.yaw
        if grasp.frame:
            simulation = self._simulation
            matrix = simulation.data.xmat[simulation.body_of(grasp.frame)]
            yaw += float(np.arctan2(matrix[3], matrix[0]))
        turns = np.round((yaw - REST_YAW) / grasp.symmetry)
        return float(yaw - turns * grasp.symmetry)

    def _rotation_error(self, yaw: float) -> Vector:
        """Rotation vector in rad, in the world, from the hand's orientation to the wanted one."""
        turn = yaw - REST_YAW
        c, s = np.cos(turn), np.sin(turn)
        # The hand at rest points down, its x axis along the world's: turn it about the vertical.
        wanted = np.array([[c, s, 0.0], [s, -c, 0.0], [0.0, 0.0, -1.0]])
        rotation = wanted @ self._simulation.hand_rotation.T
        sine = 0.5 * np.array(
            [
                rotation[2, 1] - rotation[1, 2],
                rotation[0, 2] - rotation[2, 0],
                rotation[1, 0] - rotation[0, 1],
            ]
        )
        norm = float(np.linalg.norm(sine))
        if norm < 1e-9:
            return np.zeros(3)
        return sine / norm * float(np.arctan2(norm, (np.trace(rotation) - 1.0) / 2.0))

    def _approach(self, error: Vector) -> Vector:
        """Error in m: fly to above the grasp point, then down a funnel, fingers open."""
        lateral = float(np.hypot(*error[:2]))
        height = _funnel(lateral, APPROACH)
        vertical = error[2] + height
        # Too low for where the gripper is: rise before moving sideways.
        brake = float(np.clip(1.0 - (vertical - 0.02) / 0.04, 0.0, 1.0))
        return np.array([error[0] * brake, error[1] * brake, vertical])

    def _carry(self, thing: Vector) -> tuple[Vector, bool]:
        """Lift, travel above obstacles, come down a funnel onto the target, let go."""
        target = self._simulation.position_of(self._target)
        error = target + np.asarray(self._placement.offset) - thing
        lateral = float(np.hypot(*error[:2]))
        cruise = max(self._placement.cruise, self._carry_height - target[2])
        vertical = error[2] + _funnel(lateral, cruise)
        brake = float(np.clip(1.0 - (vertical - 0.02) / 0.04, 0.0, 1.0))
        placed = lateral < 0.02 and vertical > -0.005
        if lateral < 0.02:
            # Press on to contact at a steady pace instead of creeping up to it.
            vertical = min(vertical, -0.02)
        return np.array([error[0] * brake, error[1] * brake, vertical]), not placed


def _funnel(lateral: float, cruise: float) -> float:
    """Height above the goal at a horizontal distance from it: 0 near it, then steeply up."""
    return float(np.clip(FUNNEL * (lateral - 0.008), 0.0, cruise))


class Demonstrated:
    """An environment of which a scripted demonstrator knows some tasks."""

    _expert: Expert | None = None

    @property
    @abstractmethod
    def simulation(self) -> Simulation:
        """The present task's physics."""

    @property
    def has_expert(self) -> bool:
        """Whether the demonstrator knows the present task."""
        try:
            self._get_expert()
        except ValueError:
            return False
        return True

    def expert_action(self) -> NDArray[np.float32]:
        """The demonstrator's action ``(7,)`` for the present state.

        Raises:
            ValueError: when there is none for this task.
        """
        return self._get_expert().action().astype(np.float32)

    def _begin_demonstration(self) -> None:
        """An episode begins: what the demonstrator knew of the last one is void."""
        self._expert = None

    def _get_expert(self) -> Expert:
        if self._expert is None:
            self._expert = expert_for(self.simulation)
        return self._expert


def expert_for(simulation: Simulation) -> Expert:
    """The demonstrator of a simulation's task, made at the episode's start.

    Raises:
        ValueError: when its goal is not one that pick and place reaches.
    """
    goal = simulation.goal
    if len(goal) != 1 or goal[0][0] not in ("on", "in") or len(goal[0]) != 3:
        raise ValueError(f"no scripted demonstrator for the goal {goal}")
    _, name, target = goal[0]
    grasp, placement = grasp_and_placement(simulation, name, target)
    return Expert(simulation, name, target, grasp, placement)
