"""Domain randomisation: what each episode looks like and weighs, drawn anew at every reset.

Tobin et al. 2017 (arXiv:1703.06907) for what is seen, Peng et al. 2018 (arXiv:1710.06537) for the
physics.  All randomness comes from the reset's seed, from a stream of its own: without
``placement``, the placements of a seed are those of the environment as it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from .disturbances import bodies_below
from .presets import check_sizes, parse_preset, told
from .simulation import Simulation

LAMP_SHIFT = 2.0
"""How far (m, to each side) a lamp may stand from its place with ``light=1``."""

_RANGES: dict[str, tuple[float, float]] = {
    "light": (0.0, 1.0),
    "colours": (0.0, 1.0),
    "camera": (0.0, 0.2),
    "mass": (1.0, 100.0),
    "friction": (1.0, 10.0),
    "placement": (0.0, 0.1),
}


@dataclass(frozen=True)
class Randomisation:
    """How much of each kind; the defaults change nothing.

    Attributes:
        light: share, 0 to 1, by which the brightness of each lamp may differ; lamps also stand up
            to ``light * LAMP_SHIFT`` m to each side of their places.
        colours: share, 0 to 1, of a drawn colour in that of every material, and of every object
            without one.  Textures keep their pattern.
        camera: m, 0 to 0.2, by which each observed camera may stand off along each axis; it is
            turned about each by up to as many radians, so what is 1 m away moves about as far.
        mass: 1 to 100; each object's mass and inertia are multiplied by a factor of its own, from
            ``1 / mass`` to ``mass``, uniform in its logarithm.
        friction: 1 to 10; likewise one factor for the sliding friction of all objects and the
            gripper.  All, because MuJoCo takes the larger of the two in a contact.
        placement: m, 0 to 0.1, by which the regions that LIBERO draws objects in reach farther to
            each side.

    Raises:
        ValueError: for a value out of range.
    """

    light: float = 0.0
    colours: float = 0.0
    camera: float = 0.0
    mass: float = 1.0
    friction: float = 1.0
    placement: float = 0.0

    def __post_init__(self) -> None:
        check_sizes("randomise", asdict(self), _RANGES)

    @property
    def of_model(self) -> bool:
        """Whether anything is drawn at a reset beside placements."""
        return self != Randomisation(placement=self.placement)

    def __str__(self) -> str:
        """Such as "physics (mass=3 and friction=2)"; "none" where nothing is drawn."""
        return told(self, PRESETS, asdict(self), asdict(Randomisation()))


PRESETS: dict[str, Randomisation] = {
    "looks": Randomisation(light=0.5, colours=0.5, camera=0.02),
    "physics": Randomisation(mass=3.0, friction=2.0),
    "places": Randomisation(placement=0.02),
    "all": Randomisation(
        light=0.5, colours=0.5, camera=0.02, mass=3.0, friction=2.0, placement=0.02
    ),
}
"""The values of the ``randomise`` keyword that are names."""


def parse_randomisation(value: str | Mapping[str, Any] | None) -> Randomisation:
    """What the keyword ``randomise`` says.

    Args:
        value: name of a preset; a mapping of `Randomisation`'s attributes, to which ``preset`` may
            add the values of one; None for nothing.

    Raises:
        ValueError: for an unknown preset or kind, or a value out of range; the message lists what
            is valid.
    """
    return parse_preset("randomise", "randomisation", value, Randomisation(), PRESETS, _RANGES)


class Randomiser:
    """Randomises the simulations of one environment.

    Args:
        randomisation: what and how much.
        cameras: names of those that may stand elsewhere.
    """

    def __init__(self, randomisation: Randomisation, cameras: Sequence[str]) -> None:
        self.randomisation, self._cameras = randomisation, tuple(cameras)
        self._bases: dict[int, _Base] = {}

    @property
    def told(self) -> str | None:
        """What `conditions` say of it; None where nothing is drawn."""
        return None if self.randomisation == Randomisation() else str(self.randomisation)

    def prepare(self, simulation: Simulation) -> None:
        """Once in a simulation's life: widen its regions, and note how it is."""
        reach = self.randomisation.placement
        objects = simulation.inner.objects_dict
        for sampler in simulation.inner.placement_initializer.samplers.values() if reach else ():
            if {thing.name for thing in sampler.mujoco_objects} <= objects.keys():
                for ranges in (sampler.x_ranges, sampler.y_ranges):
                    ranges[:] = [_widened(sampler, low, high, reach) for low, high in ranges]
        if self.randomisation.of_model:
            self._bases[simulation.task] = _Base(simulation, self._cameras)

    def begin(self, simulation: Simulation, rng: np.random.Generator) -> None:
        """Draw for the episode that is about to be placed.

        Args:
            rng: of the environment, seeded by the reset; what it draws itself stays the same.
        """
        if not self.randomisation.of_model:
            return
        (own,) = rng.spawn(1)
        base, sizes = self._bases[simulation.task], self.randomisation
        # A stream for each kind: what one draws does not depend on which others there are.
        light, colours, camera, mass, friction = own.spawn(5)
        base.light(light, sizes.light)
        base.colour(colours, sizes.colours)
        base.move_cameras(camera, sizes.camera)
        base.rub(friction, sizes.friction)
        if sizes.mass != 1.0:
            base.weigh(mass, sizes.mass)


class _Base:
    """A simulation's model as it was built, and changes of it."""

    def __init__(self, simulation: Simulation, cameras: Sequence[str]) -> None:
        self._model = model = simulation.model
        self._cameras = [model.camera(name).id for name in cameras]
        objects = [simulation.body_of(name) for name in simulation.inner.objects_dict]
        self._objects = [bodies_below(model, body) for body in objects]
        every = [body for bodies in self._objects for body in bodies]
        pads = [model.geom(g).id for g in simulation.inner.robots[0].gripper.contact_geoms]
        self._rubbing = [*pads, *np.flatnonzero(np.isin(model.geom_bodyid, every))]
        # MuJoCo takes a geom's own colour where it has no material, or another than the default.
        own = np.any(model.geom_rgba != _DEFAULT_RGBA, axis=1) | (model.geom_matid < 0)
        self._coloured = np.flatnonzero(own)
        self._roots, self._root_of = np.unique(
            model.body_rootid[model.geom_bodyid[self._coloured]], return_inverse=True
        )
        fields = (
            "light_diffuse", "light_pos", "mat_rgba", "geom_rgba", "cam_pos", "cam_quat",
            "body_mass", "body_inertia", "geom_friction",
        )  # fmt: skip
        self._as_built = {name: getattr(model, name).copy() for name in fields}
        self._headlight = np.array(model.vis.headlight.diffuse)

    def light(self, rng: np.random.Generator, share: float) -> None:
        model, built = self._model, self._as_built
        factors = 1.0 + rng.uniform(-share, share, model.nlight + 1)
        model.light_diffuse[:] = built["light_diffuse"] * factors[1:, None]
        model.vis.headlight.diffuse[:] = self._headlight * factors[0]
        reach = share * LAMP_SHIFT
        model.light_pos[:] = built["light_pos"] + rng.uniform(-reach, reach, (model.nlight, 3))

    def colour(self, rng: np.random.Generator, share: float) -> None:
        model, built = self._model, self._as_built
        materials = rng.uniform(size=(model.nmat, 3))
        roots = rng.uniform(size=(len(self._roots), 3))
        mixed = (1.0 - share) * built["mat_rgba"][:, :3] + share * materials
        model.mat_rgba[:, :3] = mixed
        before = built["geom_rgba"][self._coloured, :3]
        model.geom_rgba[self._coloured, :3] = (1.0 - share) * before + share * roots[self._root_of]

    def move_cameras(self, rng: np.random.Generator, reach: float) -> None:
        model, built = self._model, self._as_built
        for camera in self._cameras:
            offset = rng.uniform(-reach, reach, (2, 3))
            model.cam_pos[camera] = built["cam_pos"][camera] + offset[0]
            turn, quaternion = np.empty(4), np.empty(4)
            angle = float(np.linalg.norm(offset[1]))
            mujoco.mju_axisAngle2Quat(turn, offset[1] / max(angle, 1e-12), angle)
            mujoco.mju_mulQuat(quaternion, built["cam_quat"][camera], turn)
            model.cam_quat[camera] = quaternion

    def rub(self, rng: np.random.Generator, most: float) -> None:
        factor = _factors(rng, most, 1)[0]
        before = self._as_built["geom_friction"][self._rubbing, 0]
        self._model.geom_friction[self._rubbing, 0] = before * factor

    def weigh(self, rng: np.random.Generator, most: float) -> None:
        model, built = self._model, self._as_built
        factors = _factors(rng, most, len(self._objects))
        for bodies, factor in zip(self._objects, factors, strict=True):
            model.body_mass[bodies] = built["body_mass"][bodies] * factor
            model.body_inertia[bodies] = built["body_inertia"][bodies] * factor
        # What MuJoCo derives from them; on a state of its own, as it leaves another one.
        mujoco.mj_setConst(model, mujoco.MjData(model))


_DEFAULT_RGBA = np.array([0.5, 0.5, 0.5, 1.0], dtype=np.float32)


def _widened(sampler: Any, low: float, high: float, reach: float) -> list[float]:
    """The region whose draws reach ``reach`` m farther to each side.

    A sampler that keeps whole objects inside takes their radius off both ends.  LIBERO's regions
    are smaller than its objects, so that the ends change places: draws then reach the farther, the
    smaller the region is.
    """
    middle, half = (low + high) / 2, (high - low) / 2
    taken = 0.0
    if sampler.ensure_object_boundary_in_range:
        taken = max(float(thing.horizontal_radius) for thing in sampler.mujoco_objects)
    half = taken + abs(half - taken) + reach
    return [middle - half, middle + half]


def _factors(rng: np.random.Generator, most: float, count: int) -> NDArray[np.float64]:
    """``(count,)`` from ``1 / most`` to ``most``, uniform in their logarithm."""
    reach = math.log(most)
    return np.exp(rng.uniform(-reach, reach, count))


__all__ = ["PRESETS", "Randomisation", "Randomiser", "parse_randomisation"]
