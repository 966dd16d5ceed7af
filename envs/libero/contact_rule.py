"""The contact rule that LIBERO's published results were obtained under.

MuJoCo before 3.4.0 reported half the penetration of two boxes that touch with a face; later
versions report all of it.  LIBERO's objects are made of boxes, its initial states and results come
from the earlier rule, and under the later one some of them start wrongly: the bowl of
libero_spatial's task 5 slides off its ramekin in every official state.

`register` restores the earlier rule for one model.  MuJoCo finds contacts through an exported
table of functions, ``mjCOLLISIONFUNC``, indexed by the types of two geoms.  Its entry for two boxes
is replaced by a function that calls the original and then, where the model is registered and the
contact's normal lies along an axis of one of the boxes, halves the distance.  The contact's place
and direction are the same under both rules.  Every other model of the process is computed as
before.

The function is native code (numba's), so it needs neither compiler nor interpreter lock: threads
and forked workers run it as they run the original.  It reads MuJoCo's structures in memory; where
things lie in them is found out, and verified on contacts of known depth, when the rule is
installed, so that another layout is an error and not a wrong result.
"""

from __future__ import annotations

import ctypes
import threading
import weakref
from functools import cache
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

CONTACT_RULES = ("reference", "mujoco")
"""The values of the ``contact_rule`` keyword: as before MuJoCo 3.4, or as installed."""

CHANGED_IN = (3, 4)
"""The first MuJoCo release (major, minor) with the later rule."""

TESTED = ((3, 6), (3, 8))
"""First and last MuJoCo release whose contacts the replacement makes equal to the earlier ones.

3.4 and 3.5 report other points of a face too, which the rule does not take away.
"""

CAPACITY = 4096
"""Most models that can be registered at once."""

_ALIGNED = 1e-12
"""How far a component of a contact's normal may be from that of a box's axis it lies along.

MuJoCo copies the normal of a contact with a face from the box.  That of two nearly parallel edges
comes as close as the boxes are parallel, and keeps its distance under either rule."""

_BOX, _TYPES = int(mujoco.mjtGeom.mjGEOM_BOX), int(mujoco.mjtGeom.mjGEOM_SDF) + 1
"""Row of boxes in MuJoCo's table, and the number of its rows and columns."""

_PROBE = """
<mujoco>
  <worldbody>
    <geom type="box" size="1 1 1"/>
    <body pos="0 0 1.9"><freejoint/><geom type="box" size="0.5 0.5 1"/></body>
    <geom type="box" size="1 1 1" pos="9 0 0" euler="45 0 0"/>
    <body pos="9 0 2.7"><freejoint/><geom type="box" size="1 1 1" euler="0 45 0"/></body>
  </worldbody>
</mujoco>
"""
"""Two boxes that touch with faces, and two that touch with edges."""
_PROBE_DEPTH = 0.1
"""How deep the faces are in each other, in m."""

_lock = threading.Lock()
_table: NDArray[np.int64] = np.zeros(CAPACITY + 1, dtype=np.int64)
"""What the native function reads: first how many places to look at, then the addresses of
registered models, zero for a free place."""
_registered: dict[int, weakref.finalize[Any, Any]] = {}


def check_contact_rule(rule: str) -> None:
    """Refuse what cannot be had with the installed MuJoCo.

    Raises:
        ValueError: for an unknown rule.
        RuntimeError: for "reference" with a MuJoCo that it was not tested with.
    """
    if rule not in CONTACT_RULES:
        raise ValueError(f"unknown contact_rule {rule!r}; valid: {', '.join(CONTACT_RULES)}")
    if rule == "reference" and _version() >= CHANGED_IN and not _tested():
        (major, first), (_, last) = TESTED
        raise RuntimeError(
            f"contact_rule='reference' cannot be had with MuJoCo {mujoco.__version__}: install "
            f"'mujoco>={major}.{first},<{major}.{last + 1}', or pass contact_rule='mujoco', whose "
            "results are not comparable with published ones"
        )


def apply_contact_rule(rule: str, model: mujoco.MjModel) -> str:
    """Compute the contacts of ``model`` by ``rule`` from now on.

    Returns:
        What is in force: "native 3.3" (the installed MuJoCo's number) where MuJoCo itself follows
        the reference rule, "reference" where it was made to, "mujoco" where it does not.

    Raises:
        ValueError, RuntimeError: see `check_contact_rule` and `register`.
    """
    check_contact_rule(rule)
    if _version() < CHANGED_IN:
        return "native {}.{}".format(*_version())
    if rule == "reference":
        register(model)
    return rule


def register(model: mujoco.MjModel) -> None:
    """Let the reference rule hold for ``model`` until it is collected or `unregister` is called.

    Raises:
        RuntimeError: where the replacement cannot be installed, for whatever reason (the message
            names the way out), or for more than ``CAPACITY`` models.
    """
    with _lock:
        _install()
        _add(model)


def unregister(model: mujoco.MjModel) -> None:
    """Let MuJoCo's own rule hold for ``model`` again; nothing happens where it does."""
    finalizer = _registered.get(int(model._address))
    if finalizer is not None:
        finalizer()


def _add(model: mujoco.MjModel) -> None:
    address = int(model._address)
    if address in _registered:
        return
    free = 1 + np.flatnonzero(_table[1:] == 0)
    if not len(free):
        raise RuntimeError(f"more than {CAPACITY} LIBERO simulations are open: close some")
    finalizer = weakref.finalize(model, _forget, address)
    finalizer.atexit = False
    _registered[address] = finalizer
    _table[free[0]] = address
    _table[0] = max(_table[0], free[0])


def _forget(address: int) -> None:
    # The garbage collector calls this at any point, also while the lock is held: it takes none.
    _table[1:][_table[1:] == address] = 0
    _registered.pop(address, None)


def _version() -> tuple[int, int]:
    major, minor = mujoco.__version__.split(".")[:2]
    return int(major), int(minor)


def _tested() -> bool:
    return TESTED[0] <= _version() <= TESTED[1]


# ------------------------------------------------------------------- installation


@cache
def _install() -> Any:
    """Put the replacement into MuJoCo's table, once per process.

    Returns:
        The compiled function, which has to live as long as the process: the cache keeps it.

    Raises:
        RuntimeError: for whatever goes wrong; MuJoCo's table is then as it was.
    """
    try:
        return _replace()
    except Exception as error:
        cause = (
            str(error) if isinstance(error, RuntimeError) else f"{type(error).__name__}: {error}"
        )
        raise RuntimeError(
            f"contact_rule='reference' cannot be had here with MuJoCo {mujoco.__version__} "
            f"({cause}): pass contact_rule='mujoco', whose results are not comparable with "
            "published ones"
        ) from error


def _replace() -> Any:
    if not _tested():
        raise RuntimeError(f"the contact rule is not made for MuJoCo {mujoco.__version__}")
    model = mujoco.MjModel.from_xml_string(_PROBE)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    before = data.contact.dist.copy()
    slot = _slot()
    original = slot.value
    function = _compile(int(original or 0), *_layout(data))
    slot.value = function.address
    try:
        _verify(model, data, before)
    except BaseException:
        unregister(model)
        slot.value = original
        raise
    return function


def _slot() -> ctypes.c_void_p:
    """The table's entry for two boxes, in place."""
    folder = Path(mujoco.__file__).parent
    for pattern in ("libmujoco*.so*", "libmujoco*.dylib", "mujoco.dll"):
        for library in folder.glob(pattern):
            table = (ctypes.c_void_p * _TYPES**2).in_dll(
                ctypes.CDLL(str(library)), "mjCOLLISIONFUNC"
            )
            place = ctypes.sizeof(ctypes.c_void_p) * (_TYPES * _BOX + _BOX)
            return ctypes.c_void_p.from_address(ctypes.addressof(table) + place)
    raise RuntimeError(f"found no MuJoCo library in {folder}, needed for the contact rule")


def _layout(data: mujoco.MjData) -> tuple[int, int, int]:
    """Where things lie in MuJoCo's structures, in units of 8 bytes.

    Returns:
        The size of a contact, the place of its frame in it, and the place in ``MjData`` of the
        pointer to the geoms' orientations.
    """
    distances, frames = data.contact.dist, data.contact.frame
    size = distances.strides[0]
    frame = frames.ctypes.data - distances.ctypes.data  # a contact begins with its distance
    if size % 8 or frame % 8 or not 0 < frame < size or distances.dtype != np.float64:
        raise RuntimeError("MuJoCo's contacts do not look as expected")
    # The pointers to the geoms' positions and orientations are neighbours.
    wanted = data.geom_xpos.ctypes.data, data.geom_xmat.ctypes.data
    for offset in range(0, 2**20, 8):
        if tuple((ctypes.c_int64 * 2).from_address(data._address + offset)) == wanted:
            return size // 8, frame // 8, offset // 8 + 1
    raise RuntimeError("found no pointer to the geoms' orientations in MjData")


def _compile(original: int, size: int, frame: int, orientations: int) -> Any:
    """The native function that stands in the table's place; arguments as `_layout` gives them."""
    from numba import carray, cfunc, config, types
    from numba.extending import intrinsic

    if config.DISABLE_JIT:  # type: ignore[attr-defined]
        raise RuntimeError("NUMBA_DISABLE_JIT is set, so that numba compiles nothing")

    def pointer_to(kind: Any) -> Any:
        """A function for native code: an integer as an address of numbers of a kind."""

        @intrinsic
        def pointer(_context: Any, address: Any) -> Any:
            def build(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
                return builder.inttoptr(arguments[0], context.get_value_type(types.CPointer(kind)))

            return types.CPointer(kind)(address), build

        return pointer

    words, doubles = pointer_to(types.int64), pointer_to(types.float64)
    integer, word, number = ctypes.c_int32, ctypes.c_int64, ctypes.c_double
    call = ctypes.CFUNCTYPE(integer, word, word, word, integer, integer, number)(original)
    table = _table.ctypes.data

    @cfunc(types.int32(*(types.int64,) * 3, *(types.int32,) * 2, types.float64))
    def box_box(model, data, contacts, one, two, margin):  # type: ignore[no-untyped-def]
        count = call(model, data, contacts, one, two, margin)
        if count <= 0:
            return count
        models = carray(words(table), CAPACITY + 1)
        place = models[0]
        while place > 0 and models[place] != model:
            place -= 1
        if place == 0:
            return count
        axes = carray(doubles(carray(words(data), orientations + 1)[orientations]), 2**30)
        found = carray(doubles(contacts), count * size)
        # The contacts of a pair of boxes mostly share one normal: what holds of it is kept.
        known_x = known_y = known_z = 2.0
        aligned = False
        for contact in range(count):
            start = contact * size
            x, y, z = found[start + frame], found[start + frame + 1], found[start + frame + 2]
            if not (x == known_x and y == known_y and z == known_z):
                known_x, known_y, known_z = x, y, z
                aside = 1.0  # how far the normal is from the nearest axis of the two boxes
                for corner in (9 * one, 9 * two):
                    for axis in range(corner, corner + 3):
                        # The sign by which the axis points along the normal.
                        sign = 1.0
                        if x * axes[axis] + y * axes[axis + 3] + z * axes[axis + 6] < 0.0:
                            sign = -1.0
                        dx = abs(x - sign * axes[axis])
                        dy = abs(y - sign * axes[axis + 3])
                        dz = abs(z - sign * axes[axis + 6])
                        aside = min(aside, max(dx, dy, dz))
                aligned = aside < _ALIGNED
            if aligned:
                found[start] *= 0.5
        return count

    return box_box


def _verify(model: mujoco.MjModel, data: mujoco.MjData, before: NDArray[np.float64]) -> None:
    """Contacts of known depth, of a model that is not registered and then is."""
    mujoco.mj_forward(model, data)
    alone = data.contact.dist.copy()
    _add(model)
    mujoco.mj_forward(model, data)
    registered = data.contact.dist.copy()
    unregister(model)
    faces = np.isclose(before, -_PROBE_DEPTH)
    expected = np.where(faces, 0.5 * before, before)
    if not (faces.any() and not faces.all() and np.array_equal(alone, before)):
        raise RuntimeError("MuJoCo's contacts changed for a model that is not registered")
    if not np.array_equal(registered, expected):
        raise RuntimeError("MuJoCo's contacts are not those of the reference rule")


__all__ = [
    "CONTACT_RULES",
    "apply_contact_rule",
    "check_contact_rule",
    "register",
    "unregister",
]
