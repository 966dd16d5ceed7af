"""The skill that opens a drawer of the cabinet.

The hand lies on its side, one finger above the handle and one below, comes at it from the front,
closes, and pulls along the drawer's own axis.  It cannot come from above: a handle has another
handle above it, and the gap behind it is narrower than an open hand's finger.
"""

from __future__ import annotations

import numpy as np

from ..simulation import Simulation
from .motion import Vector, command, funnel, hand_down, opening, rotation_error, tilted, unturned

HANDLES = {"top_region": 0.18393, "middle_region": 0.11041}
"""Height (m) of a drawer's handle above the cabinet's origin, by the end of its region's name."""

_HANDLE = (-0.0028, -0.1046)
"""x and y (m) of the grasp point in the cabinet's frame, the drawer shut: 3 mm before the bar's
middle, as fingertips that go deeper meet the panel above."""

_TILT = np.radians(78.0)
"""From pointing down to nearly level: the hand then clears the plate below and the handle above."""

_SIDE = np.radians(25.0)
"""How far the hand comes from the robot's side, where the arm is better bent."""

_STANDOFF = 0.08
"""Metres before the handle where the hand turns and aligns itself."""

_LIFT = 0.12
"""Metres above the handle at which the hand begins to turn."""

_BEYOND = 0.006
"""Metres beyond what is wanted that the pull aims at: it slows down, and yet arrives."""


class OpenDrawer:
    """Pulls a drawer open.

    Args:
        simulation: the task's physics, read at each action.
        region: the site inside the drawer.
        wanted: m that it is to be open.
        enough: m open that suffice once nobody holds it.

    Raises:
        ValueError: for something else than the top or middle drawer of a wooden cabinet.
    """

    def __init__(
        self, simulation: Simulation, region: str, *, wanted: float = 0.155, enough: float = 0.155
    ) -> None:
        site = simulation.inner.object_sites_dict[region]
        level = next((end for end in HANDLES if region.endswith(end)), None)
        cabinet = getattr(site, "parent_name", None)
        category = simulation.inner.get_object(cabinet).category_name if cabinet else None
        if level is None or category != "wooden_cabinet":
            raise ValueError(f"no scripted demonstrator opens {region!r}")
        self._simulation = simulation
        self._body = int(simulation.body_of(region))
        self._joint = simulation.model.joint(site.joints[0])
        self._handle = np.array([*_HANDLE, HANDLES[level]])
        self._wanted, self._enough = wanted, enough

    @property
    def done(self) -> bool:
        """Whether the drawer is open as far as wanted, and the hand out of its way."""
        along, lateral = self._error()
        if self._held(along, lateral):
            return False
        return self.opened > self._enough and not self._near(along, lateral)

    @property
    def opened(self) -> float:
        """How far it is open, m."""
        return -float(self._simulation.data.qpos[self._joint.qposadr[0]])

    def action(self) -> Vector:
        """The action ``(7,)`` in [-1, 1] for the present state."""
        simulation = self._simulation
        pull = self._pull()
        along, lateral = self._error()
        turn = rotation_error(self._orientation(), simulation.hand_rotation)
        held = self._held(along, lateral)
        if (held and self.opened > self._wanted) or (not held and self.opened > self._enough):
            # Open, and the hand still around the handle: let go, then straight out.
            out = 0.0 if opening(simulation.finger_positions) < 0.06 else 0.04
            return command(out * pull - 0.5 * lateral, turn, False)
        if held:
            missing = self._wanted + _BEYOND - self.opened
            return command(min(missing, 0.03) * pull + lateral, turn, True)
        # Turn above what stands on the table, then come down to the handle, then in.
        waiting = unturned(turn)
        beside = float(np.linalg.norm(lateral))
        standoff = max(funnel(beside, _STANDOFF), _STANDOFF * waiting)
        lift = max(funnel(float(np.hypot(*lateral[:2])), _LIFT), _LIFT * waiting)
        lateral = lateral + [0.0, 0.0, lift]
        at_point = beside < 0.012 and abs(along) < 0.012
        if at_point:
            return command(along * pull + lateral, turn, True)
        return command((along + standoff) * pull + lateral, turn, False)

    def _held(self, along: float, lateral: Vector) -> bool:
        """Whether the fingers are around the bar, and closed on it."""
        at_bar = float(np.linalg.norm(lateral)) < 0.02 and abs(along) < 0.02
        return at_bar and opening(self._simulation.finger_positions) < 0.03

    def _near(self, along: float, lateral: Vector) -> bool:
        """Whether a hand on its side is so near that turning it would hit the handle."""
        level = self._simulation.hand_rotation[2, 2] > -0.6
        return bool(level and float(np.linalg.norm(lateral)) < 0.06 and along > -0.07)

    def _frame(self) -> Vector:
        return self._simulation.data.xmat[self._body].reshape(3, 3)

    def _pull(self) -> Vector:
        """Unit vector ``(3,)`` in which the drawer opens."""
        return -self._frame()[:, 1]

    def _error(self) -> tuple[float, Vector]:
        """From the grip to the handle: m along the pull, and ``(3,)`` m across it."""
        frame = self._frame()
        handle = self._simulation.data.xpos[self._body] + frame @ self._handle
        error = handle - self._simulation.grip_position
        along = float(error @ self._pull())
        return along, error - along * self._pull()

    def _orientation(self) -> Vector:
        """``(3, 3)`` of the hand at the handle."""
        pull = self._pull()
        heading = float(np.arctan2(pull[1], pull[0])) - np.pi / 2 + _SIDE
        c, s = np.cos(heading), np.sin(heading)
        turn = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
        return turn @ tilted(-_TILT) @ hand_down(np.pi / 2)
