"""Parquet with the columns of ``gberseth/libero_spatial_sequence``; our own folders have more.

A row is an episode: ``action`` (T, A), ``rewards`` and ``terminated`` (T,), ``poses`` (T, 7) and
``img`` (T, H, W, 3), any of the last two, ``source_file`` and ``demo_key``; a column ``text`` (or
``task_description``, ``language_instruction``) is the goal in words.  The columns of
`mbrl_agents.data.dataset` are optional.  Without them nobody saw what the last action led to: the
last observation stands twice, and ``info["final_observation"]`` says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mbrl_agents.data.dataset import DECODED_BYTES, EpisodeWriter, column_rows, table_episodes
from mbrl_agents.data.episode import Episode
from mbrl_agents.data.formats.base import DAMAGE, Part, ReadOptions, broken
from mbrl_agents.data.formats.libero_tasks import (
    FINGERS,
    canonical_pose,
    image_keywords,
    task_origin,
    upright,
)

NEEDED = ("action", "rewards", "terminated")
OURS = ("labelled", "executed_action", "success", "info")
TEXTS = ("text", "task_description", "language_instruction")


class Columns:
    """See the module."""

    name = "columns"
    summary = "parquet, a row an episode: the columns of gberseth/libero_spatial_sequence and ours"

    def detects(self, path: Path) -> bool:
        return bool(_files(path)) and not (path / "meta" / "info.json").is_file()

    def parts(self, path: Path, options: ReadOptions) -> Iterator[Part]:
        for file in _files(path):
            yield from _rows(file, options)

    def write(self, folder: Path, episodes: Iterable[Episode]) -> int:
        written = 0
        writer = EpisodeWriter(folder)
        keys: list[str] | None = None
        for episode in episodes:
            if keys not in (None, sorted(episode.observations)):
                writer.flush()
            keys = sorted(episode.observations)
            writer.append(episode)
            written += 1
        writer.flush()
        return written


def is_own(folder: Path) -> bool:
    """Whether `mbrl_agents.data.dataset` reads a folder as it is, as far as it can be read."""
    shards = sorted((folder / "data").glob("train-*.parquet"))
    names = []
    for shard in shards:
        with suppress(*DAMAGE):  # whoever reads the folder names what is damaged
            names.append(set(pq.read_schema(shard).names))
    return bool(shards) and all(set(OURS) <= found for found in names)


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path] if path.suffix == ".parquet" else []
    return sorted(path.glob("data/*.parquet")) or sorted(path.glob("*.parquet"))


def _rows(file: Path, options: ReadOptions) -> Iterator[Part]:
    """The rows of a file, a few decoded at a time."""
    try:
        parquet = pq.ParquetFile(file, memory_map=True)
        missing = [name for name in NEEDED if name not in parquet.schema_arrow.names]
        if missing:
            raise ValueError(f"has no column {missing[0]!r}; expected {', '.join(NEEDED)}")
        size = sum(
            parquet.metadata.row_group(group).total_byte_size
            for group in range(parquet.num_row_groups)
        )
        rows = max(1, parquet.metadata.num_rows * DECODED_BYTES // max(1, size))
        batches = parquet.iter_batches(batch_size=rows, use_threads=False)
    except DAMAGE as error:
        yield broken(str(file), error)
        return
    number = 0
    while True:
        try:
            batch = next(batches, None)
        except DAMAGE as error:  # nothing behind a damaged page can be found again
            yield broken(f"{file} from row {number} on", error)
            return
        if batch is None:
            return
        table = pa.Table.from_batches([batch])
        for row in range(table.num_rows):
            name = f"{file} row {number}"
            yield Part(name, partial(_read, table.slice(row, 1), file.parent.name, options))
            number += 1


def _read(table: pa.Table, folder: str, options: ReadOptions) -> Episode:
    if set(OURS) <= set(table.column_names):
        return next(iter(table_episodes(table)))
    row = {name: column_rows(table.column(name))[0] for name in table.column_names}
    return _public(row, folder, options)


def _public(row: dict[str, Any], folder: str, options: ReadOptions) -> Episode:
    """An episode of the public columns."""
    actions = np.array(row["action"], dtype=np.float32)
    images, poses = row.get("img"), row.get("poses")
    if images is None and poses is None:
        raise ValueError("has neither 'img' nor 'poses'")
    seen: dict[str, np.ndarray] = {}
    if images is not None:
        seen["image"] = upright(np.asarray(images, dtype=np.uint8), options.images or "upright")
    source = str(row.get("source_file") or "episode")
    info = task_origin(source, folder, **image_keywords(seen.get("image"), None))
    if poses is not None:
        poses = np.asarray(poses, dtype=np.float64)
        if "suite" in info and poses.shape[-1] == 7:
            # Of LIBERO's two finger joints the public dataset kept one.
            poses = canonical_pose(poses[:, :3], poses[:, 3:6], FINGERS * poses[:, 6])
        seen["pose"] = poses.astype(np.float32)
    lengths = {key: len(value) for key, value in seen.items()} | {
        name: len(row[name]) for name in NEEDED
    }
    if len(set(lengths.values())) > 1 or not len(actions):
        raise ValueError(f"columns differ in length: {lengths}")
    if text := next((row[name] for name in TEXTS if isinstance(row.get(name), str)), None):
        info["goal"] = text
    terminated = bool(row["terminated"][-1])
    rewards = np.array(row["rewards"], dtype=np.float32)
    return Episode(
        observations={key: last_twice(value) for key, value in seen.items()},
        actions=actions,
        labels=actions.copy(),
        rewards=rewards,
        terminated=terminated,
        success=terminated and bool(rewards[-1] > 0),
        info={**info, "demo_key": str(row.get("demo_key") or ""), "final_observation": "repeated"},
    )


def last_twice(values: np.ndarray) -> np.ndarray:
    """``(T, ...)`` observations as ``(T + 1, ...)``, where nobody recorded the last."""
    return np.concatenate([values, values[-1:]])


__all__ = ["Columns", "is_own", "last_twice"]
