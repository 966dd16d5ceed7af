"""Episode folders: round trips, interoperability, broken files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from mbrl_agents.data.dataset import (
    EpisodeWriter,
    count_episodes,
    read_episodes,
    read_infos,
    write_episodes,
)
from mbrl_agents.data.episode import Episode

PUBLIC_COLUMNS = {"action", "poses", "rewards", "terminated", "source_file", "demo_key"}


def make(steps: int, images: bool = False, key: str = "pose") -> Episode:
    rng = np.random.default_rng(steps)
    observations = {key: rng.normal(size=(steps + 1, 21)).astype(np.float32)}
    if images:
        shape = (steps + 1, 8, 6, 3)
        observations["image"] = rng.integers(0, 256, shape, dtype=np.uint8)
        observations["wrist"] = rng.integers(0, 256, (steps + 1, 4, 4, 3), dtype=np.uint8)
    labels = rng.normal(size=(steps, 7)).astype(np.float32)
    labels[0] = np.nan
    return Episode(
        observations=observations,
        actions=rng.normal(size=(steps, 7)).astype(np.float32),
        labels=labels,
        rewards=rng.normal(size=steps).astype(np.float32),
        terminated=steps % 2 == 0,
        success=steps % 3 == 0,
        info={"task_name": "pick_the_bowl", "seed": steps, "nothing": None},
    )


def assert_same(first: Episode, second: Episode) -> None:
    assert first.observations.keys() == second.observations.keys()
    for key, value in first.observations.items():
        assert value.dtype == second.observations[key].dtype
        np.testing.assert_array_equal(value, second.observations[key])
    for name in ("actions", "labels", "rewards"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    assert (first.terminated, first.success) == (second.terminated, second.success)
    assert first.info == second.info


@pytest.mark.parametrize("images", [False, True])
def test_round_trip_over_several_shards(tmp_path, images: bool) -> None:
    episodes = [make(steps, images) for steps in range(1, 8)]
    with EpisodeWriter(tmp_path, shard_size=3) as writer:
        for episode in episodes:
            writer.append(episode)
    assert len(list((tmp_path / "data").iterdir())) == 3
    for a, b in zip(episodes, read_episodes(tmp_path), strict=True):
        assert_same(a, b)
    assert count_episodes(tmp_path) == 7
    assert [info["seed"] for info in read_infos(tmp_path)] == list(range(1, 8))
    assert len(read_episodes(tmp_path, limit=4)) == 4


def test_appending_keeps_what_is_there(tmp_path) -> None:
    write_episodes(tmp_path, [make(3), make(4)])
    write_episodes(tmp_path, [make(5)])
    assert [len(e) for e in read_episodes(tmp_path)] == [3, 4, 5]


def test_hugging_face_datasets_reads_the_public_columns(tmp_path) -> None:
    datasets = pytest.importorskip("datasets")
    episode = make(6, images=True)
    write_episodes(tmp_path / "set", [episode])
    rows = datasets.load_dataset(
        str(tmp_path / "set"), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert set(rows.column_names) >= PUBLIC_COLUMNS | {"img"}
    assert rows.features["img"].feature == datasets.Array3D((8, 6, 3), "uint8")
    row = rows.with_format("numpy")[0]
    np.testing.assert_array_equal(row["img"], episode.observations["image"][:-1])
    np.testing.assert_allclose(row["poses"], episode.observations["pose"][:-1, :7])
    np.testing.assert_allclose(row["action"][1:], episode.labels[1:])
    # Unlabelled steps show the executed action, so plain readers meet no NaN.
    np.testing.assert_allclose(row["action"][0], episode.actions[0])
    assert row["terminated"][-1] == 1.0
    assert row["source_file"] == "pick_the_bowl_demo.hdf5"


@pytest.mark.parametrize("robot_state", ["libero8", None])
def test_fingers_become_their_opening_where_the_episode_says_so(
    tmp_path: Path, robot_state: str | None
) -> None:
    """Eight numbers of another environment are no two fingers."""
    episode = make(5)
    pose = episode.observations["pose"][:, :8]
    info = {**episode.info, **({} if robot_state is None else {"robot_state": robot_state})}
    write_episodes(tmp_path, [replace(episode, observations={"pose": pose}, info=info)])
    table = pq.read_table(next((tmp_path / "data").iterdir()))
    poses = np.array(table.column("poses").to_pylist()[0], dtype=np.float32)
    np.testing.assert_array_equal(poses[:, :6], pose[:-1, :6])
    last = pose[:-1, 6] if robot_state is None else pose[:-1, 6] - pose[:-1, 7]
    np.testing.assert_array_equal(poses[:, 6], last)


def test_plain_box_observations(tmp_path) -> None:
    write_episodes(tmp_path, [make(4, key="obs")])
    assert_same(read_episodes(tmp_path)[0], make(4, key="obs"))


def test_missing_folder_and_broken_shard_are_named(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match="mbrl collect"):
        read_episodes(tmp_path / "none")
    assert count_episodes(tmp_path / "none") == 0
    write_episodes(tmp_path, [make(3)])
    shard = next((tmp_path / "data").iterdir())
    shard.write_bytes(shard.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"train-00000\.parquet"):
        read_episodes(tmp_path)


def test_unfinished_shards_are_ignored(tmp_path) -> None:
    write_episodes(tmp_path, [make(3)])
    (tmp_path / "data" / ".train-00001.parquet.1.tmp").write_bytes(b"half")
    assert len(read_episodes(tmp_path)) == 1


def test_episodes_with_different_observations_do_not_share_a_shard(tmp_path) -> None:
    with pytest.raises(ValueError, match="same observations"):
        write_episodes(tmp_path, [make(3), make(3, key="obs")])


def test_tasks_whose_poses_list_other_objects_share_a_folder(tmp_path) -> None:
    short = make(3)
    short = replace(short, observations={"pose": short.observations["pose"][:, :14]})
    episodes = [make(2), make(4), short, make(5)]
    assert write_episodes(tmp_path, episodes) == 4
    for first, second in zip(episodes, read_episodes(tmp_path), strict=True):
        assert_same(first, second)
