"""Drawers, doors and knobs: where their joints are, and how far from where a task wants them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .simulation import Simulation

_RANGES = {
    "open": ("close", "open"),
    "close": ("open", "close"),
    "turnon": ("turnoff", "turnon"),
    "turnoff": ("turnon", "turnoff"),
}
"""Predicate -> LIBERO's names of the ranges that a joint leaves and reaches to satisfy it."""


def fixture_joints(simulation: Simulation, names: Iterable[str]) -> NDArray[np.float64]:
    """Positions of the joints of the fixtures among ``names``, m or rad.

    Sites are left out: one in a drawer moves with it, so that its position says how far it is open.
    """
    fixtures = simulation.inner.fixtures_dict
    joints = [joint for name in names if name in fixtures for joint in fixtures[name].joints]
    return _positions(simulation, joints)


def in_drawer(simulation: Simulation, name: str) -> bool:
    """Whether a name is that of a site behind a door or in a drawer, which move."""
    site = simulation.inner.object_sites_dict.get(name)
    return site is not None and bool(_articulation(site)) and bool(site.joints)


def on_table(simulation: Simulation, name: str) -> bool:
    """Whether a name is that of a zone of the table."""
    site = simulation.inner.object_sites_dict.get(name)
    return site is not None and getattr(site, "parent_name", None) is None


def progress(simulation: Simulation, kind: str, name: str) -> float:
    """How far the joints of a fixture or site have come to where a predicate wants them, in [0, 1].

    Args:
        simulation: the physics.
        kind: "open", "close", "turnon" or "turnoff".
        name: a fixture, or a site in one.

    Raises:
        ValueError: for another kind, or something without such joints.
    """
    inner = simulation.inner
    thing = inner.object_sites_dict.get(name) or inner.get_object(name)
    ranges = [
        _articulation(thing).get(f"default_{end}_ranges", []) for end in _RANGES.get(kind, ())
    ]
    if not (len(ranges) == 2 and all(ranges) and thing.joints):
        raise ValueError(f"no joint of {name!r} has a range for {kind!r}")
    left, wanted = ranges
    # From the end of the range that is left to the end of the other that comes first.
    far = np.mean(wanted)
    start = min(left, key=lambda end: abs(end - far))
    end = min(wanted, key=lambda end: abs(end - np.mean(left)))
    come = np.clip((_positions(simulation, thing.joints) - start) / (end - start), 0.0, 1.0)
    # One open drawer makes a cabinet open; shut it is with all of them shut.
    return float(come.max() if kind in ("open", "turnon") else come.min())


def _articulation(thing: Any) -> dict[str, list[float]]:
    properties: dict[str, Any] = getattr(thing, "object_properties", None) or {}
    return dict(properties.get("articulation", {}))


def _positions(simulation: Simulation, joints: Iterable[str]) -> NDArray[np.float64]:
    addresses = [int(simulation.model.joint(joint).qposadr[0]) for joint in joints]
    return np.array(simulation.data.qpos[addresses], dtype=np.float64)


__all__ = ["fixture_joints", "in_drawer", "on_table", "progress"]
