"""Progress as lines of text, for logs, pipes and notebooks."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

EVERY = 10.0
"""Seconds between lines."""


class ProgressLines:
    """Counts, and writes a line at the beginning, every few seconds, and at the end.

    Args:
        write: takes a line.
        label: what is done.
        total: how many there will be; None where nobody knows.
        every: seconds between lines.
        clock: gives seconds.
    """

    def __init__(
        self,
        write: Callable[[str], None],
        label: str,
        total: float | None = None,
        *,
        every: float = EVERY,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.write, self.label, self.total, self.every, self.clock = (
            write, label, total, every, clock,
        )  # fmt: skip
        self.completed = 0.0
        self.text = ""
        self._written: float | None = None
        self._last = ""

    def __call__(
        self,
        advance: float = 1,
        completed: float | None = None,
        total: float | None = None,
        text: str | None = None,
        label: str | None = None,
        now: bool = False,
    ) -> None:
        """Take in how far it is.

        Args:
            advance: how many more are done; left out where ``completed`` says how many are.
            total, text, label: what changed.
            now: write a line although the last one is recent.
        """
        self.completed = self.completed + advance if completed is None else completed
        self.total = self.total if total is None else total
        self.text = self.text if text is None else text
        self.label = label or self.label
        due = self._written is None or self.clock() - self._written >= self.every
        if now or due or (self.total is not None and self.completed >= self.total):
            self._line()

    def _line(self) -> None:
        of = "" if self.total is None else f"/{self.total:.0f}"
        line = f"{self.label} {self.completed:.0f}{of} {self.text}".rstrip()
        if line != self._last:
            self.write(line)
            self._last, self._written = line, self.clock()


def on_stdout(line: str) -> None:
    """Write a line where Stable-Baselines3's ``verbose=1`` writes: on the standard output."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


__all__ = ["EVERY", "ProgressLines", "on_stdout"]
