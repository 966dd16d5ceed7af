"""Writes episodes as a LeRobot dataset, version 3."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mbrl_agents.data.episode import Episode
from mbrl_agents.data.files import write_text
from mbrl_agents.data.formats.base import goal_of, shown_action
from mbrl_agents.data.formats.lerobot_video import write_frames

IMAGES = "observation.images."
KEYS = {
    "pose": "observation.state",
    "image": IMAGES + "image",
    "wrist": IMAGES + "image2",
}
"""LeRobot's names of our observations, as its LIBERO dataset has them."""

DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
EPISODES_PATH = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
INFO_COLUMN, FINAL = "mbrl.info", "final."
"""Columns of ours in the tables about episodes."""

CHUNK, FPS = 1000, 20


def write_dataset(folder: Path, episodes: Iterable[Episode]) -> int:
    """Write episodes as they come; each has its own files of data and video.

    Raises:
        ImportError: for images, without the extra ``video``.
        ValueError: without episodes, and for episodes that differ in what they show.
    """
    writer = _Writer(folder)
    for episode in episodes:
        writer.add(episode)
    writer.finish()
    return writer.count


class _Writer:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.count = self._frames = 0
        self._tasks: dict[str, int] = {}
        self._features: dict[str, Any] = {}
        self._statistics: dict[str, _Moments] = {}
        self._episodes: list[dict[str, Any]] = []

    def add(self, episode: Episode) -> None:
        steps, number = len(episode), self.count
        columns = _columns(episode)
        images = {k: v for k, v in episode.observations.items() if v.ndim == 4}
        features = _features(columns, images)
        if self._features not in ({}, features):
            raise ValueError(
                "a LeRobot dataset has one kind of frames: this episode's features differ from "
                f"those before it ({sorted(features)}); convert one task at a time"
            )
        self._features = features
        task = self._tasks.setdefault(goal_of(episode), len(self._tasks))
        place = {"chunk_index": number // CHUNK, "file_index": number % CHUNK}
        row: dict[str, Any] = {
            "episode_index": number,
            "tasks": [goal_of(episode)],
            "length": steps,
            "dataset_from_index": self._frames,
            "dataset_to_index": self._frames + steps,
            "meta/episodes/chunk_index": number // CHUNK,
            "meta/episodes/file_index": 0,
            INFO_COLUMN: json.dumps(episode.info, sort_keys=True),
            **{f"data/{name}": value for name, value in place.items()},
        }
        for key, values in episode.observations.items():
            name = _feature(key, values)
            if key in images:
                file = self.folder / VIDEO_PATH.format(video_key=name, **place)
                write_frames(file, values, FPS)
                times = {"from_timestamp": 0.0, "to_timestamp": steps / FPS}
                row |= {f"videos/{name}/{k}": v for k, v in {**place, **times}.items()}
                every = values[:: max(1, steps // 16)].reshape(-1, 3) / 255.0
                self._moments(name).add(every, image=True)
            else:
                row[FINAL + key] = values[-1].tolist()
        for name, values in columns.items():
            self._moments(name).add(np.asarray(values, np.float64).reshape(steps, -1))
        columns |= {
            "timestamp": (np.arange(steps) / FPS).astype(np.float32),
            "frame_index": np.arange(steps),
            "episode_index": np.full(steps, number),
            "index": self._frames + np.arange(steps),
            "task_index": np.full(steps, task),
        }
        file = self.folder / DATA_PATH.format(**place)
        file.parent.mkdir(parents=True, exist_ok=True)
        table = pa.table({name: _arrow(values) for name, values in columns.items()})
        pq.write_table(table, file, compression="zstd")
        self._episodes.append(row)
        self.count, self._frames = number + 1, self._frames + steps
        if self.count % CHUNK == 0:
            self._flush()

    def _moments(self, name: str) -> _Moments:
        return self._statistics.setdefault(name, _Moments())

    def _flush(self) -> None:
        """Write what is known of the last episodes."""
        if not self._episodes:
            return
        chunk = (self.count - 1) // CHUNK
        file = self.folder / EPISODES_PATH.format(chunk_index=chunk, file_index=0)
        file.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(self._episodes), file)
        self._episodes = []

    def finish(self) -> None:
        if not self.count:
            raise ValueError("there are no episodes to write")
        self._flush()
        meta = self.folder / "meta"
        tasks = {"task_index": list(self._tasks.values()), "task": list(self._tasks)}
        import pandas

        # LeRobot reads the instructions as the index of a pandas table.
        pandas.DataFrame(tasks).set_index("task").to_parquet(meta / "tasks.parquet")
        stats = {name: moments.told() for name, moments in self._statistics.items()}
        write_text(meta / "stats.json", json.dumps(stats, indent=2) + "\n")
        info = {
            "codebase_version": "v3.0",
            "robot_type": None,
            "total_episodes": self.count,
            "total_frames": self._frames,
            "total_tasks": len(self._tasks),
            "chunks_size": CHUNK,
            "data_files_size_in_mb": 100,
            "video_files_size_in_mb": 200,
            "fps": FPS,
            "splits": {"train": f"0:{self.count}"},
            "data_path": DATA_PATH,
            "video_path": VIDEO_PATH,
            "features": {**self._features, **_numbering()},
        }
        write_text(meta / "info.json", json.dumps(info, indent=2) + "\n")


class _Moments:
    """Least, greatest, mean and std of what is added, by dimension."""

    def __init__(self) -> None:
        self._count, self._image = 0, False
        self._low = self._high = self._total = self._squares = np.zeros(0)

    def add(self, values: np.ndarray, *, image: bool = False) -> None:
        """Values ``(N, D)``."""
        low, high = values.min(0), values.max(0)
        total, squares = values.sum(0), (values**2).sum(0)
        if self._count:
            low, high = np.minimum(low, self._low), np.maximum(high, self._high)
            total, squares = total + self._total, squares + self._squares
        self._low, self._high, self._total, self._squares = low, high, total, squares
        self._count, self._image = self._count + len(values), image

    def told(self) -> dict[str, Any]:
        mean = self._total / self._count
        std = np.sqrt(np.maximum(self._squares / self._count - mean**2, 0.0))
        found = {"min": self._low, "max": self._high, "mean": mean, "std": std}
        shape = (-1, 1, 1) if self._image else (-1,)
        return {k: v.reshape(shape).tolist() for k, v in found.items()} | {"count": [self._count]}


def _columns(episode: Episode) -> dict[str, np.ndarray]:
    """What a frame has beside images and its numbers."""
    steps = len(episode)
    ends, reached = np.zeros(steps, bool), np.zeros(steps, bool)
    ends[-1], reached[-1] = episode.terminated, episode.success
    seen = {
        _feature(key, values): values[:-1]
        for key, values in episode.observations.items()
        if values.ndim != 4
    }
    return {
        **seen,
        "action": shown_action(episode),
        "executed_action": episode.actions.astype(np.float32),
        "labelled": np.isfinite(episode.labels).all(-1),
        "next.reward": episode.rewards.astype(np.float32),
        "next.done": ends,
        "next.success": reached,
    }


def _feature(key: str, values: np.ndarray) -> str:
    """LeRobot's name of an observation."""
    return KEYS.get(key) or (IMAGES if values.ndim == 4 else "observation.") + key


def _features(
    columns: dict[str, np.ndarray], images: dict[str, np.ndarray]
) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {
        name: {"dtype": str(values.dtype), "shape": list(values.shape[1:]) or [1], "names": None}
        for name, values in columns.items()
    }
    for key, values in images.items():
        height, width, channels = values.shape[1:]
        found[_feature(key, values)] = {
            "dtype": "video",
            "shape": [height, width, channels],
            "names": ["height", "width", "channels"],
            "info": {
                "video.height": height,
                "video.width": width,
                "video.channels": channels,
                "video.fps": FPS,
                "video.codec": "h264",
                "video.pix_fmt": "yuv420p",
                "video.is_depth_map": False,
                "has_audio": False,
            },
        }
    return found


def _numbering() -> dict[str, dict[str, Any]]:
    kinds = {"timestamp": "float32"} | dict.fromkeys(
        ("frame_index", "episode_index", "index", "task_index"), "int64"
    )
    return {name: {"dtype": kind, "shape": [1], "names": None} for name, kind in kinds.items()}


def _arrow(values: np.ndarray) -> pa.Array:
    """A column of numbers, or of lists of them."""
    if values.ndim == 1:
        return pa.array(values)
    flat = pa.array(np.ascontiguousarray(values).reshape(-1))
    for size in reversed(values.shape[1:]):
        flat = pa.FixedSizeListArray.from_arrays(flat, size)
    return flat


__all__ = ["DATA_PATH", "FINAL", "IMAGES", "INFO_COLUMN", "KEYS", "VIDEO_PATH", "write_dataset"]
