"""Imports LIBERO and robosuite without their side effects on the user's machine.

``import libero.libero`` asks a question on stdin and writes ``~/.libero`` unless it finds a
configuration; robosuite warns about a private settings file three times and logs to a file in
the shared temporary folder.  Both are settled here, once per process, before the first import.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

_CONFIG_PATH = "LIBERO_CONFIG_PATH"


@functools.cache
def libero_envs() -> Any:
    """LIBERO's environment package, imported quietly.

    A user's own LIBERO configuration stays in force.  Where there is none, LIBERO is shown ours,
    which is part of this package: a temporary one would stay behind where a process is killed
    while it imports.  LIBERO reads it only in functions that this project does not call.
    """
    _quiet_robosuite()
    os.environ.setdefault("MUJOCO_GL", "egl")
    given = os.environ.get(_CONFIG_PATH)
    # As LIBERO looks for it, which expands no "~" in the variable.
    own = os.path.expanduser("~/.libero") if given is None else given
    if not own or not Path(own, "config.yaml").exists():
        os.environ[_CONFIG_PATH] = str(Path(__file__).parent / "reference")
    try:
        return importlib.import_module("libero.libero.envs")
    finally:
        os.environ.pop(_CONFIG_PATH, None)
        if given is not None:
            os.environ[_CONFIG_PATH] = given


def use_assets(folder: Path) -> None:
    """Make LIBERO load its models from ``folder`` from now on (never from the network)."""
    libero_envs()
    import libero.libero

    libero.libero._assets_path_cache = str(folder)


@contextlib.contextmanager
def seeded_numpy(seed: int) -> Iterator[None]:
    """Run LIBERO's samplers, which draw from NumPy's global generator, from a seed of ours.

    The global state is put back afterwards: nothing outside this block sees the difference.
    """
    before = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(before)


def _quiet_robosuite() -> None:
    """Stand in for robosuite's private settings file where the user has none."""
    if "robosuite" in sys.modules:
        return
    spec = importlib.util.find_spec("robosuite")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError("robosuite is not installed: pip install hf-libero")
    folder = Path(next(iter(spec.submodule_search_locations)))
    if not (folder / "macros_private.py").exists():
        settings = types.ModuleType("robosuite.macros_private")
        settings.FILE_LOGGING_LEVEL = None  # type: ignore[attr-defined]
        settings.CONSOLE_LOGGING_LEVEL = "ERROR"  # type: ignore[attr-defined]
        sys.modules["robosuite.macros_private"] = settings
