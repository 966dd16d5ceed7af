"""A peer's work in a process of its own, and how it is asked for.

``MBRL_PEERS_PYTHON`` names the interpreter that has the peers; this one by default.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType

import torch

KEEPING = {"MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1)}
"""glibc's settings for it."""

SCRIPT = Path(__file__).with_name("peers.py").resolve()


class Missing(Exception):
    """A peer is not installed, or does not run here; the message says why."""


class Peer:
    """A peer's work in a process of its own.

    Args:
        name: a key of `peers.PEERS`.
        keeps: whether it keeps freed memory, as commands of ours do (`mbrl_agents.allocator`);
            as it ships, without.

    Raises:
        Missing: where it cannot be built.

    Attributes:
        versions: of the packages it runs on.
    """

    def __init__(self, name: str, *, keeps: bool = False) -> None:
        python = os.environ.get("MBRL_PEERS_PYTHON") or sys.executable
        # Isolated: the folder of this script holds names that others may import.
        command = [python, "-I", str(SCRIPT), name, str(torch.get_num_threads())]
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, **(KEEPING if keeps else {})},
            )
        except OSError as error:
            raise Missing(f"{python} does not start: {error.strerror}") from error
        state, _, self.versions = self._read().partition(" ")
        if state != "ready":
            self.close()
            raise Missing(self.versions or f"{python} ended before it was ready")

    def run(self, times: int = 1) -> float:
        """Seconds that the work takes ``times`` times."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{times}\n")
        self._process.stdin.flush()
        answer = self._read()
        if not answer:
            raise RuntimeError("the peer's process ended")
        return float(answer)

    def close(self) -> None:
        """End the process."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        self._process.terminate()
        self._process.wait()

    def __enter__(self) -> Peer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


__all__ = ["Missing", "Peer"]
