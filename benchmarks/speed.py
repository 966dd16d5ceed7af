"""Speed beside a reference, measured interleaved in one run: ratios, not claims.

Rows of time run ours and the reference in turns, several rounds, and report medians of either and
of the rounds' ratios, so that whatever else the machine does hits both alike.  What has no such
reference (a bar, a roof, memory, success) says so in its note.  `measures` says where rows are.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mbrl_agents.benchmarks.runner import Event
from mbrl_agents.data.files import write_text

ROUNDS = 7
_DECIMALS = {"%": 0}  # of a figure in the table, else two


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


def measures(
    folder: str | Path | None = None,
    *,
    workers: int = 2,
    fresh: bool = False,
    on_event: Callable[[Event], None] | None = None,
) -> dict[str, Measure]:
    """What measures each row, by its id, in the order of the table.

    Args:
        folder: of the speeds.  Rows that run a whole suite keep its jobs there, and are left out
            where there is none.
        workers, fresh, on_event: of such a suite, see `mbrl_agents.benchmarks.runner.run_suite`.
    """
    from mbrl_agents.benchmarks import (
        speed_env,
        speed_gpu,
        speed_memory,
        speed_planning,
        speed_success,
        speed_training,
    )

    found: dict[str, Measure] = {}
    for module in (speed_env, speed_planning, speed_training, speed_memory, speed_gpu):
        found |= module.ROWS
    if folder is not None:
        found |= speed_success.rows(folder, workers=workers, fresh=fresh, on_event=on_event)
    return found


def check_rows(only: Sequence[str] | None, known: Collection[str]) -> None:
    """Refuse a choice of rows that names others than ``known`` or none; None chooses all.

    Raises:
        ValueError: the message lists those there are.
    """
    unknown = sorted(set(only or ()) - set(known))
    if unknown:
        raise ValueError(f"unknown rows {unknown}; valid: {', '.join(known)}")
    if only is not None and not only:
        raise ValueError(f"no row is named; valid: {', '.join(known)}")


def run_speed(
    on_row: Callable[[SpeedRow], None] | None = None,
    only: Sequence[str] | None = None,
    folder: str | Path | None = None,
    *,
    workers: int = 2,
    fresh: bool = False,
    on_event: Callable[[Event], None] | None = None,
) -> list[SpeedRow]:
    """Measure every row, or those named in ``only``.

    Args:
        on_row: told of every row as soon as it is measured.
        folder, workers, fresh, on_event: see `measures`.

    Raises:
        ValueError: for a row that there is not; the message lists those there are.
    """
    known = measures(folder, workers=workers, fresh=fresh, on_event=on_event)
    check_rows(only, known)
    rows = []
    for name, measure in known.items():
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


def write_speed(folder: str | Path, rows: Sequence[SpeedRow]) -> Path:
    """Write ``summary.json`` (``machine``, ``rows``) into ``folder`` as a whole.

    Rows that the file holds of the same machine stay, but for those measured again; all are in
    the order of `measures`, and those it does not list come last.
    """
    target, here = Path(folder) / "summary.json", machine()
    found: dict[str, dict[str, Any]] = {}
    if target.is_file():
        before = json.loads(target.read_text(encoding="utf-8"))
        if before["machine"] == here:
            found = {row["id"]: row for row in before["rows"]}
    found.update((row.id, asdict(row)) for row in rows)
    places = {name: place for place, name in enumerate(measures(folder))}
    order = sorted(found, key=lambda name: places.get(name, len(places)))
    content = {"machine": here, "rows": [found[name] for name in order]}
    write_text(target, json.dumps(content, indent=2) + "\n")
    return target


def speed_table(rows: Sequence[SpeedRow]) -> str:
    """The rows as a Markdown table."""
    lines = ["| row | ours | reference | ratio | |", "|---|---:|---:|---:|---|"]
    for row in rows:
        ours, reference = _figure(row.ours, row.unit), _figure(row.reference, row.unit)
        ratio = "-" if row.ratio is None else f"{row.ratio:.2f}x"
        lines.append(f"| {row.id} | {ours} | {reference} | {ratio} | {row.note} |")
    return "\n".join(lines)


def _figure(value: float | None, unit: str) -> str:
    return "-" if value is None else f"{value:.{_DECIMALS.get(unit, 2)}f} {unit}"


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
