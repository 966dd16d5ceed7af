"""One comparison of speed, and how both of its sides are timed in turn."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROUNDS = 7


@dataclass(frozen=True)
class SpeedRow:
    """One comparison.

    Attributes:
        id: what was measured.
        ours, reference: in ``unit``, None where it could not be measured; medians where nothing
            else is said.
        unit: of both, such as "ms", "MB" or "%".
        ratio: how many times better ours is: reference over ours for what should be small (time,
            memory), ours over reference for what should be large (success); None where the
            divisor is 0.
        rounds: how often both were measured: rounds in turn, or actions or episodes of each.
        note: the reference, or why the row is missing.
    """

    id: str
    ours: float | None
    reference: float | None
    unit: str
    ratio: float | None
    rounds: int
    note: str


class Unavailable(Exception):
    """A row cannot be measured on this machine; the message says why."""


Measure = Callable[[str], SpeedRow]
"""Measures the row whose id it is called with; `Unavailable` where that cannot be."""


def machine() -> str:
    """The processor in a few words."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                name = line.split(":", 1)[1].strip()
                break
    return f"{name}, {os.cpu_count()} cores"


def timed(function: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def interleaved(
    ours: Callable[[], float],
    reference: Callable[[], float],
    restart: Callable[[], object],
    rounds: int | None = None,
) -> list[tuple[float, float]]:
    """What both return in each round, seconds; one round before the others only warms up.

    Args:
        ours, reference: do their work and return how long it took.
        restart: called before every round.
        rounds: to be counted, `ROUNDS` by default.
    """
    times = []
    for _ in range((ROUNDS if rounds is None else rounds) + 1):
        restart()
        mine = ours()
        times.append((mine, reference()))
    return times[1:]


def compared(name: str, times: list[tuple[float, float]], per: int, note: str) -> SpeedRow:
    """The row of ``times`` (ours and the reference's, seconds) that did ``per`` things each.

    The ratio is the median of the rounds' own ratios: both sides of a round meet the same load.
    """
    ours = 1e3 * statistics.median(mine for mine, _ in times) / per
    reference = 1e3 * statistics.median(other for _, other in times) / per
    ratio = statistics.median(other / mine for mine, other in times)
    return SpeedRow(name, ours, reference, "ms", ratio, len(times), note)
