"""What a process does with memory it frees."""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's mallopt
_NEVER, _LARGE = 2**31 - 1, 2**30


def keep_freed_memory() -> bool:
    """Keep what is freed for the next allocation rather than return it to the system.

    Every step of training or planning frees and takes the same tens of megabytes again; glibc
    gives large blocks back each time, and the system then clears every page of them anew, which
    costs a training step on a CPU some 5 % of its time.  The process stays as large as it was at
    its largest.  For programs to call, not for libraries.

    Returns:
        Whether the C library knows how to.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # not glibc
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _LARGE)) and bool(mallopt(_TRIM_THRESHOLD, _NEVER))


__all__ = ["keep_freed_memory"]
