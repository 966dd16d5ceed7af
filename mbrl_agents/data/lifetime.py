"""Worker processes that end when whoever started them is gone, however that ended.

A killed process cannot tell its workers.  They notice by themselves: the operating system closes a
pipe whose other end only the parent holds.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from multiprocessing import parent_process
from multiprocessing.connection import wait

PATIENCE = 10.0
"""Seconds that a process which was asked to end has for it."""


def end_with_parent() -> None:
    """Of a process that `multiprocessing` started: end at once when its parent is gone."""
    parent = parent_process()
    if parent is None:
        return

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()


def end_with_pipe(pipe: int, patience: float = PATIENCE) -> None:
    """End when a pipe that the parent holds closes.

    SIGTERM comes first, so that this process saves what is finished.

    Args:
        pipe: file descriptor of the end that is read.
        patience: seconds until it ends whatever it does.
    """

    def watch() -> None:
        # Not through a file object, whose lock a waiting thread would hold until the very end.
        while os.read(pipe, 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(patience)
        os._exit(1)

    threading.Thread(target=watch, name="end-with-pipe", daemon=True).start()


__all__ = ["PATIENCE", "end_with_parent", "end_with_pipe"]
