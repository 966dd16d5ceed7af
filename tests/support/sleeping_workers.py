"""Worker processes that sleep; started as a script it tells their ids and waits for them."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any


def sleep(cache: Any, folder: str) -> None:
    """A job that says which process works on it, and does so for minutes."""
    with open(os.path.join(folder, str(os.getpid())), "w", encoding="utf-8"):
        pass
    time.sleep(300)


if __name__ == "__main__":
    # Whoever starts this in the background of a shell lets it ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    from sleeping_workers import sleep as job

    from mbrl_agents.data.parallel import ordered_map

    list(ordered_map(job, [sys.argv[1]] * 2, workers=2))
