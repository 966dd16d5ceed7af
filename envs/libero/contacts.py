"""Which models touch, bodies at rest included."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

SLEEP = int(getattr(mujoco.mjtEnableBit, "mjENBL_SLEEP", 0))
"""MuJoCo's switch that lets bodies at rest sleep; 0 in versions that know no sleep."""

_STATIC_OR_ASLEEP = 0
"""Largest value of MuJoCo's ``body_awake`` of a body that does not move."""


class Contacts:
    """robosuite's ``check_contact`` on arrays, for a simulation whose bodies may sleep.

    MuJoCo drops the contacts of sleeping bodies with each other and with what is fixed.  They
    are found again where somebody asks for them, on a copy: the contacts in ``data`` belong to
    the forces of the next step.

    Args:
        model, data: of the simulation.
    """

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        self._model, self._data = model, data
        self._masks: dict[Any, NDArray[np.bool_]] = {}
        self._copy: mujoco.MjData | None = None

    def between(self, first: Any, second: Any = None) -> bool:
        """Whether two of robosuite's models, geom names or lists of names touch.

        Args:
            second: None for anything.
        """
        one = self._mask(first)
        two = None if second is None else self._mask(second)
        if _touch(self._data, one, two):
            return True
        if not (self._resting(one) and (two is None or self._resting(two))):
            return False
        return _touch(self._all_contacts(), one, two)

    def _resting(self, geoms: NDArray[np.bool_]) -> bool:
        """Whether any of the geoms belongs to a body that is asleep or fixed."""
        if not SLEEP or self._data.ntree_awake == self._model.ntree:
            return False
        awake = self._data.body_awake[self._model.geom_bodyid[geoms]]
        return bool((awake <= _STATIC_OR_ASLEEP).any())

    def _all_contacts(self) -> mujoco.MjData:
        """A copy of the present positions with the contacts of all bodies."""
        if self._copy is None:
            self._copy = mujoco.MjData(self._model)
        self._copy.qpos[:] = self._data.qpos
        flags = self._model.opt.enableflags
        self._model.opt.enableflags = flags & ~SLEEP
        try:
            mujoco.mj_kinematics(self._model, self._copy)
            mujoco.mj_collision(self._model, self._copy)
        finally:
            self._model.opt.enableflags = flags
        return self._copy

    def _mask(self, geoms: Any) -> NDArray[np.bool_]:
        """``(ngeom,)`` membership of a robosuite model's contact geoms or of named geoms."""
        key = geoms if isinstance(geoms, str) else getattr(geoms, "name", None)
        if key is None:
            key = tuple(geoms)
        if key not in self._masks:
            names: Iterable[str] = (
                [geoms] if isinstance(geoms, str) else getattr(geoms, "contact_geoms", geoms)
            )
            mask = np.zeros(self._model.ngeom, dtype=bool)
            mask[[self._model.geom(name).id for name in names]] = True
            self._masks[key] = mask
        return self._masks[key]


def _touch(data: mujoco.MjData, one: NDArray[np.bool_], two: NDArray[np.bool_] | None) -> bool:
    if data.ncon == 0:
        return False
    geoms = data.contact.geom[: data.ncon]
    in_one = one[geoms]
    if two is None:
        return bool(in_one.any())
    in_two = two[geoms]
    hit = (in_one[:, 0] & in_two[:, 1]) | (in_one[:, 1] & in_two[:, 0])
    return bool(hit.any())


__all__ = ["SLEEP", "Contacts"]
