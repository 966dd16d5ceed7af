"""One process at a time writes into a folder; a second one is refused with a sentence.

The lock is the operating system's (``flock``) on a file in the folder: it ends with the process
that holds it, however that ends.  The file tells who holds it, and is removed on release.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from mbrl_agents.data.files import discard_partials

LOCK_FILE = ".in-use"

_NO_LOCKS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)
"""Of a folder that cannot be written, or a file system without locks."""


class FolderInUse(RuntimeError):
    """Another process writes into the folder; the message says which."""


@contextmanager
def locked(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Hold a folder, which is made if need be; what killed processes left there unfinished goes.

    A folder that is empty in the end, and was made here, is removed again.  Where the folder cannot
    be written, or its file system knows no locks, nothing is held.

    Raises:
        FolderInUse: another process holds it, or another thread of this one.
    """
    target = Path(folder)
    made = [path for path in (target, *target.parents) if not path.exists()]
    target.mkdir(parents=True, exist_ok=True)
    try:
        stream = _acquired(target)
        try:
            if stream is not None:
                discard_partials(target)
            yield
        finally:
            if stream is not None:
                # While it is held, so that nobody else's is removed.
                (target / LOCK_FILE).unlink(missing_ok=True)
                stream.close()
    finally:
        for path in made:
            with suppress(OSError):
                path.rmdir()  # only if empty


def _acquired(folder: Path) -> BinaryIO | None:
    """The lock's file, held; None where there are no locks."""
    path = folder / LOCK_FILE
    while True:
        try:
            stream = path.open("a+b")
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return None
            raise
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(stream)
            stream.close()
            raise FolderInUse(
                f"{folder} is in use by {holder}, and one process at a time may write into it: "
                "wait until that one is done, or take another folder"
            ) from None
        except OSError as error:
            stream.close()
            if error.errno in _NO_LOCKS:
                return None
            raise
        if _is_at(stream, path):
            stream.truncate(0)
            stream.write(f"process {os.getpid()} on {socket.gethostname()}".encode())
            stream.flush()
            return stream
        stream.close()  # whoever held it removed it meanwhile: take the new one


def _is_at(stream: BinaryIO, path: Path) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(stream.fileno()), path.stat())
    return False


def _holder(stream: BinaryIO) -> str:
    stream.seek(0)
    return stream.read(200).decode("utf-8", errors="replace") or "another process"


__all__ = ["LOCK_FILE", "FolderInUse", "locked"]
