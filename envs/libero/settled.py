"""Where objects come to rest in stock LIBERO, and how far from there they come to rest here.

The reference was recorded by ``scripts/reference_poses.py``: stock LIBERO and robosuite under
MuJoCo 3.3.0, LIBERO's own assets, all official initial states of libero_spatial, fixtures in the
centre of their regions, ten settling steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .simulation import Simulation

REFERENCE = Path(__file__).parent / "reference" / "settled_spatial.npz"
"""The recorded poses: ``names_T`` (objects,), ``poses_T`` (states, objects, 7) for task T."""

SETTLE_STEPS = 10
"""How often `SETTLE_ACTION` is executed, as usual evaluations do it."""
SETTLE_ACTION = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0])
"""Executed while objects come to rest after a reset: stay, gripper open."""


@dataclass(frozen=True)
class Deviation:
    """How far an object rests from where it does in stock LIBERO."""

    task: int
    init_state: int
    name: str
    distance: float
    """In m."""
    angle: float
    """In degrees."""

    def __str__(self) -> str:
        return (
            f"task {self.task} state {self.init_state} {self.name}: "
            f"{1e3 * self.distance:.2f} mm, {self.angle:.2f} degrees"
        )


@cache
def _reference() -> dict[str, NDArray[Any]]:
    with np.load(REFERENCE) as file:
        return {key: file[key] for key in file.files}


def conditions() -> dict[str, str]:
    """Under what the reference was recorded: MuJoCo's version, assets, fixtures and so on."""
    return {key: str(value) for key, value in _reference().items() if not value.ndim}


def settle(simulation: Simulation, init_state: int) -> None:
    """Reset to an official initial state and let objects come to rest."""
    simulation.reset_to(init_state)
    for _ in range(SETTLE_STEPS):
        simulation.step(SETTLE_ACTION)


def deviations(simulation: Simulation, init_state: int) -> list[Deviation]:
    """Settle a state of a libero_spatial task and compare all movable objects with the reference.

    Args:
        simulation: with ``fixtures="centre"``.
        init_state: index of an official initial state.

    Raises:
        ValueError: for a task of another suite, of which there is no reference.
    """
    task = simulation.task
    if simulation.suite.name != "libero_spatial":
        raise ValueError(f"there are no reference poses of {simulation.suite.name}")
    names = _reference()[f"names_{task}"]
    settle(simulation, init_state)
    found = []
    for name, pose in zip(names, _reference()[f"poses_{task}"][init_state], strict=True):
        body = simulation.body_of(str(name))
        distance = np.linalg.norm(simulation.data.xpos[body] - pose[:3])
        # The sine of half the angle, which single precision resolves better than its cosine.
        quaternion, other = simulation.data.xquat[body], pose[3:] / np.linalg.norm(pose[3:])
        chord = min(np.linalg.norm(quaternion - other), np.linalg.norm(quaternion + other))
        angle = 4.0 * np.degrees(np.arcsin(min(0.5 * chord, 1.0)))
        found.append(Deviation(task, init_state, str(name), float(distance), float(angle)))
    return found


def broken_premises(simulation: Simulation) -> list[str]:
    """What the task description says of the beginning that does not hold now.

    Only what relates two things counts: where on the table something lies is not looked at.
    """
    problem = simulation.inner.parsed_problem
    things = {**simulation.inner.objects_dict, **simulation.inner.fixtures_dict}
    broken = []
    for state in problem["initial_state"]:
        if len(state) != 3 or state[0] not in ("on", "in"):
            continue
        region = problem["regions"].get(state[2])
        target = state[2] if region is None else region["target"]
        placed = target in things and target in simulation.inner.obj_body_id
        if placed and not simulation.holds(tuple(state)):
            broken.append(" ".join(state))
    return broken


__all__ = [
    "REFERENCE",
    "SETTLE_ACTION",
    "SETTLE_STEPS",
    "Deviation",
    "broken_premises",
    "conditions",
    "deviations",
    "settle",
]
