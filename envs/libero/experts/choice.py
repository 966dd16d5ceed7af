"""Which skill a task's goal needs."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..articulation import in_drawer, on_table
from ..simulation import Simulation
from .drawer import OpenDrawer
from .grasps import Placement, grasp_and_placement
from .knob import TurnKnob
from .motion import Expert, Vector
from .pick_place import PickAndPlace
from .push import Push


class OpenThenPlace:
    """Opens a drawer as far as an object needs, then puts the object inside.

    Args:
        drawer, placing: the two skills.
    """

    def __init__(self, drawer: OpenDrawer, placing: PickAndPlace) -> None:
        self._drawer, self._placing = drawer, placing

    def action(self) -> Vector:
        """The action ``(7,)`` in [-1, 1] for the present state."""
        skill: Expert = self._placing if self._drawer.done else self._drawer
        return skill.action()


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
        ValueError: when no skill reaches its goal.
    """
    goal = simulation.goal
    if len(goal) == 1:
        match goal[0]:
            case ("open", region):
                return OpenDrawer(simulation, region)
            case ("turnon", stove):
                return TurnKnob(simulation, stove)
            case ("on", name, zone) if on_table(simulation, zone):
                return Push(simulation, name, zone)
            case ("in", name, region) if in_drawer(simulation, region):
                return _open_then_place(simulation, name, region)
            case ("on" | "in", name, target):
                grasp, placement = grasp_and_placement(simulation, name, target)
                return PickAndPlace(simulation, name, target, grasp, placement)
    raise ValueError(f"no scripted demonstrator for the goal {goal}")


def _open_then_place(simulation: Simulation, name: str, region: str) -> OpenThenPlace:
    """Opens by no more than a bowl needs: an open drawer hangs over where objects stand."""
    drawer = OpenDrawer(simulation, region, wanted=0.116, enough=0.105)
    grasp, _ = grasp_and_placement(simulation, name, region)
    # Finger axis along the drawer's front, on the side away from it: a hand is a fifth of a metre
    # wide along that axis and narrow across it. Above the open drawer on its way there.
    grasp = replace(grasp, yaw=np.pi, across=-0.014, up=0.040, approach=0.25, slope=8.0)
    placement = Placement(offset=(0.0, 0.022, -0.02), cruise=0.10, lane=0.165)
    return OpenThenPlace(drawer, PickAndPlace(simulation, name, region, grasp, placement))
