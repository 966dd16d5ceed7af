"""Disturbances of a test environment: what a policy meets that its demonstrations did not show.

Those of the object (mass, friction) hold for the whole life of an environment's simulations, which
belong to it alone; the others act step by step.  All randomness comes from the reset's seed, from
a stream of its own: the placements of a seed are those of the undisturbed environment.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from .contacts import SLEEP
from .presets import check_sizes, parse_preset, told
from .settled import SETTLE_ACTION
from .simulation import Simulation

DIRECTIONS = 8
"""How many directions a push tries where something stands in the way."""

_OVERLAP = 1e-3  # m inside of something from which on there is no room
_STILL = 0.02  # m/s, and rad/s times 10: slower lies still
_RANGES: dict[str, tuple[float, float]] = {
    "object_mass": (0.1, 1000.0),
    "object_friction": (0.05, 10.0),
    "push_step": (0, 10_000),
    "push_distance": (0.0, 0.2),
    "action_noise": (0.0, 2.0),
    "action_delay": (0, 50),
}


@dataclass(frozen=True)
class Disturbance:
    """Kinds and sizes; the defaults disturb nothing.

    Attributes:
        object_mass: factor on mass and inertia of the objects that the goal moves, 0.1 to 1000.
        object_friction: factor on the sliding friction of those objects and of the gripper, 0.05
            to 10.  Both, because MuJoCo takes the larger of the two in a contact: so the friction
            of the grasp changes by just this factor.
        push_step: control step, from 0, from which on the object is pushed once: as soon as the
            robot does not touch it, it lies still, and there is room.
        push_distance: how far it is moved, horizontally, in m, 0 (not at all) to 0.2; in a
            direction drawn by the reset's seed, or the nearest of `DIRECTIONS` with room.
        action_noise: standard deviation of Gaussian noise on executed actions, in action units, 0
            to 2, times the environment's ``noise_scale`` in each dimension.
        action_delay: control steps by which executed actions lag behind, 0 to 50; at first the
            action that settles objects (stay, gripper open) is executed.

    Raises:
        ValueError: for a value out of range, or a fraction where whole numbers are wanted.
    """

    object_mass: float = 1.0
    object_friction: float = 1.0
    push_step: int = 0
    push_distance: float = 0.0
    action_noise: float = 0.0
    action_delay: int = 0

    def __post_init__(self) -> None:
        check_sizes("disturbance", asdict(self), _RANGES)

    @property
    def of_object(self) -> bool:
        """Whether it needs an object that the goal moves."""
        return (self.object_mass, self.object_friction, self.push_distance) != (1.0, 1.0, 0.0)

    def __str__(self) -> str:
        """Such as "heavy (object_mass=5)"; "none" where nothing is disturbed."""
        sizes = asdict(self)
        if self.push_distance == 0.0:
            del sizes["push_step"]
        # With a push its step is told whatever it is.
        return told(self, PRESETS, sizes, {**asdict(Disturbance()), "push_step": None})


PRESETS: dict[str, Disturbance] = {
    "heavy": Disturbance(object_mass=5.0),
    "slippery": Disturbance(object_friction=0.1),
    "moved": Disturbance(push_step=20, push_distance=0.03),
    "noisy": Disturbance(action_noise=0.3),
    "delayed": Disturbance(action_delay=2),
}
"""The values of the ``disturbance`` keyword that are names."""


def parse_disturbance(value: str | Mapping[str, Any] | None) -> Disturbance:
    """What the keyword ``disturbance`` says.

    Args:
        value: name of a preset; a mapping of `Disturbance`'s attributes, to which ``preset`` may
            add the values of one; None for nothing.

    Raises:
        ValueError: for an unknown preset or kind, or a value out of range; the message lists what
            is valid.
    """
    return parse_preset("disturbance", "disturbance", value, Disturbance(), PRESETS, _RANGES)


class Disturber:
    """Disturbs one environment.

    Args:
        disturbance: what and how much.
        noise_scale: ``(A,)`` factor of the noise per action dimension.
    """

    def __init__(self, disturbance: Disturbance, noise_scale: Sequence[float]) -> None:
        self.disturbance = disturbance
        self._active = disturbance != Disturbance()
        self._noise = disturbance.action_noise * np.asarray(noise_scale, dtype=np.float64)
        self._rng = np.random.default_rng(0)
        self._waiting: deque[NDArray[np.float64]] = deque()
        self._angle = 0.0
        self._step, self._pushed = 0, True

    @property
    def told(self) -> str | None:
        """What `conditions` say of it; None where nothing is disturbed."""
        return str(self.disturbance) if self._active else None

    def prepare(self, simulation: Simulation) -> None:
        """Change the object's mass and friction, once in a simulation's life.

        Raises:
            ValueError: for a task whose goal moves no object, where one is to be disturbed.
        """
        disturbance = self.disturbance
        if not disturbance.of_object:
            return
        names = moved_objects(simulation)
        if not names:
            raise ValueError(
                f"disturbance {disturbance}: task {simulation.task} of {simulation.suite.name} "
                f"moves no object, its goal is {simulation.goal}"
            )
        model, inner = simulation.model, simulation.inner
        bodies = [b for name in names for b in bodies_below(model, simulation.body_of(name))]
        if disturbance.object_mass != 1.0:
            model.body_mass[bodies] *= disturbance.object_mass
            model.body_inertia[bodies] *= disturbance.object_mass
            # What MuJoCo derives from them; on a state of its own, as it leaves another one.
            mujoco.mj_setConst(model, mujoco.MjData(model))
        if disturbance.object_friction != 1.0:
            gripper = [model.geom(g).id for g in inner.robots[0].gripper.contact_geoms]
            own = np.flatnonzero(np.isin(model.geom_bodyid, bodies))
            model.geom_friction[[*gripper, *own], 0] *= disturbance.object_friction

    def begin(self, rng: np.random.Generator) -> None:
        """An episode begins.

        Args:
            rng: of the environment, seeded by the reset; what it draws itself stays the same.
        """
        if not self._active:
            return
        (self._rng,) = rng.spawn(1)
        self._angle = float(self._rng.uniform(0.0, 2.0 * np.pi))
        self._waiting = deque([SETTLE_ACTION] * self.disturbance.action_delay)
        self._step, self._pushed = 0, self.disturbance.push_distance == 0.0

    def __call__(self, simulation: Simulation, action: NDArray[np.float64]) -> NDArray[np.float64]:
        """A control step: push if it is time, and give the action ``(7,)`` to execute."""
        if not self._active:
            return action
        if not self._pushed and self._step >= self.disturbance.push_step:
            self._pushed = self._push(simulation)
        self._step += 1
        self._waiting.append(action)
        executed = self._waiting.popleft()
        if self.disturbance.action_noise:
            executed = executed + self._noise * self._rng.standard_normal(len(executed))
        return executed

    def _push(self, simulation: Simulation) -> bool:
        """Move the first object that can be; False where none can be now."""
        for name in moved_objects(simulation):
            if _lies_freely(simulation, name):
                for offset in self._offsets():
                    if _has_room(simulation, name, offset):
                        _place(simulation, name, offset)
                        return True
        return False

    def _offsets(self) -> Iterator[NDArray[np.float64]]:
        """``(3,)`` m in the drawn direction, then in those next to it."""
        for number in range(DIRECTIONS):
            turns = (number + 1) // 2 * (-1) ** number
            angle = self._angle + 2.0 * np.pi * turns / DIRECTIONS
            direction = np.array([np.cos(angle), np.sin(angle), 0.0])
            yield self.disturbance.push_distance * direction


def moved_objects(simulation: Simulation) -> list[str]:
    """The movable objects that the goal's predicates are about, without what they go to."""
    objects = simulation.inner.objects_dict
    return list(dict.fromkeys(p[1] for p in simulation.goal if p[1] in objects))


def bodies_below(model: mujoco.MjModel, root: int) -> list[int]:
    """An object's bodies: the root and what hangs on it."""
    return [body for body in range(model.nbody) if model.body_rootid[body] == root]


def _joint(simulation: Simulation, name: str) -> tuple[slice, slice]:
    """Where an object's free joint lies in ``qpos`` and ``qvel``."""
    model = simulation.model
    joint = model.joint(simulation.inner.get_object(name).joints[-1]).id
    position, velocity = int(model.jnt_qposadr[joint]), int(model.jnt_dofadr[joint])
    return slice(position, position + 7), slice(velocity, velocity + 6)


def _lies_freely(simulation: Simulation, name: str) -> bool:
    """Whether an object lies still and the robot does not touch it."""
    _, velocities = _joint(simulation, name)
    velocity = simulation.data.qvel[velocities]
    if np.abs(velocity[:3]).max() > _STILL or np.abs(velocity[3:]).max() > 10 * _STILL:
        return False
    inner = simulation.inner
    thing, gripper = inner.get_object(name), inner.robots[0].gripper
    return not simulation.in_contact(gripper, thing)


def _has_room(simulation: Simulation, name: str, offset: NDArray[np.float64]) -> bool:
    """Whether an object, moved by ``offset`` (3,) m, would be inside of nothing."""
    model = simulation.model
    moved = mujoco.MjData(model)
    moved.qpos[:] = simulation.data.qpos
    position, _ = _joint(simulation, name)
    moved.qpos[position][:3] += offset
    flags = model.opt.enableflags
    model.opt.enableflags = flags & ~SLEEP  # contacts of bodies at rest too
    try:
        mujoco.mj_kinematics(model, moved)
        mujoco.mj_comPos(model, moved)
        mujoco.mj_collision(model, moved)
    finally:
        model.opt.enableflags = flags
    own = np.isin(model.geom_bodyid, bodies_below(model, simulation.body_of(name)))
    contacts = moved.contact
    touches = own[contacts.geom[: moved.ncon]].any(axis=1)
    return not bool((contacts.dist[: moved.ncon][touches] < -_OVERLAP).any())


def _place(simulation: Simulation, name: str, offset: NDArray[np.float64]) -> None:
    """Move an object by ``offset`` (3,) m and put it at rest, awake."""
    model, data = simulation.model, simulation.data
    position, velocities = _joint(simulation, name)
    data.qpos[position][:3] += offset
    data.qvel[velocities] = 0.0
    # With all bodies awake, so that those beside it are seen where they are, and it falls if there
    # is nothing below.
    model.opt.enableflags &= ~SLEEP
    mujoco.mj_step1(model, data)
    model.opt.enableflags |= SLEEP


__all__ = [
    "PRESETS",
    "Disturbance",
    "Disturber",
    "bodies_below",
    "moved_objects",
    "parse_disturbance",
]
