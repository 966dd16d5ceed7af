"""Files as their own projects write them."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mbrl_agents.data.formats import ReadOptions, episodes_of, text_goal
from mbrl_agents.data.formats.registry import get_format
from recordings import BOWL, recorded, write_demonstrations, write_public


def read(path: Path, **options):
    return [episode for _, episode in episodes_of(path, ReadOptions(**options))]


@pytest.mark.parametrize("fixed", [True, False])
def test_the_public_columns(fixed: bool, tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    write_public(tmp_path / "data" / "train-00000-of-00001.parquet", [3, 5], fixed=fixed)
    first, second = read(tmp_path)
    row = pq.read_table(next((tmp_path / "data").iterdir())).to_pylist()[0]
    np.testing.assert_array_equal(first.actions, np.array(row["action"], np.float32))
    np.testing.assert_array_equal(first.labels, first.actions)
    np.testing.assert_array_equal(first.observations["image"][:-1], np.array(row["img"]))
    # The last observation was not recorded; one finger is half of the opening.
    assert len(first.observations["image"]) == 4
    np.testing.assert_array_equal(first.observations["image"][-1], first.observations["image"][-2])
    assert first.info["final_observation"] == "repeated"
    np.testing.assert_allclose(
        first.observations["pose"][:-1, 6], 2 * np.array(row["poses"])[:, 6], rtol=1e-6
    )
    assert (first.success, first.terminated, len(second)) == (True, True, 5)
    assert (first.info["suite"], first.info["task"]) == ("libero_spatial", 2)
    assert first.info["goal"].startswith("pick up the black bowl from table center")
    told = json.loads(first.info["collection"])
    assert told["env_kwargs"]["image_size"] == 8


def test_a_column_of_text_is_the_goal(tmp_path: Path) -> None:
    rows = {
        "action": [[[0.5] * 7] * 2],
        "poses": [[[0.1] * 7] * 2],
        "rewards": [[0.0, 1.0]],
        "terminated": [[0.0, 1.0]],
        "text": ["tidy up"],
    }
    pq.write_table(pa.table(rows), tmp_path / "some.parquet")
    (episode,) = read(tmp_path / "some.parquet")
    assert episode.info["goal"] == "tidy up"


def test_goals_are_spelled_by_names() -> None:
    assert text_goal("KITCHEN_SCENE3_turn_on_the_stove_demo.hdf5") == "turn on the stove"
    assert text_goal("LIVING_ROOM_SCENE1_pick_up_A") == "pick up A"
    assert text_goal(f"{BOWL}_demo.hdf5").endswith("place it on the plate")


@pytest.mark.parametrize("after", [True, False])
def test_liberos_rows_show_what_their_action_led_to(after: bool, tmp_path: Path) -> None:
    """Those of others, rendered anew, what was there before it; the arm's joints tell."""
    rng = np.random.default_rng(0)
    states, actions = rng.normal(size=(5, 92)), rng.uniform(-1, 1, (5, 7))
    file = tmp_path / "libero_spatial" / f"{BOWL}_demo.hdf5"
    write_demonstrations(file, [states], [actions], after=after)
    (episode,) = read(tmp_path)
    with h5py.File(file) as opened:
        images = opened["data/demo_0/obs/agentview_rgb"][:][:, ::-1]  # upside-down there
    shown = actions[1:] if after else actions
    np.testing.assert_allclose(episode.actions, shown, rtol=1e-6)
    np.testing.assert_array_equal(episode.observations["image"][:5], images)
    assert len(episode.observations["image"]) == len(shown) + 1
    assert ("final_observation" in episode.info) == (not after)
    np.testing.assert_allclose(episode.observations["pose"][:, 6], 0.05, rtol=1e-6)
    assert episode.rewards.tolist() == [0.0] * (len(shown) - 1) + [1.0]
    assert (episode.success, episode.info["task"]) == (True, 2)
    assert episode.info["goal"] == "put the bowl on the plate"


def test_poses_of_demonstrations_have_our_sign(tmp_path: Path) -> None:
    """Half a turn about -x is half a turn about x."""
    rng = np.random.default_rng(0)
    file = tmp_path / f"{BOWL}_demo.hdf5"
    write_demonstrations(file, [rng.normal(size=(3, 92))], [rng.uniform(-1, 1, (3, 7))])
    with h5py.File(file, "a") as opened:
        opened["data/demo_0/obs/ee_states"][:, 3:] = [[-3.1, 0, 0], [3.1, 0, 0], [0.3, 0, 0]]
    (episode,) = read(file)
    turned = episode.observations["pose"][:, 3]
    np.testing.assert_allclose(turned, [2 * np.pi - 3.1, 3.1, 0.3], rtol=1e-5)


def test_images_of_other_conventions(tmp_path: Path) -> None:
    get_format("columns").write(tmp_path, [recorded(2)])
    shard = next((tmp_path / "data").iterdir())
    table = pq.read_table(shard)
    pq.write_table(table.drop_columns(["info", "success"]), shard)  # as others have them
    upright = read(tmp_path)[0].observations["image"]
    raw = read(tmp_path, images="raw")[0].observations["image"]
    rotated = read(tmp_path, images="rotated")[0].observations["image"]
    np.testing.assert_array_equal(raw, upright[:, ::-1])
    np.testing.assert_array_equal(rotated, upright[:, :, ::-1])


def test_lerobots_libero(tmp_path: Path) -> None:
    """Its state has two fingers, its episodes share a file, and it knows no outcome."""
    pytest.importorskip("imageio_ffmpeg")
    from mbrl_agents.data.formats.lerobot_video import write_frames

    lengths = [3, 4]
    total = sum(lengths)
    rng = np.random.default_rng(0)
    states = rng.uniform(-0.5, 0.5, (total, 8)).astype(np.float32)
    states[:, 6:] = [0.03, -0.02]
    brightness = np.linspace(10, 240, total).astype(np.uint8)
    frames = np.broadcast_to(brightness[:, None, None, None], (total, 16, 16, 3))
    name = "observation.images.image"
    write_frames(tmp_path / f"videos/{name}/chunk-000/file-000.mp4", frames, 10)
    numbers = np.repeat([0, 1], lengths)
    table = {
        "observation.state": states.tolist(),
        "action": rng.uniform(-1, 1, (total, 7)).astype(np.float32).tolist(),
        "episode_index": numbers,
        "task_index": np.zeros(total, int),
    }
    data = tmp_path / "data" / "chunk-000"
    data.mkdir(parents=True)
    pq.write_table(pa.table(table), data / "file-000.parquet")
    meta = tmp_path / "meta"
    (meta / "episodes" / "chunk-000").mkdir(parents=True)
    at = f"videos/{name}/"
    rows = [
        {"episode_index": n, "length": length, "data/chunk_index": 0, "data/file_index": 0,
         at + "chunk_index": 0, at + "file_index": 0,
         at + "from_timestamp": sum(lengths[:n]) / 10}
        for n, length in enumerate(lengths)
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), meta / "episodes" / "chunk-000" / "file-000.parquet")
    tasks = {"task_index": [0], "__index_level_0__": [BOWL.replace("_", " ")]}
    pq.write_table(pa.table(tasks), meta / "tasks.parquet")
    info = {
        "codebase_version": "v3.0",
        "fps": 10,
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
        "features": {
            "observation.state": {"dtype": "float32", "shape": [8]},
            name: {"dtype": "video", "shape": [16, 16, 3]},
            "action": {"dtype": "float32", "shape": [7]},
        },
    }
    (meta / "info.json").write_text(json.dumps(info))
    first, second = read(tmp_path)
    assert [len(first), len(second)] == lengths
    np.testing.assert_allclose(
        second.observations["image"].mean((1, 2, 3)), [*brightness[3:], brightness[-1]], atol=3
    )
    assert first.observations["pose"].shape == (4, 7)
    np.testing.assert_allclose(first.observations["pose"][:, 6], 0.05, rtol=1e-5)
    # Published copies hold successes only.
    assert (first.success, first.rewards.tolist()) == (True, [0.0, 0.0, 1.0])
    assert (first.info["suite"], first.info["task"]) == ("libero_spatial", 2)
    info["codebase_version"] = "v2.1"
    (meta / "info.json").write_text(json.dumps(info))
    with pytest.raises(ValueError, match=r"version v2\.1; only v3"):
        read(tmp_path)


def test_minari_loads_what_is_written(tmp_path: Path) -> None:
    minari = pytest.importorskip("minari")
    episodes = [recorded(n) for n in (3, 5)]
    folder = tmp_path / "mine"
    folder.mkdir()
    get_format("minari").write(folder, episodes)
    dataset = minari.MinariDataset(folder / "data")
    assert (dataset.total_episodes, dataset.total_steps) == (2, 8)
    for first, second in zip(episodes, dataset.iterate_episodes(), strict=True):
        np.testing.assert_array_equal(first.actions, second.actions)
        assert second.observations.keys() == first.observations.keys()
        for key, value in first.observations.items():
            np.testing.assert_array_equal(value, second.observations[key])
        assert bool(second.terminations[-1]) == first.terminated


def test_what_minari_writes_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    minari = pytest.importorskip("minari")
    import gymnasium
    from minari.data_collector import EpisodeBuffer

    from mbrl_agents.data.formats import open_source

    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    env = gymnasium.make("Pendulum-v1")
    rng = np.random.default_rng(0)
    buffers = [
        EpisodeBuffer(
            id=number,
            observations=rng.normal(size=(steps + 1, 3)).astype(np.float32),
            actions=rng.uniform(-2, 2, (steps, 1)).astype(np.float32),
            rewards=list(rng.normal(size=steps)),
            terminations=[False] * steps,
            truncations=[False] * (steps - 1) + [True],
        )
        for number, steps in enumerate([4, 6])
    ]
    minari.create_dataset_from_buffers("pendulum/random-v0", buffers, env=env)
    episodes = read(open_source("minari:pendulum/random-v0"))
    assert [len(e) for e in episodes] == [4, 6]
    for buffer, episode in zip(buffers, episodes, strict=True):
        np.testing.assert_array_equal(episode.observations["obs"], buffer.observations)
        np.testing.assert_array_equal(episode.actions, buffer.actions)
    assert (episodes[0].terminated, episodes[0].info["env_id"]) == (False, "Pendulum-v1")
