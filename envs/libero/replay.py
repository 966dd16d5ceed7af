"""Recorded states of the simulator shown again as observations, rewards and success.

LIBERO's demonstrations keep the state of the simulator before every action, and little of what
our observations and rewards need.  Putting the states through the simulator gives the rest.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .env import LiberoEnv
from .fixtures import Pose
from .simulation import Simulation


@dataclass(frozen=True)
class Moment:
    """One state as the environment shows it.

    Attributes:
        observation: as of a step.
        reward: of the step that led here; 0 at the first.
        success: whether the task is done.
    """

    observation: Mapping[str, NDArray[Any]]
    reward: float
    success: bool


def replay(
    env: LiberoEnv,
    states: NDArray[np.float64],
    last_action: NDArray[np.float64],
    model_xml: str | None = None,
) -> Iterator[Moment]:
    """Show recorded states one after another, and at last what the last action led to.

    Args:
        env: of the task that the states come from, with one task.
        states: ``(T, 1 + nq + nv)`` time, positions, velocities, each before its action.
        last_action: ``(7,)``, taken in the last state.
        model_xml: of the demonstration's own model, for the poses of its fixtures; without one
            they stand in the middle of their regions.

    Yields:
        At most ``T + 1`` moments: an episode ends with success.

    Raises:
        ValueError: for states of another scene.
    """
    env.reset(seed=0)
    simulation = env.simulation
    width = 1 + simulation.model.nq + simulation.model.nv
    if states.ndim != 2 or states.shape[1] != width:
        raise ValueError(f"states have shape {states.shape}; this task's are (T, {width})")
    poses = dict(simulation.fixtures.centre)
    if model_xml:
        poses |= fixture_poses(simulation, model_xml)
    for number, state in enumerate(states):
        simulation.restore(state, poses)
        moment = Moment(*env.present(begin=number == 0))
        yield moment
        if moment.success:
            return
    observation, reward, success, _, _ = env.step(np.asarray(last_action, dtype=np.float32))
    yield Moment(observation, float(reward), success)


def fixture_poses(simulation: Simulation, model_xml: str) -> dict[int, Pose]:
    """Where a demonstration's model has the fixtures, by body of ours.

    Raises:
        ValueError: for text that is no XML.
    """
    try:
        bodies = ElementTree.fromstring(model_xml).iter("body")
    except ElementTree.ParseError as error:
        raise ValueError(f"the demonstration's model is no XML: {error}") from error
    named = {body.get("name"): body for body in bodies}
    found: dict[int, Pose] = {}
    for number in simulation.fixtures.compiled:
        element = named.get(simulation.model.body(number).name)
        if element is not None:
            position = np.array(element.get("pos", "0 0 0").split(), dtype=np.float64)
            quaternion = np.array(element.get("quat", "1 0 0 0").split(), dtype=np.float64)
            found[number] = position, quaternion
    return found


__all__ = ["Moment", "fixture_poses", "replay"]
