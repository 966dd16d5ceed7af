"""Decoded arrays beside a folder's shards: made once, followed, and never in the way."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path

import numpy as np
import pytest

from mbrl_agents.data import dataset
from mbrl_agents.data.arrays import ARRAYS_FOLDER
from mbrl_agents.data.dataset import count_episodes, read_episodes, write_episodes
from mbrl_agents.data.episode import Episode


def make(steps: int, key: str = "image") -> Episode:
    rng = np.random.default_rng(steps)
    return Episode(
        observations={
            "pose": rng.normal(size=(steps + 1, 7)).astype(np.float32),
            key: rng.integers(0, 256, (steps + 1, 6, 4, 3), dtype=np.uint8),
        },
        actions=rng.normal(size=(steps, 2)).astype(np.float32),
        labels=np.full((steps, 2), np.nan, np.float32),
        rewards=rng.normal(size=steps).astype(np.float32),
        terminated=steps % 2 == 0,
        success=steps % 3 == 0,
        info={"seed": steps, "nothing": None},
    )


def same(found: list[Episode], steps: list[int], key: str = "image") -> bool:
    """Whether these are the episodes that `make` makes."""
    if [len(episode) for episode in found] != steps:
        return False
    pairs = [(a, make(len(a), key)) for a in found]
    return all(
        list(a.observations) == list(b.observations)
        and all(np.array_equal(a.observations[k], b.observations[k]) for k in b.observations)
        and all(a.observations[k].dtype == b.observations[k].dtype for k in b.observations)
        and np.array_equal(a.actions, b.actions)
        and np.array_equal(a.labels, b.labels, equal_nan=True)
        and np.array_equal(a.rewards, b.rewards)
        and (a.terminated, a.success, a.info) == (b.terminated, b.success, b.info)
        for a, b in pairs
    )


@pytest.fixture
def decoded(monkeypatch) -> list[str]:
    """Names of the shards that were decoded."""
    names: list[str] = []
    decode = dataset._decoded

    def counted(shard):
        names.append(shard.name)
        return decode(shard)

    monkeypatch.setattr(dataset, "_decoded", counted)
    return names


def arrays(folder: Path) -> dict[str, int]:
    return {p.name: p.stat().st_size for p in (folder / ARRAYS_FOLDER).iterdir()}


def test_a_shard_is_decoded_once_and_new_ones_are_added(tmp_path, decoded):
    write_episodes(tmp_path, [make(3), make(4)])
    for _ in range(3):
        assert same(read_episodes(tmp_path), [3, 4])
    write_episodes(tmp_path, [make(5)])
    early = read_episodes(tmp_path, limit=2)
    assert decoded == ["train-00000.parquet"], "the limit needs no other"
    assert same(read_episodes(tmp_path), [3, 4, 5])
    assert same(read_episodes(tmp_path, limit=1), [3])
    assert same(early, [3, 4])
    assert decoded == ["train-00000.parquet", "train-00001.parquet"]
    assert read_episodes(tmp_path, limit=0) == []


def test_a_changed_or_removed_shard_is_not_read_from_before(tmp_path, decoded):
    write_episodes(tmp_path, [make(3)])
    write_episodes(tmp_path, [make(4)])
    before = read_episodes(tmp_path)
    first, second = sorted((tmp_path / "data").iterdir())
    write_episodes(tmp_path / "other", [make(6)])
    os.replace(next((tmp_path / "other" / "data").iterdir()), second)
    assert same(read_episodes(tmp_path), [3, 6])
    assert same(before, [3, 4]), "what was handed out stays"
    first.unlink()
    assert same(read_episodes(tmp_path), [6])
    rows = 7
    taken = [size for name, size in arrays(tmp_path).items() if name.endswith(".bin")]
    assert max(taken) == rows * 6 * 4 * 3
    assert len(decoded) == 5


def test_arrays_are_read_only_and_can_be_written_to_another_folder(tmp_path):
    write_episodes(tmp_path / "one", [make(3), make(5)])
    found = read_episodes(tmp_path / "one")
    with pytest.raises(ValueError, match="read-only"):
        found[0].rewards[0] = 1.0
    write_episodes(tmp_path / "two", found)
    assert same(read_episodes(tmp_path / "two"), [3, 5])


def test_shards_with_other_observations_stand_beside_each_other(tmp_path):
    for key in ("image", "wrist", "image"):
        write_episodes(tmp_path, [make(4, key)])
    for _ in range(2):
        found = read_episodes(tmp_path)
        for episode, key in zip(found, ("image", "wrist", "image"), strict=True):
            assert same([episode], [4], key)


def _read_and_die(folder: Path) -> None:
    """Be killed with one episode of the last shard decoded and another half."""
    decode = dataset.table_episodes

    def deadly(table):
        for number, episode in enumerate(decode(table)):
            if len(episode) == 6:
                os.kill(os.getpid(), signal.SIGKILL)
            assert number < 2
            yield episode

    dataset.table_episodes = deadly
    read_episodes(folder)


@pytest.mark.parametrize("finished", [0, 1])
def test_a_killed_reader_leaves_nothing_behind(tmp_path, finished):
    write_episodes(tmp_path, [make(3)])
    if finished:
        read_episodes(tmp_path)
    write_episodes(tmp_path, [make(5), make(6)])
    process = multiprocessing.get_context("fork").Process(target=_read_and_die, args=(tmp_path,))
    process.start()
    process.join()
    assert process.exitcode == -9
    (tmp_path / ARRAYS_FOLDER / ".index.json.abcdefgh.partial").write_text("{")
    assert same(read_episodes(tmp_path), [3, 5, 6])
    write_episodes(tmp_path / "whole", [make(3), make(5), make(6)])
    assert same(read_episodes(tmp_path / "whole"), [3, 5, 6])
    left, whole = arrays(tmp_path), arrays(tmp_path / "whole")
    assert left.keys() == whole.keys()
    assert all(left[name] == whole[name] for name in whole if name.endswith(".bin"))


@pytest.mark.parametrize("damage", ["index", "format", "file", "short"])
def test_what_is_damaged_is_decoded_anew(tmp_path, decoded, damage):
    write_episodes(tmp_path, [make(3), make(4)])
    read_episodes(tmp_path)
    place = tmp_path / ARRAYS_FOLDER
    if damage == "index":
        (place / "index.json").write_text("{half")
    elif damage == "format":
        (place / "index.json").write_text('{"format": 0}')
    elif damage == "file":
        (place / "0.bin").unlink()
    else:
        os.truncate(place / "1.bin", 10)
    assert same(read_episodes(tmp_path), [3, 4])
    assert len(decoded) == 2


def test_a_broken_shard_spoils_nothing(tmp_path):
    write_episodes(tmp_path, [make(3)])
    read_episodes(tmp_path)
    before = arrays(tmp_path)
    write_episodes(tmp_path, [make(4)])
    write_episodes(tmp_path, [make(5)])
    shard = max((tmp_path / "data").iterdir())
    shard.write_bytes(shard.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"train-00002\.parquet"):
        read_episodes(tmp_path)
    assert arrays(tmp_path) == before
    assert same(read_episodes(tmp_path, limit=2), [3, 4])


def test_a_folder_that_cannot_be_written_is_read_all_the_same(tmp_path, decoded, monkeypatch):
    write_episodes(tmp_path, [make(3), make(4)])
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    (tmp_path / ARRAYS_FOLDER).write_text("in the way, for root too")
    found = read_episodes(tmp_path)
    assert same(found, [3, 4])
    assert not list(scratch.iterdir()), "nothing is left where the arrays were decoded"
    assert same(found, [3, 4])
    assert len(decoded) == 1


def test_what_its_owner_decoded_serves_who_may_not_write(tmp_path, decoded, monkeypatch):
    write_episodes(tmp_path, [make(3), make(4)])
    read_episodes(tmp_path)
    opened = Path.open

    def read_only(self, mode="r", *args, **kwargs):
        if ARRAYS_FOLDER in self.parts and set(mode) & {"w", "a", "+"}:
            raise PermissionError(f"{self} is read-only")
        return opened(self, mode, *args, **kwargs)

    monkeypatch.setattr(Path, "open", read_only)
    assert same(read_episodes(tmp_path), [3, 4])
    assert len(decoded) == 1
    write_episodes(tmp_path, [make(5)])
    assert same(read_episodes(tmp_path), [3, 4, 5])


def test_other_readers_take_no_notice(tmp_path):
    datasets = pytest.importorskip("datasets")
    folder = tmp_path / "set"
    write_episodes(folder, [make(3), make(4)])
    read_episodes(folder)
    assert count_episodes(folder) == 2
    cache = str(tmp_path / "cache")
    for arguments in (
        {"path": str(folder)},
        {"path": "parquet", "data_dir": str(folder)},
        {"path": "parquet", "data_files": str(folder / "**" / "*.parquet")},
    ):
        rows = datasets.load_dataset(**arguments, split="train", cache_dir=cache)
        assert rows["demo_key"][:] == ["demo_0", "demo_1"]
