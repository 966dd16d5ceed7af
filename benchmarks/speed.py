"""Speed beside a reference, measured interleaved in one run: ratios, not claims.

Each row runs ours and the reference in turns, several rounds, and reports medians, so that
whatever else the machine does hits both alike.  The rows of the environment are in
`speed_env`.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from mbrl_agents.data.files import write_text

ROUNDS = 7


@dataclass(frozen=True)
class SpeedRow:
    """One comparison.

    Attributes:
        id: what was measured.
        ours, reference: median milliseconds, None where it could not be measured.
        unit: of both.
        ratio: reference over ours: how many times faster ours is.
        rounds: how often both were measured in turn.
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


def run_speed(
    on_row: Callable[[SpeedRow], None] | None = None, only: Sequence[str] | None = None
) -> list[SpeedRow]:
    """Measure every row, or those named in ``only``.

    Raises:
        ValueError: for a row that there is not; the message lists those there are.
    """
    from mbrl_agents.benchmarks import speed_env, speed_planning, speed_training

    measures = {**speed_env.ROWS, **speed_planning.ROWS, **speed_training.ROWS}
    unknown = set(only or ()) - set(measures)
    if unknown:
        raise ValueError(f"unknown rows {sorted(unknown)}; valid: {', '.join(measures)}")
    rows = []
    for name, measure in measures.items():
        if only is not None and name not in only:
            continue
        try:
            row = measure(name)
        except Unavailable as reason:
            row = SpeedRow(name, None, None, "ms", None, 0, str(reason))
        rows.append(row)
        if on_row is not None:
            on_row(row)
    return rows


def write_speed(folder: str | Path, rows: list[SpeedRow]) -> Path:
    """Write ``summary.json`` (``machine``, ``rows``) into ``folder`` as a whole."""
    target = Path(folder) / "summary.json"
    content = {"machine": machine(), "rows": [asdict(row) for row in rows]}
    write_text(target, json.dumps(content, indent=2) + "\n")
    return target


def speed_table(rows: list[SpeedRow]) -> str:
    """The rows as a Markdown table."""
    lines = ["| row | ours | reference | ratio | |", "|---|---:|---:|---:|---|"]
    for row in rows:
        if row.ours is None or row.reference is None or row.ratio is None:
            lines.append(f"| {row.id} | - | - | - | {row.note} |")
        else:
            lines.append(
                f"| {row.id} | {row.ours:.2f} {row.unit} | {row.reference:.2f} {row.unit} "
                f"| {row.ratio:.1f}x | {row.note} |"
            )
    return "\n".join(lines)


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
