"""Progress where there is no terminal."""

from __future__ import annotations

import pytest

from mbrl_agents.data.collect import Collection, collect
from mbrl_agents.data.progress import ProgressLines


def test_lines_come_now_and_then_and_at_the_end() -> None:
    time, lines = [0.0], list[str]()
    update = ProgressLines(lines.append, "reading", 30, every=10, clock=lambda: time[0])
    for number in range(30):
        time[0] = number * 1.0
        update(text=f"file {number}")
    assert lines == [
        "reading 1/30 file 0",
        "reading 11/30 file 10",
        "reading 21/30 file 20",
        "reading 30/30 file 29",
    ]
    update(completed=5, total=7, label="writing", text="", now=True)
    update(0)
    assert lines[4:] == ["writing 5/7"]


def test_nobody_needs_to_know_how_many_there_will_be() -> None:
    lines = list[str]()
    update = ProgressLines(lines.append, "reading", every=0)
    update()
    update(2)
    assert lines == ["reading 1", "reading 3"]


def test_collecting_in_python_tells_its_progress(capsys: pytest.CaptureFixture[str]) -> None:
    wanted = Collection("toy_reach:ToyReach-v0", episodes=3)
    collect(wanted)
    assert capsys.readouterr().out == ""
    collect(wanted, verbose=1)
    assert capsys.readouterr().out.splitlines() == [
        "collecting 1/3 successful 1",
        "collecting 3/3 successful 3",
    ]
