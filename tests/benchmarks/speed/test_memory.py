"""The rows about memory: what they count, on few steps and in this process."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
from memory_probe import fixed_growth, set_sizes

from mbrl_agents.benchmarks.speed import memory, runner
from mbrl_agents.benchmarks.speed.rows import Unavailable

FEW = {"STEPS": 3000, "RECORDED": 3300, "READ": 3000, "BATCHES": 5}
IMAGES_MB = FEW["STEPS"] * 64 * 64 * 3 / 1e6


def test_an_array_of_images_counts_and_files_do_not(tmp_path, monkeypatch):
    for name, value in FEW.items():
        monkeypatch.setattr(memory, name, value)
    memory._write_episodes(tmp_path / "data")
    # A process of their own: what others freed in this one would be taken without growth.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, initializer=set_sizes, initargs=(FEW,)) as pool:
        for growth, folder in (
            (memory.replay_growth, tmp_path / "replay"),
            (memory.dataset_growth, tmp_path / "data"),
        ):

            def measure(plain, growth=growth, folder=folder):
                return pool.submit(growth, str(folder), plain).result()

            measure(False)  # what is imported and decoded once
            assert measure(False) < IMAGES_MB / 2
            assert measure(True) > IMAGES_MB * 0.9


def test_a_row_is_measured_in_processes_of_its_own(monkeypatch):
    row = memory._row(fixed_growth, False, "nothing", "memory_nothing")
    assert (row.ours, row.reference, row.ratio, row.unit) == (2.0, 8.0, 4.0, "MB")
    assert "| memory_nothing | 2.00 MB | 8.00 MB | 4.00x |" in runner.speed_table([row])
    monkeypatch.setattr(memory, "ACCOUNT", Path("/none"))
    with pytest.raises(Unavailable, match="Linux"):
        memory.ROWS["memory_replay"]("memory_replay")
