"""One process at a time writes into a folder; a second one is refused with a sentence.

`locked` holds a folder that grows, `atomic_folder` writes one as a whole or not at all.  A lock is
the operating system's (``flock``) on a file: it ends with the process that holds it, however that
ends.  The file of `locked` tells who holds it, and is removed on release.
"""

from __future__ import annotations

import errno
import fcntl
import glob
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from mbrl_agents.data.files import discard_partials
from mbrl_agents.errors import UsageError

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
        UsageError: it cannot be made.
    """
    target = Path(folder)
    made = [path for path in (target, *target.parents) if not path.exists()]
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot create the folder {target}: {error.strerror}") from error
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


@contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary folder beside ``path`` that becomes it when the block ends without an error.

    With an error nothing of it stays.  What a killed process left of an earlier attempt goes first.

    Raises:
        FileExistsError: where there is something at ``path`` already, other than an empty folder.
        FolderInUse: another process writes it.
    """
    target = Path(path)
    taken = f"{target} exists already; take another folder, or remove it"
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise FileExistsError(taken)
    target.parent.mkdir(parents=True, exist_ok=True)
    for partial in target.parent.glob(f".{glob.escape(target.name)}.partial-????????"):
        with _held(partial, target):
            shutil.rmtree(partial, ignore_errors=True)
    temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.partial-"))
    try:
        with _held(temporary, target):
            yield temporary
            mask = os.umask(0)
            os.umask(mask)
            temporary.chmod(0o777 & ~mask)
            try:
                os.replace(temporary, target)  # over an empty folder too
            except OSError as error:
                if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                    raise FileExistsError(taken) from None
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def _held(partial: Path, target: Path) -> Iterator[None]:
    """Hold a temporary folder of `atomic_folder`, which another process may be filling."""
    refused = FolderInUse(
        f"another process writes {target}: wait until that one is done, or take another folder"
    )
    try:
        folder = os.open(partial, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:  # that process has just ended, or taken this one for a dead one's
        raise refused from None
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise refused from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
        if not partial.exists():
            raise refused
        yield
    finally:
        os.close(folder)


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


__all__ = ["LOCK_FILE", "FolderInUse", "atomic_folder", "locked"]
