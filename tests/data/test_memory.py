"""Recorded images stay out of anonymous memory, however many there are."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from memory_probe import IMAGE, IMAGE_MB, fill_buffer, fresh, read_dataset

from mbrl_agents.data.dataset import EpisodeWriter, read_episodes
from mbrl_agents.data.episode import Episode

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not Path("/proc/self/status").is_file(), reason="reads Linux's account of memory"
    ),
]

BOUND = 40.0
"""MB: batches and buffers, but never the data."""

EPISODES, STEPS = 32, 255


def test_own_experience_in_files_takes_no_memory_as_it_fills_and_wraps(tmp_path):
    steps, capacity = 24_000, 16_384
    assert capacity * IMAGE_MB > 5 * BOUND
    (grown,) = fresh(fill_buffer, [(str(tmp_path), steps, capacity)])
    assert grown["most"] < BOUND, grown
    assert grown["after"] < BOUND, grown


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """100 MB of images in four shards."""
    folder = tmp_path_factory.mktemp("memory") / "data"
    random = np.random.default_rng(0)
    base = random.integers(0, 256, IMAGE, np.uint8)
    with EpisodeWriter(folder, shard_size=8) as writer:
        for number in range(EPISODES):
            shift = (np.arange(STEPS + 1) + 31 * number).astype(np.uint8)
            actions = random.uniform(-1, 1, (STEPS, 7)).astype(np.float32)
            writer.append(
                Episode(
                    {"image": base + shift[:, None, None, None]},
                    actions,
                    actions,
                    np.zeros(STEPS, np.float32),
                    terminated=True,
                    success=True,
                )
            )
    return folder


def test_a_dataset_takes_no_memory_when_read_and_drawn_from(folder):
    assert EPISODES * STEPS * IMAGE_MB > 2.4 * BOUND
    (grown,) = fresh(read_dataset, [(str(folder), 300)])
    assert grown["read"] < BOUND, grown
    assert grown["after"] < BOUND, grown


def test_processes_that_read_at_once_share_what_one_decoded(folder):
    shutil.rmtree(folder / ".arrays", ignore_errors=True)
    found = fresh(read_dataset, [(str(folder), 100)] * 2)
    assert all(max(grown["read"], grown["after"]) < BOUND for grown in found), found
    assert found[0]["digest"] == found[1]["digest"]
    files = [path for path in (folder / ".arrays").iterdir() if path.suffix == ".bin"]
    taken = sum(path.stat().st_size for path in files)
    assert taken == sum(
        sum(array.nbytes for array in (*e.observations.values(), e.actions, e.labels, e.rewards))
        for e in read_episodes(folder)
    )
