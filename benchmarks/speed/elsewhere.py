"""A reference in a process of its own, clear of what the rest of this program sets."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, TypeVar

Self = TypeVar("Self", bound="Elsewhere")

_MESA_THREADS = os.environ.get("LP_NUM_THREADS")
"""As the user set it; our renderers set it where the user did not."""

Build = Callable[..., Callable[[str, Any], float]]
"""Builds the reference, and gives what does a piece of work and says how many seconds it took."""


class Elsewhere:
    """Builds a reference in a new process, and asks it for work.

    Args:
        build: importable by name.
        *arguments: of ``build``.
    """

    def __init__(self, build: Build, *arguments: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(other, _MESA_THREADS, build, *arguments)
        )
        self._process.start()
        other.close()
        self._pipe.recv()  # built

    def ask(self, work: str, values: Any = None) -> float:
        """Seconds that a piece of work takes."""
        self._pipe.send((work, values))
        return float(self._pipe.recv())

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process.is_alive():
            self._pipe.send(("stop", None))
            self._process.join(timeout=20)
        self._process.terminate()
        self._pipe.close()


def _serve(pipe: Connection, mesa_threads: str | None, build: Build, *arguments: Any) -> None:
    if mesa_threads is None:
        os.environ.pop("LP_NUM_THREADS", None)
    work_on = build(*arguments)
    pipe.send("built")
    while True:
        work, values = pipe.recv()
        if work == "stop":
            break
        pipe.send(work_on(work, values))
    os._exit(0)  # robosuite complains about its OpenGL context when it is taken down


__all__ = ["Elsewhere"]
