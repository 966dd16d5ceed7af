"""Reads LIBERO's init states, without importing torch and without trusting the pickle inside."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

# A pickled NumPy array needs these callables and no others.
_ALLOWED = {"_reconstruct", "ndarray", "dtype", "_frombuffer", "scalar", "encode"}


class _ArrayUnpickler(pickle.Unpickler):
    """Refuses every global that a plain NumPy array does not need."""

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] in ("numpy", "_codecs") and name in _ALLOWED:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"unexpected {module}.{name} in a file of init states")


def read_init_states(path: Path) -> NDArray[np.float64]:
    """The array in a ``.pruned_init`` file (a torch archive of one pickled NumPy array).

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it holds something else.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entry = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
            with archive.open(entry) as stream:
                return np.asarray(_ArrayUnpickler(stream).load(), dtype=np.float64)
    except (zipfile.BadZipFile, StopIteration, pickle.UnpicklingError) as error:
        raise ValueError(f"{path} is not a file of LIBERO init states: {error}") from error
