"""Sparse and dense rewards of a LIBERO task."""

from __future__ import annotations

import numpy as np

from .simulation import Simulation

REWARDS = ("sparse", "dense")
"""The values of the ``reward`` keyword."""


def sparse_reward(success: bool) -> float:
    """1 at success, else 0: LIBERO's own reward."""
    return 1.0 if success else 0.0


def dense_reward(simulation: Simulation, success: bool) -> float:
    """The course homework's shaped reward, per control step.

    Each goal predicate gives +1 where it holds; else, where its object is grasped,
    1 + (1 - distance of object and target); else 1 - distance of gripper and object (m).
    Success adds 1.  In tasks with one goal predicate a mean above 1 per step therefore says that
    the object was held; with several predicates it can be reached without.
    """
    total = 1.0 if success else 0.0
    for predicate in simulation.goal:
        total += _predicate_reward(simulation, predicate)
    return total


def _predicate_reward(simulation: Simulation, predicate: tuple[str, ...]) -> float:
    if simulation.holds(predicate):
        return 1.0
    moved = predicate[1]
    position = simulation.position_of(moved)
    if moved in simulation.inner.objects_dict and simulation.grasped(moved):
        if len(predicate) == 2:
            return 1.0
        distance = float(np.linalg.norm(position - simulation.position_of(predicate[2])))
        return 1.0 + (1.0 - distance)
    return 1.0 - float(np.linalg.norm(simulation.grip_position - position))
