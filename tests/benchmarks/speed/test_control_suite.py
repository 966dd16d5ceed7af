"""The row of the Control Suite, at its smallest."""

from __future__ import annotations

import pytest

from mbrl_agents.benchmarks.speed import control_suite, runner


def test_images_are_measured_beside_dm_controls(monkeypatch):
    pytest.importorskip("dm_control", reason='needs dm_control: pip install "mbrl-agents[dmc]"')
    monkeypatch.setattr(control_suite, "STEPS", 5)
    monkeypatch.setattr("mbrl_agents.benchmarks.speed.rows.ROUNDS", 3)
    (row,) = runner.run_speed(only=["dmc_pixels"])
    assert row.rounds == 3
    assert row.ratio is not None
    assert row.ratio > 4
    assert "64x64 walker walk" in row.note


def test_the_row_is_open_where_dm_control_is_missing(monkeypatch):
    def refuse(env_id, kwargs):
        raise ImportError("dm_control is not there")

    monkeypatch.setattr(control_suite, "make_env", refuse)
    (row,) = runner.run_speed(only=["dmc_pixels"])
    assert (row.ratio, row.note) == (None, "dm_control is not there")
