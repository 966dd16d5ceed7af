"""Blocks of recorded steps: what happens to their files."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from mbrl_agents.data.steps import StepStore

FIELDS = {"x": ((2,), np.float32)}


def filled(folder, steps, size=80):
    store = StepStore(FIELDS, 1, size, folder)
    for step in range(steps):
        store.write(0, step, {"x": np.full(2, step)})
    return store


def test_a_name_is_not_used_again_where_files_were_removed(tmp_path):
    store = filled(tmp_path / "a", 20)
    used = set(store.files()["files"].values())
    shutil.rmtree(tmp_path / "a")
    for step in range(20, 40):
        store.write(0, step, {"x": np.full(2, step)})
    names = {path.name for path in (tmp_path / "a").iterdir()}
    assert names
    assert not names & used
    with pytest.raises(FileNotFoundError, match="was removed"):
        store.files()


def test_steps_move_into_memory_and_elsewhere(tmp_path):
    store = filled(tmp_path / "a", 30)
    for folder in (None, tmp_path / "b"):
        moved = store.copied_to(folder)
        assert moved.folder == folder
        assert np.array_equal(moved.read(0, 0, 30)["x"], store.read(0, 0, 30)["x"])
