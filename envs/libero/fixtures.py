"""Where fixtures (cabinet, stove, rack) stand.

A fixture has no joint: its pose is part of the compiled model, and LIBERO's official initial states
say nothing of it.  LIBERO draws it anew at each reset from a region of +-1 cm, with a few degrees
of yaw for the cabinet; the centre of that region is the one choice that is the same for everybody.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .runtime import seeded_numpy

FIXTURES = ("centre", "random")
"""The values of the ``fixtures`` keyword: the centre of its region, or drawn at each reset."""

Pose = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Position (3,) m and quaternion (4,) wxyz in the parent's frame."""


class Fixtures:
    """The fixtures of one task.

    Args:
        inner: the robosuite environment that built the task.
        model: MuJoCo's model of it, whose body poses are set.

    Attributes:
        compiled: pose of each fixture body in the freshly compiled model.
        centre: pose of each fixture body in the middle of its placement region.
    """

    def __init__(self, inner: Any, model: Any) -> None:
        self._inner, self._model = inner, model
        self.compiled: dict[int, Pose] = {}
        for name, thing in inner.fixtures_dict.items():
            if name in inner.obj_body_id:
                element = thing.get_obj()
                position = np.array(element.get("pos", "0 0 0").split(), dtype=np.float64)
                quaternion = np.array(element.get("quat", "1 0 0 0").split(), dtype=np.float64)
                self.compiled[inner.obj_body_id[name]] = position, quaternion
        self.centre = dict(self.compiled)
        with self.in_the_centre(), seeded_numpy(0):
            for thing, sampler in self._samplers():
                position, quaternion, _ = sampler.sample()[thing.name]
                self.centre[inner.obj_body_id[thing.name]] = np.array(position), quaternion

    def place(self, poses: Mapping[int, Pose]) -> None:
        """Put fixtures at the given poses; kinematics are not brought up to date."""
        for body, (position, quaternion) in poses.items():
            self._model.body_pos[body] = position
            self._model.body_quat[body] = quaternion

    def poses(self) -> dict[int, Pose]:
        """Where the fixtures stand now (copies)."""
        model = self._model
        return {b: (model.body_pos[b].copy(), model.body_quat[b].copy()) for b in self.compiled}

    @contextlib.contextmanager
    def in_the_centre(self) -> Iterator[None]:
        """Let LIBERO's samplers give fixtures the centre of their regions.

        They draw as many random numbers as before, so that under the same seed everything that
        does not stand on a fixture is placed as it would be with drawn fixtures.
        """
        before = []
        try:
            for _, sampler in self._samplers():
                ranges = sampler.x_ranges, sampler.y_ranges, sampler.rotation
                before.append((sampler, ranges))
                sampler.x_ranges = [(np.mean(ranges[0][0]),) * 2] * len(ranges[0])
                sampler.y_ranges = [(np.mean(ranges[1][0]),) * 2] * len(ranges[1])
                if isinstance(sampler.rotation, tuple | list):
                    sampler.rotation = (float(np.mean(sampler.rotation)),) * 2
            yield
        finally:
            for sampler, (x, y, rotation) in before:
                sampler.x_ranges, sampler.y_ranges, sampler.rotation = x, y, rotation

    def _samplers(self) -> Iterator[tuple[Any, Any]]:
        """Each fixture that LIBERO places, and its sampler."""
        for sampler in self._inner.placement_initializer.samplers.values():
            things = sampler.mujoco_objects
            thing = things[0] if isinstance(things, list) else things
            if thing is not None and thing.name in self._inner.fixtures_dict:
                yield thing, sampler


__all__ = ["FIXTURES", "Fixtures", "Pose"]
