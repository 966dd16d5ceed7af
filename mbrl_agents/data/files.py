"""Files that are written as a whole or not at all."""

from __future__ import annotations

import contextlib
import fnmatch
import glob
import os
import shutil
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


@contextlib.contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary folder beside ``path`` that becomes it when the block ends without an error.

    With an error nothing of it stays.  What a killed process left of an earlier attempt goes
    first, so one process at a time may write to ``path``.

    Raises:
        FileExistsError: where there is something at ``path`` already, other than an empty folder.
    """
    target = Path(path)
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise FileExistsError(f"{target} exists already; take another folder, or remove it")
    target.parent.mkdir(parents=True, exist_ok=True)
    for partial in target.parent.glob(f".{glob.escape(target.name)}.partial-????????"):
        shutil.rmtree(partial, ignore_errors=True)
    temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.partial-"))
    try:
        yield temporary
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o777 & ~mask)
        os.replace(temporary, target)  # over an empty folder too
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


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
    "atomic_folder",
    "discard_partial",
    "discard_partials",
    "write_text",
]
