"""The speed benchmark's bookkeeping; speeds themselves are never asserted."""

import json

from mbrl_agents.benchmarks import speed


def test_rows_are_medians_and_ratios(tmp_path):
    row = speed._row("x", [(0.001, 0.002), (0.002, 0.008), (0.009, 0.004)], "ms", 10, "note")
    assert (row.ours, row.reference, row.ratio, row.rounds) == (0.2, 0.4, 2.0, 3)
    missing = speed.SpeedRow("y", None, None, "ms", None, 0, "not there")
    table = speed.speed_table([row, missing])
    assert "| x | 0.20 ms | 0.40 ms | 2.0x | note |" in table
    assert "| y | - | - | - | not there |" in table
    stored = json.loads(speed.write_speed(tmp_path, [row, missing]).read_text())
    assert [r["id"] for r in stored["rows"]] == ["x", "y"]
    assert stored["machine"]


def test_both_sides_are_played_in_turn_from_the_same_start():
    calls = []
    times = speed._interleaved(
        lambda: calls.append("ours"),
        lambda: calls.append("reference"),
        lambda: calls.append("restart"),
    )
    assert calls == ["restart", "ours", "reference"] * (speed.ROUNDS + 1)
    assert len(times) == speed.ROUNDS, "the first round only warms up"
