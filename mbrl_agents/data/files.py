"""Files that are written as a whole or not at all."""

from __future__ import annotations

import contextlib
import fnmatch
import glob
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

PARTIAL = ".partial"
"""How the temporary files of `atomic` end."""


@contextlib.contextmanager
def atomic(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path beside ``path`` that replaces it when the block ends without an error."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=PARTIAL)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes files private; give them what an ordinary open() would have.
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def discard_partial(path: str | os.PathLike[str]) -> None:
    """Remove temporary files of `atomic` for ``path`` that a killed process left behind.

    Only for files that one process at a time writes.
    """
    target = Path(path)
    for partial in target.parent.glob(f".{glob.escape(target.name)}.????????{PARTIAL}"):
        partial.unlink(missing_ok=True)


def discard_partials(folder: str | os.PathLike[str]) -> None:
    """Remove all temporary files of `atomic` in a folder, except in its hidden folders.

    Only for folders into which one process at a time writes, see `mbrl_agents.data.locks`.
    """
    for place, inner, files in os.walk(folder):
        inner[:] = [name for name in inner if not name.startswith(".")]
        for name in fnmatch.filter(files, f".*.????????{PARTIAL}"):
            Path(place, name).unlink(missing_ok=True)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a text file atomically."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


__all__ = [
    "PARTIAL",
    "atomic",
    "discard_partial",
    "discard_partials",
    "write_text",
]
