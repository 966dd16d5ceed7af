"""Speed beside a reference, measured interleaved in one process: ratios, not claims.

Each row runs ours and the reference in turns, several rounds, and reports medians, so that
whatever else the machine does hits both alike.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mbrl_agents.data.files import write_text

ROUNDS = 7
STEPS = 40


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


def run_speed(on_row: Callable[[SpeedRow], None] | None = None) -> list[SpeedRow]:
    """Measure every row."""
    rows = []
    for row in _rows():
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


def _rows() -> Iterator[SpeedRow]:
    for kind in ("primitive", "official"):
        yield _pose_step(kind)


def _pose_step(kind: str) -> SpeedRow:
    """One control step (50 ms) with pose observation and success, against LIBERO's own."""
    from mbrl_agents.envs.libero.assets import resolve_assets
    from mbrl_agents.envs.libero.runtime import libero_envs, seeded_numpy
    from mbrl_agents.envs.libero.simulation import Simulation
    from mbrl_agents.envs.libero.suites import SUITES

    name, suite, task = f"pose_step_{kind}", SUITES["libero_spatial"], 0
    try:
        assets = resolve_assets(kind, suite=suite.name)
    except FileNotFoundError as error:
        return SpeedRow(name, None, None, "ms", None, 0, str(error))
    ours = Simulation(suite, task, assets.path)  # also points LIBERO to these assets
    with seeded_numpy(0):
        stock: Any = libero_envs().env_wrapper.ControlEnv(
            bddl_file_name=str(suite.bddl_file(task)),
            use_camera_obs=False,
            has_offscreen_renderer=False,
            ignore_done=True,
        )
        stock.reset()
    actions = np.random.default_rng(0).uniform(-0.5, 0.5, (STEPS, 7))

    def play_ours() -> None:
        for action in actions:
            ours.step(action)
            ours.success()

    def play_stock() -> None:
        for action in actions:
            stock.step(action)

    def restart() -> None:
        ours.reset_to(0)
        stock.set_init_state(ours.init_states[0])

    times = _interleaved(play_ours, play_stock, restart)
    stock.close()
    ours.close()
    return _row(name, times, "ms", STEPS, f"ControlEnv.step, {kind} assets")


def _interleaved(
    ours: Callable[[], None], reference: Callable[[], None], restart: Callable[[], None]
) -> list[tuple[float, float]]:
    """Seconds of both in each round; the first round only warms up."""
    times = []
    for _ in range(ROUNDS + 1):
        pair = []
        restart()
        for play in (ours, reference):
            began = time.perf_counter()
            play()
            pair.append(time.perf_counter() - began)
        times.append((pair[0], pair[1]))
    return times[1:]


def _row(name: str, times: list[tuple[float, float]], unit: str, per: int, note: str) -> SpeedRow:
    ours = 1e3 * statistics.median(t[0] for t in times) / per
    reference = 1e3 * statistics.median(t[1] for t in times) / per
    return SpeedRow(name, ours, reference, unit, reference / ours, len(times), note)
