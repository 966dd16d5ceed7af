"""The speed benchmark's bookkeeping; speeds themselves are never asserted."""

from __future__ import annotations

import json

import pytest

from mbrl_agents.benchmarks.speed import control_suite, env, gpu, memory, planning, runner, training
from mbrl_agents.benchmarks.speed.rows import SpeedRow, Unavailable, compared, interleaved


def test_rows_are_medians_and_ratios(tmp_path):
    times = [(0.001, 0.002), (0.002, 0.008), (0.009, 0.004)]
    row = compared("x", times, 10, "note")
    assert (row.ours, row.reference, row.ratio, row.rounds) == (0.2, 0.4, 2.0, 3)
    missing = SpeedRow("y", None, None, "ms", None, 0, "not there")
    table = runner.speed_table([row, missing])
    assert "| x | 0.20 ms | 0.40 ms | 2.00x | note |" in table
    assert "| y | - | - | - | not there |" in table
    stored = json.loads(runner.write_speed(tmp_path, [row, missing]).read_text())
    assert [r["id"] for r in stored["rows"]] == ["x", "y"]
    assert stored["machine"]


def test_the_ratio_is_taken_within_rounds():
    """A round in which the machine was busy slows both sides of it."""
    row = compared("x", [(1.0, 4.0), (5.0, 20.0), (1.0, 4.0), (1.0, 20.0)], 1, "")
    assert row.ratio == 4.0


def test_both_sides_are_played_in_turn_from_the_same_start():
    calls = []

    def play(name, seconds):
        calls.append(name)
        return seconds

    times = interleaved(
        lambda: play("ours", 1.0),
        lambda: play("reference", 2.0),
        lambda: calls.append("restart"),
        rounds=3,
    )
    assert calls == ["restart", "ours", "reference"] * 4
    assert times == [(1.0, 2.0)] * 3, "the first round only warms up"


def test_rows_are_chosen_by_name_and_told_one_by_one(monkeypatch):
    def measure(name):
        if name == "b":
            raise Unavailable("nothing to measure")
        return compared(name, [(0.001, 0.003)], 1, "fake")

    monkeypatch.setattr(env, "ROWS", dict.fromkeys("abc", measure))
    for module in (control_suite, planning, training, memory, gpu):
        monkeypatch.setattr(module, "ROWS", {})
    told = []
    rows = runner.run_speed(told.append)
    assert [row.id for row in rows] == ["a", "b", "c"]
    assert told == rows
    assert (rows[1].ratio, rows[1].note) == (None, "nothing to measure")
    assert [row.id for row in runner.run_speed(only=["c", "a"])] == ["a", "c"]
    with pytest.raises(ValueError, match="valid: a, b, c"):
        runner.run_speed(only=["d"])


def test_rows_that_need_official_assets_say_so_where_there_are_none(monkeypatch):
    def none(kind, **_):
        raise FileNotFoundError(f"no {kind} assets")

    monkeypatch.setattr(env, "resolve_assets", none)
    rows = runner.run_speed(only=["image_step_official", "reset_image"])
    assert [row.note for row in rows] == ["no official assets", "no primitive assets"]
    assert all(row.ratio is None for row in rows)
