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
import tempfile
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .suites import libero_package


@functools.cache
def libero_envs() -> Any:
    """LIBERO's environment package, imported quietly.

    LIBERO reads its configuration from ``LIBERO_CONFIG_PATH``.  Ours lives in a temporary folder
    for the duration of the import only: all it says is where the installed package lies, and
    LIBERO reads it again only through functions that this project does not call.
    """
    _quiet_robosuite()
    os.environ.setdefault("MUJOCO_GL", "egl")
    if "libero.libero" in sys.modules or "LIBERO_CONFIG_PATH" in os.environ:
        return importlib.import_module("libero.libero.envs")
    with tempfile.TemporaryDirectory(prefix="mbrl-libero-") as folder:
        _write_config(Path(folder))
        os.environ["LIBERO_CONFIG_PATH"] = folder
        try:
            return importlib.import_module("libero.libero.envs")
        finally:
            del os.environ["LIBERO_CONFIG_PATH"]


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


def _write_config(folder: Path) -> None:
    root = libero_package()
    entries = {
        "benchmark_root": root,
        "bddl_files": root / "bddl_files",
        "init_states": root / "init_files",
        "datasets": folder,
        "assets": folder,
    }
    text = "".join(f"{key}: {value}\n" for key, value in entries.items())
    (folder / "config.yaml").write_text(text)


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
