"""Generations of a search in a benchmark's folder: read from training logs, written and drawn."""

from __future__ import annotations

import csv

from mbrl_agents.agents.saving import LOG_FILE, append_rows
from mbrl_agents.benchmarks.searches import draw_searches, generations_of, write_searches


def logged(folder):
    folder.mkdir()
    append_rows(folder / LOG_FILE, "vision", {"step": 100, "train/loss": 3.0})
    for generation in (1, 2, 3):
        row = {"step": generation, "return": 10.0 * generation, "return_best": 50.0, "sigma": 0.1}
        if generation == 2:
            row["mean_return"] = 33.5
        named = {k if k == "step" else f"train/{k}": v for k, v in row.items()}
        append_rows(folder / LOG_FILE, "controller", named)
    return folder


def test_generations_are_read_from_the_logs_of_their_phase(tmp_path):
    found = generations_of(logged(tmp_path / "run"))
    assert [entry["generation"] for entry in found] == [1, 2, 3]
    assert [entry["return"] for entry in found] == [10.0, 20.0, 30.0]
    assert [entry.get("mean_return") for entry in found] == [None, 33.5, None]
    assert generations_of(tmp_path / "nothing") == []


def test_a_table_and_a_plot_are_written_where_there_was_a_search(tmp_path):
    search = generations_of(logged(tmp_path / "run"))
    write_searches({"cem": [[]]}, tmp_path / "none")
    assert not (tmp_path / "none").exists()
    write_searches({"cem": [[]], "wm": [search, search]}, tmp_path / "plots", target=300.0)
    with (tmp_path / "plots" / "generations.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    assert [row["training"] for row in rows] == ["0"] * 3 + ["1"] * 3
    assert [row["mean_return"] for row in rows[:3]] == ["", "33.5", ""]
    assert {row["method"] for row in rows} == {"wm"}
    assert (tmp_path / "plots" / "generations.png").stat().st_size > 1000
    (axes,) = draw_searches({"wm": [search]}, target=300.0).axes
    thin, thick, line = axes.get_lines()
    assert thin.get_ydata().tolist() == [10.0, 20.0, 30.0]
    assert (thick.get_xdata().tolist(), thick.get_ydata().tolist()) == ([2], [33.5])
    assert line.get_ydata()[0] == 300.0
