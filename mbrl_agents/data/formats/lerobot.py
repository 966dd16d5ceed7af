"""LeRobot's datasets, version 3: parquet of frames, MP4 of images, tables about episodes.

A frame has ``action``, ``observation.state`` and others as lists, its episode, its time and its
task; images are video (``observation.images.NAME``), or PNG in the parquet.  ``meta/episodes``
says which rows of which file and which seconds of which video an episode is.

Frames show what was seen before their action; nobody wrote down what the last one led to.  What is
written here keeps that too: as ``final.KEY`` of the episode's row, and as one more frame of video
than the episode's seconds cover, which other readers do not look at.  Elsewhere the last
observation stands twice, and nothing is known of the outcome unless ``next.done`` and
``next.success`` tell.  Videos are lossy: a few grey levels.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mbrl_agents.data.dataset import column_rows
from mbrl_agents.data.episode import Episode
from mbrl_agents.data.formats.base import (
    DAMAGE,
    Part,
    ReadOptions,
    broken,
    labels_from,
)
from mbrl_agents.data.formats.columns import last_twice
from mbrl_agents.data.formats.lerobot_video import VideoFrames
from mbrl_agents.data.formats.lerobot_writer import (
    DATA_PATH,
    FINAL,
    IMAGES,
    INFO_COLUMN,
    KEYS,
    VIDEO_PATH,
    write_dataset,
)
from mbrl_agents.data.formats.libero_tasks import (
    canonical_pose,
    image_keywords,
    task_origin,
    upright,
)

INFO = Path("meta") / "info.json"


class LeRobot:
    """See the module."""

    name = "lerobot"
    summary = "LeRobot v3: parquet of frames and MP4 of images"

    def detects(self, path: Path) -> bool:
        return (path / INFO).is_file()

    def parts(self, path: Path, options: ReadOptions) -> Iterator[Part]:
        try:
            dataset = _Dataset(path, options)
            rows = dataset.episode_rows()
        except DAMAGE as error:
            yield broken(str(path / "meta"), error)
            return
        with closing(dataset):
            for row in rows:
                number = row["episode_index"]
                yield Part(f"{dataset.file(row)} episode {number}", partial(dataset.read, row))

    def write(self, folder: Path, episodes: Iterable[Episode]) -> int:
        return write_dataset(folder, episodes)


class _Dataset:
    """An open dataset: the data file and the videos that were read last.

    Raises:
        ValueError: for another version, and for tables that say too little.
    """

    def __init__(self, path: Path, options: ReadOptions) -> None:
        self.path, self._options = path, options
        self.info = json.loads((path / INFO).read_text(encoding="utf-8"))
        version = str(self.info.get("codebase_version", ""))
        if not version.startswith("v3"):
            raise ValueError(
                f"is of LeRobot's version {version or 'unknown'}; only v3 is read (LeRobot's own "
                "script converts older ones)"
            )
        self._features: dict[str, Any] = self.info["features"]
        self._tasks = _tasks(path)
        self._table: tuple[Path, pa.Table] | None = None
        self._videos: dict[str, VideoFrames] = {}

    def episode_rows(self) -> list[dict[str, Any]]:
        """The tables about episodes without their statistics: a few numbers each."""
        files = sorted((self.path / "meta" / "episodes").rglob("*.parquet"))
        if not files:
            raise ValueError("has no meta/episodes/*.parquet")
        found: list[dict[str, Any]] = []
        for file in files:
            names = [n for n in pq.read_schema(file).names if not n.startswith("stats/")]
            found += pq.read_table(file, columns=names).to_pylist()
        return sorted(found, key=lambda row: int(row["episode_index"]))

    def file(self, row: Mapping[str, Any]) -> Path:
        """The data file of an episode."""
        template = str(self.info.get("data_path") or DATA_PATH)
        place = {k: row.get(f"data/{k}", 0) for k in ("chunk_index", "file_index")}
        return self.path / template.format(**place)

    def read(self, row: Mapping[str, Any]) -> Episode:
        table = self._rows(row)
        steps = int(row["length"])
        if table.num_rows != steps:
            raise ValueError(f"the data file holds {table.num_rows} of its {steps} frames")
        columns = {n: column_rows(table.column(n)) for n in table.column_names}
        shown = _stacked(columns, "action")
        actions, labels = shown, shown.copy()
        if "executed_action" in columns:
            actions = _stacked(columns, "executed_action")
            labels = labels_from(shown, _stacked(columns, "labelled").reshape(steps))
        if row.get(INFO_COLUMN):
            info = json.loads(row[INFO_COLUMN])
            observations = self._observations(row, columns, steps, libero=False)
        else:
            goal = self._goal(row, columns)
            libero = "suite" in task_origin(goal.replace(" ", "_"))
            observations = self._observations(row, columns, steps, libero=libero)
            shown_in = image_keywords(observations.get("image"), observations.get("wrist"))
            info = task_origin(goal.replace(" ", "_"), **shown_in)
            info |= {"goal": goal, "final_observation": "repeated"}
        rewards = np.zeros(steps, np.float32)
        if "next.reward" in columns:
            rewards = _stacked(columns, "next.reward").reshape(steps)
        terminated, success = _last(columns, "next.done"), _last(columns, "next.success")
        if "suite" in info and not any(name.startswith("next.") for name in columns):
            # Published copies of LIBERO's demonstrations hold the successful ones only.
            terminated = success = True
            rewards[-1] = 1.0
        return Episode(observations, actions, labels, rewards, terminated, success, info)

    def close(self) -> None:
        for video in self._videos.values():
            video.close()
        self._videos.clear()

    def _rows(self, row: Mapping[str, Any]) -> pa.Table:
        """The frames of an episode; its file is kept for the next."""
        file, number = self.file(row), int(row["episode_index"])
        if self._table is None or self._table[0] != file:
            self._table = None
            self._table = file, pq.read_table(file)
        table = self._table[1]
        if "episode_index" not in table.column_names:
            raise ValueError("has no column 'episode_index'")
        where = np.flatnonzero(table.column("episode_index").to_numpy() == number)
        if not len(where):
            return table.slice(0, 0)
        return table.slice(int(where[0]), len(where))

    def _goal(self, row: Mapping[str, Any], columns: Mapping[str, Any]) -> str:
        tasks = [str(task) for task in row.get("tasks") or []]
        if not tasks and "task_index" in columns:
            tasks = [self._tasks.get(int(columns["task_index"][0]), "")]
        return tasks[0] if tasks else ""

    def _observations(
        self,
        row: Mapping[str, Any],
        columns: Mapping[str, Any],
        steps: int,
        *,
        libero: bool,
    ) -> dict[str, np.ndarray]:
        seen: dict[str, np.ndarray] = {}
        own = row.get(INFO_COLUMN) is not None
        for name, feature in self._features.items():
            if not name.startswith("observation."):
                continue
            key = _key(name)
            if feature["dtype"] == "video":
                seen[key] = self._video(name, row, steps, own)
            elif feature["dtype"] == "image":
                seen[key] = last_twice(np.stack([_picture(cell) for cell in columns[name]]))
            else:
                values = _stacked(columns, name)
                if values.ndim == 1:
                    values = values[:, None]
                final = row.get(FINAL + key)
                if final is not None:
                    values = np.concatenate([values, np.asarray(final, values.dtype)[None]])
                elif key == "pose" and values.shape[1] == 8 and libero:
                    opening = values[:, 6] - values[:, 7]
                    values = last_twice(canonical_pose(values[:, :3], values[:, 3:6], opening))
                else:
                    values = last_twice(values)
                seen[key] = values
            if seen[key].ndim == 4:
                seen[key] = upright(seen[key], self._options.images or "upright")
        return seen

    def _video(self, name: str, row: Mapping[str, Any], steps: int, own: bool) -> np.ndarray:
        template = str(self.info.get("video_path") or VIDEO_PATH)
        at = f"videos/{name}/"
        place = {k: row[at + k] for k in ("chunk_index", "file_index")}
        file = self.path / template.format(video_key=name, **place)
        if name not in self._videos or self._videos[name].path != file:
            if name in self._videos:
                self._videos.pop(name).close()
            self._videos[name] = VideoFrames(file)
        first = round(float(row.get(at + "from_timestamp") or 0.0) * float(self.info["fps"]))
        frames = self._videos[name].read(first, steps + own)
        return frames if own else last_twice(frames)


def _key(name: str) -> str:
    """Our name of a feature."""
    if name in KEYS.values():
        return next(key for key, known in KEYS.items() if known == name)
    return name.removeprefix(IMAGES).removeprefix("observation.")


def _tasks(path: Path) -> dict[int, str]:
    """Instructions by number; the table has them as its index."""
    file = path / "meta" / "tasks.parquet"
    if not file.is_file():
        return {}
    table = pq.read_table(file)
    names = [n for n in table.column_names if n != "task_index"]
    if not names or "task_index" not in table.column_names:
        return {}
    texts = table.column(names[-1]).to_pylist()
    return dict(zip(table.column("task_index").to_pylist(), map(str, texts), strict=True))


def _stacked(columns: Mapping[str, Any], name: str) -> np.ndarray:
    """``(T, ...)`` float32, or bool, of a column of frames."""
    if name not in columns:
        raise ValueError(f"has no column {name!r}")
    values = np.asarray(columns[name])
    if values.dtype == object:
        raise ValueError(f"column {name!r} has rows of different shapes")
    return values.astype(np.float32) if values.dtype.kind in "fiu" else values


def _last(columns: Mapping[str, Any], name: str) -> bool:
    """Whether the last frame has a flag; not where nobody recorded it."""
    return name in columns and bool(_stacked(columns, name).reshape(-1)[-1])


def _picture(cell: Mapping[str, Any]) -> np.ndarray:
    """An image within the parquet, ``(H, W, 3)`` uint8."""
    from PIL import Image

    with Image.open(io.BytesIO(cell["bytes"])) as image:
        return np.asarray(image.convert("RGB"))


__all__ = ["LeRobot"]
