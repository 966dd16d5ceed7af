"""Which skill a task's goal needs."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
from numpy.typing import NDArray

from ..simulation import Simulation
from .grasps import grasp_and_placement
from .motion import Expert
from .pick_place import PickAndPlace


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
            case ("on" | "in", name, target) if not _needs_more(simulation, target):
                grasp, placement = grasp_and_placement(simulation, name, target)
                return PickAndPlace(simulation, name, target, grasp, placement)
    raise ValueError(f"no scripted demonstrator for the goal {goal}")


def _needs_more(simulation: Simulation, target: str) -> bool:
    """Whether a target lies in a drawer, which is shut, or on the table."""
    site = simulation.inner.object_sites_dict.get(target)
    if site is None:
        return False
    shut = "cabinet" in target and bool(getattr(site, "joints", None))
    return shut or getattr(site, "parent_name", None) is None
