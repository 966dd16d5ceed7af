"""What the skills of the scripted demonstrator share: gains, rotations, funnels."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..controller import POSITION_SCALE, ROTATION_SCALE

Vector = NDArray[np.float64]

GAIN = 1.6 / POSITION_SCALE
"""Action units per metre of position error."""

REST_YAW = np.pi / 2
"""World angle in rad of the finger axis when the hand is as it starts."""

_FUNNEL = 3.0
"""Metres of distance from the goal per metre beside its axis."""


class Expert(Protocol):
    """A skill, or a choice between some, made for one task at an episode's start."""

    def action(self) -> Vector:
        """The action ``(7,)`` in [-1, 1] for the present state, of which alone it is a function."""


def command(move: Vector, rotation: Vector, close: bool) -> Vector:
    """The action ``(7,)`` in [-1, 1] towards a goal.

    Args:
        move: ``(3,)`` m from the grip to where it should be.
        rotation: ``(3,)`` rotation vector in rad, see `rotation_error`.
        close: whether the fingers close; they open otherwise.
    """
    action = np.empty(7)
    action[:3] = GAIN * move
    action[3:6] = rotation / ROTATION_SCALE
    action[6] = 1.0 if close else -1.0
    return np.clip(action, -1.0, 1.0)


def hand_down(yaw: float) -> Vector:
    """Rotation ``(3, 3)`` of a hand that points down, its finger axis at world angle ``yaw``."""
    turn = yaw - REST_YAW
    c, s = np.cos(turn), np.sin(turn)
    # The hand at rest points down, its x axis along the world's: turn it about the vertical.
    return np.array([[c, s, 0.0], [s, -c, 0.0], [0.0, 0.0, -1.0]])


def tilted(angle: float) -> Vector:
    """Rotation ``(3, 3)`` by ``angle`` rad about the world's x axis."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]])


def rotation_error(wanted: Vector, present: Vector) -> Vector:
    """Rotation vector ``(3,)`` in rad, in the world, from one ``(3, 3)`` orientation to another."""
    rotation = wanted @ present.T
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


def nearest_turn(yaw: float, symmetry: float) -> float:
    """The angle nearest to the hand's at rest among ``yaw`` plus multiples of ``symmetry``, rad."""
    turns = np.round((yaw - REST_YAW) / symmetry)
    return float(yaw - turns * symmetry)


def funnel(lateral: float, cruise: float, slope: float = _FUNNEL) -> float:
    """Distance (m) from the goal along its axis at one beside it: 0 near it, then steeply up."""
    return float(np.clip(slope * (lateral - 0.008), 0.0, cruise))


def brake(vertical: float) -> float:
    """Share of the sideways motion at ``vertical`` m below the funnel: rise before moving."""
    return float(np.clip(1.0 - (vertical - 0.02) / 0.04, 0.0, 1.0))


def unturned(turn: Vector) -> float:
    """1 where a hand is still to be turned by a rotation vector ``turn`` (rad), else 0."""
    return float(np.clip((np.linalg.norm(turn) - 0.1) / 0.4, 0.0, 1.0))


def opening(fingers: Vector) -> float:
    """Opening (m) of two finger joints ``(2,)``."""
    return float(fingers[0] - fingers[1])
