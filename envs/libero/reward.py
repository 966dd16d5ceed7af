"""Sparse, dense and progress rewards of a LIBERO task."""

from __future__ import annotations

import logging
from typing import Protocol

import numpy as np

from .articulation import in_drawer, on_table, progress
from .simulation import Simulation

SATISFIED = 3.0
"""Potential of a goal predicate that holds; one that does not has at most 2."""

SUCCESS_REWARD = 10.0
"""What ``reward="progress"`` adds at success."""

_log = logging.getLogger(__name__)


class Reward(Protocol):
    """A reward of one environment, which may remember the step before."""

    def begin(self, simulation: Simulation) -> None:
        """An episode starts in the present state, after objects have come to rest."""

    def step(self, simulation: Simulation, success: bool) -> float:
        """The reward of the control step that led to the present state.

        Args:
            simulation: the physics.
            success: whether every goal predicate holds now.
        """


class SparseReward:
    """1 at success, else 0: LIBERO's own reward."""

    def begin(self, simulation: Simulation) -> None:
        pass

    def step(self, simulation: Simulation, success: bool) -> float:
        return 1.0 if success else 0.0


class DenseReward:
    """The course homework's shaped reward, per control step.

    Each goal predicate gives +1 where it holds; else, where its object is grasped,
    1 + (1 - distance of object and target); else 1 - distance of gripper and object (m).
    Success adds 1.  The homework has nothing else to do than to pick and place.  Here a drawer,
    door or knob gives 1 - distance of gripper and it, and the share of its way that the joint has
    come; what is pushed over the table 1 - distance of gripper and object, and 1 - distance of
    object and zone; and what goes into a drawer loses the share that the drawer is short of open.
     In tasks with one goal predicate a mean above 1 per step therefore says that
    the object was held; with several predicates it can be reached without.

    It pays for every step that the episode lasts, and success ends the episode: over 220 steps,
    holding the object above its target earns several times what finishing earns, and random
    actions about twice.  An agent that maximises the return learns not to finish.
    """

    def begin(self, simulation: Simulation) -> None:
        pass

    def step(self, simulation: Simulation, success: bool) -> float:
        total = 1.0 if success else 0.0
        for predicate in simulation.goal:
            total += 1.0 if simulation.holds(predicate) else _nearness(simulation, predicate)
        return total


class ProgressReward:
    """The change of a potential, and `SUCCESS_REWARD` at success.

    The potential is a sum over goal predicates: `SATISFIED` where one holds, else what
    `DenseReward` says of it.  Its changes sum to the potential reached less that at the start,
    however long it took [Ng, Harada and Russell, ICML 1999, with a discount of 1], so waiting
    earns nothing, and what moving away loses coming back regains at most.  Whatever a policy does
    without finishing, its discounted sum of later rewards is at most the largest potential short
    of success less the present one; finishing at once, or undiscounted at any time, earns at least
    1 + `SUCCESS_REWARD` more.  Discounted by d a step, what success adds shrinks by d ** steps.
    """

    def __init__(self) -> None:
        self._potential = 0.0

    def begin(self, simulation: Simulation) -> None:
        self._potential = potential(simulation)

    def step(self, simulation: Simulation, success: bool) -> float:
        before, self._potential = self._potential, potential(simulation)
        return self._potential - before + (SUCCESS_REWARD if success else 0.0)


REWARDS: dict[str, type[Reward]] = {
    "sparse": SparseReward,
    "dense": DenseReward,
    "progress": ProgressReward,
}
"""The values of the ``reward`` keyword."""

_warned: set[str] = set()


def make_reward(name: str) -> Reward:
    """The reward of that name; the first "dense" of a process logs a warning of what it pays for.

    Raises:
        KeyError: for a name that is not in `REWARDS`.
    """
    if name == "dense" and name not in _warned:
        _warned.add(name)
        _log.warning(
            "reward='dense' pays for every step an episode lasts and success ends the episode: "
            "hovering earns more than finishing. reward='progress' pays for finishing"
        )
    return REWARDS[name]()


def potential(simulation: Simulation) -> float:
    """How far the task has come: at most 3 a goal predicate, all of them at success alone."""
    return sum(
        SATISFIED if simulation.holds(predicate) else _nearness(simulation, predicate)
        for predicate in simulation.goal
    )


def _nearness(simulation: Simulation, predicate: tuple[str, ...]) -> float:
    """At most 2: for a predicate that does not hold, see `DenseReward`."""
    kind, moved, *target = predicate
    position = simulation.position_of(moved)
    near = 1.0 - float(np.linalg.norm(simulation.grip_position - position))
    if not target:
        return near + progress(simulation, kind, moved)
    aim = simulation.position_of(target[0])
    if on_table(simulation, target[0]):
        return near + (1.0 - float(np.linalg.norm(position - aim)))
    # What lies in a shut drawer, or is to go there, waits for the drawer.
    shut = (
        1.0 - progress(simulation, "open", target[0]) if in_drawer(simulation, target[0]) else 0.0
    )
    if moved in simulation.inner.objects_dict and simulation.grasped(moved):
        return 1.0 + (1.0 - float(np.linalg.norm(position - aim))) - shut
    return near - shut
