"""What is truncated, mislabelled or corrupt is named, and left out only where that is asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mbrl_agents.data.formats import DamagedData, convert, episodes_of
from mbrl_agents.data.formats.registry import get_format
from recordings import BOWL, cut_short, recorded, write_demonstrations


def two_files(folder: Path, name: str) -> list[Path]:
    """A set of which two files hold an episode each (of minari: one file with two)."""
    folder.mkdir()
    episodes = [recorded(4, images=False), recorded(3, images=False, task_name="other")]
    if name == "columns":
        for episode in episodes:
            get_format(name).write(folder, [episode])
        return sorted((folder / "data").glob("*.parquet"))
    get_format(name).write(folder, episodes)
    pattern = {"libero": "*.hdf5", "lerobot": "data/**/*.parquet", "minari": "data/*.hdf5"}[name]
    return sorted(folder.glob(pattern))


@pytest.mark.parametrize("name", ["columns", "libero", "lerobot"])
def test_a_truncated_file_is_named_and_may_be_left_out(name: str, tmp_path: Path) -> None:
    first, _second = two_files(tmp_path / "set", name)
    cut_short(first)
    with pytest.raises(DamagedData) as error:
        convert(tmp_path / "set", tmp_path / "out", "columns")
    assert first.name in str(error.value)
    assert [p.name for p in tmp_path.iterdir()] == ["set"]  # nothing half-written
    bad: list[DamagedData] = []
    assert convert(tmp_path / "set", tmp_path / "out", "columns", on_bad=bad.append) == 1
    assert [first.name in b.part for b in bad] == [True]
    assert len(list(episodes_of(tmp_path / "out"))) == 1


@pytest.mark.parametrize("name", ["columns", "libero", "lerobot", "minari"])
def test_another_kind_of_file_under_a_name_is_named(name: str, tmp_path: Path) -> None:
    first, *_ = two_files(tmp_path / "set", name)
    first.write_bytes(b"GIF89a, and no episodes")
    with pytest.raises(DamagedData) as error:
        list(episodes_of(tmp_path / "set"))
    where = first.parent if name == "minari" else first
    assert str(where) in error.value.part


def test_damage_after_the_first_episodes_leaves_nothing(tmp_path: Path) -> None:
    _first, second = two_files(tmp_path / "set", "columns")
    cut_short(second)
    with pytest.raises(DamagedData):
        convert(tmp_path / "set", tmp_path / "out", "minari")
    assert [p.name for p in tmp_path.iterdir()] == ["set"]


def test_a_corrupt_page_costs_what_lies_behind_it(tmp_path: Path) -> None:
    first, second = two_files(tmp_path / "set", "columns")
    data = bytearray(first.read_bytes())
    data[40:400] = bytes(360)
    first.write_bytes(bytes(data))
    bad: list[DamagedData] = []
    found = list(episodes_of(tmp_path / "set", on_bad=bad.append))
    assert [str(second) in name for name, _ in found] == [True]
    assert first.name in bad[0].part


def test_episodes_of_another_robot_are_mislabelled(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    other = recorded(3, images=False)
    other = replace(other, actions=other.actions[:, :4], labels=other.labels[:, :4])
    for episode in (recorded(2, images=False), other):
        get_format("columns").write(folder, [episode])
    with pytest.raises(DamagedData, match="4 action numbers, unlike the episodes before it"):
        list(episodes_of(folder))


def test_values_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    episode = recorded(3, images=False)
    pose = episode.observations["pose"].copy()
    pose[1, 2] = np.inf
    get_format("columns").write(tmp_path, [replace(episode, observations={"pose": pose})])
    with pytest.raises(DamagedData, match="'pose' has values that are not finite"):
        list(episodes_of(tmp_path))


def test_columns_of_different_lengths(tmp_path: Path) -> None:
    rows = {"action": [[[0.5] * 7] * 2], "poses": [[[0.1] * 7] * 3], "rewards": [[0.0, 1.0]]}
    pq.write_table(pa.table({**rows, "terminated": [[0.0, 1.0]]}), tmp_path / "x.parquet")
    with pytest.raises(DamagedData, match="columns differ in length"):
        list(episodes_of(tmp_path))
    pq.write_table(pa.table(rows), tmp_path / "x.parquet")
    with pytest.raises(DamagedData, match="no column 'terminated'"):
        list(episodes_of(tmp_path))


def test_a_demonstration_without_its_parts(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    file = tmp_path / f"{BOWL}_demo.hdf5"
    write_demonstrations(file, list(rng.normal(size=(3, 4, 92))), list(rng.uniform(size=(3, 4, 7))))
    with h5py.File(file, "a") as opened:
        del opened["data/demo_0/rewards"]
        del opened["data/demo_1/obs/agentview_rgb"]
        opened["data/demo_1/obs/agentview_rgb"] = np.zeros((2, 8, 8, 3), np.uint8)
    bad: list[DamagedData] = []
    (found,) = episodes_of(file, on_bad=bad.append)
    assert found[0].endswith("demo_2")
    assert [b.part.split()[-1] for b in bad] == ["demo_0", "demo_1"]
    assert "4 actions need as many observations" in bad[1].reason


def test_a_video_that_is_missing_or_short(tmp_path: Path) -> None:
    pytest.importorskip("imageio_ffmpeg")
    get_format("lerobot").write(tmp_path, [recorded(n) for n in (3, 4, 5)])
    missing, short, _ = sorted(tmp_path.rglob("*.mp4"))
    missing.unlink()
    cut_short(short, 0.3)
    bad: list[DamagedData] = []
    (found,) = episodes_of(tmp_path, on_bad=bad.append)
    assert len(found[1]) == 5
    assert ["missing" in bad[0].reason, "cannot be read" in bad[1].reason] == [True, True]


def test_all_damaged_is_no_data(tmp_path: Path) -> None:
    (tmp_path / "x.hdf5").write_bytes(b"no")
    with pytest.raises(ValueError, match="all are damaged"):
        convert(tmp_path, tmp_path / "out", "columns", on_bad=lambda _: None)
    assert not (tmp_path / "out").exists()


def test_what_is_there_is_not_replaced(tmp_path: Path) -> None:
    get_format("columns").write(tmp_path / "set", [recorded(2, images=False)])
    (tmp_path / "out").mkdir()
    assert convert(tmp_path / "set", tmp_path / "out", "minari") == 1  # an empty folder is taken
    with pytest.raises(FileExistsError, match="exists already"):
        convert(tmp_path / "set", tmp_path / "out", "minari")


def test_what_a_killed_process_left_goes_with_the_next(tmp_path: Path) -> None:
    get_format("columns").write(tmp_path / "set", [recorded(2, images=False)])
    (tmp_path / ".out.partial-12345678").mkdir()
    convert(tmp_path / "set", tmp_path / "out", "columns")
    assert {p.name for p in tmp_path.iterdir()} == {"set", "out"}
