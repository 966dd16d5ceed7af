"""Which rows there are, measuring them, and the table they make."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mbrl_agents.benchmarks.runner import Event
from mbrl_agents.benchmarks.speed.rows import Measure, SpeedRow, Unavailable, machine
from mbrl_agents.data.files import write_text

_DECIMALS = {"%": 0}  # of a figure in the table, else two


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
    from mbrl_agents.benchmarks.speed import (
        control_suite,
        env,
        gpu,
        memory,
        planning,
        success,
        training,
    )

    found: dict[str, Measure] = {}
    for module in (env, control_suite, planning, training, memory, gpu):
        found |= module.ROWS
    if folder is not None:
        found |= success.rows(folder, workers=workers, fresh=fresh, on_event=on_event)
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


__all__ = ["check_rows", "measures", "run_speed", "speed_table", "write_speed"]
