"""Episode folders: parquet shards that Hugging Face ``datasets`` reads as they are.

One row is one episode.  The columns of the public dataset ``gberseth/libero_spatial_sequence``
come first (``img``, ``action``, ``poses``, ``rewards``, ``terminated``, ``source_file``,
``demo_key``; ``T`` entries each), so code written for it reads these folders too.  Ours follow:

``labelled``
    ``(T,)`` bool, whether ``action`` is a demonstrator's label.  Where false, ``action`` repeats
    the executed action.
``executed_action``
    ``(T, A)`` what was executed.  ``action`` is the demonstrator's label, what cloning learns.
``observation.<key>``
    ``(T + 1, ...)`` every observation, the final one included.
``final_img``
    the final frame, so that ``img`` holds the others only once.
``success``, ``info``
    the outcome, and the rest of the episode's origin as JSON.

A shard is written under a temporary name and then renamed, so an interrupted run leaves whole
shards or nothing.  What was read once lies decoded beside the shards, see `data.arrays`.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mbrl_agents.data.arrays import mapped_episodes
from mbrl_agents.data.episode import Episode
from mbrl_agents.data.files import atomic

SHARD_PATTERN = "train-*.parquet"
ROBOT_POSE_SIZE = 7
DECODED_BYTES = 2_000_000
"""Of episodes at once, if more than one: decoding nested lists takes twenty times as much."""

_OBSERVATION = "observation."


class EpisodeWriter:
    """Appends episodes to a folder, one atomic parquet shard per flush.

    Args:
        folder: created when missing; existing episodes are kept.
        shard_size: episodes per shard; ``append`` flushes when so many wait.

    Used as a context manager it flushes at the end, also after an exception, so that finished
    episodes of an interrupted collection survive.
    """

    def __init__(self, folder: str | os.PathLike[str], shard_size: int = 25) -> None:
        if shard_size < 1:
            raise ValueError(f"shard_size must be at least 1, got {shard_size}")
        self.folder = Path(folder)
        self.shard_size = shard_size
        self._waiting: list[Episode] = []
        self._written = count_episodes(self.folder)

    def append(self, episode: Episode) -> None:
        """Add one episode; it is on disk after the next flush.

        A shard holds observations of one shape: the poses of another task may list more objects.
        """
        if self._waiting and _differ_in_shape(self._waiting[0], episode):
            self.flush()
        self._waiting.append(episode)
        if len(self._waiting) >= self.shard_size:
            self.flush()

    def flush(self) -> Path | None:
        """Write the waiting episodes as one shard and return its path (None: nothing waited)."""
        if not self._waiting:
            return None
        table = _to_table(self._waiting, first_index=self._written)
        data = self.folder / "data"
        shards = _shards(self.folder)
        number = 1 + int(shards[-1].stem.split("-")[1]) if shards else 0
        path = data / f"train-{number:05d}.parquet"
        with atomic(path) as temporary:
            pq.write_table(table, temporary, compression="zstd", row_group_size=_row_group(table))
        self._written += len(self._waiting)
        self._waiting = []
        return path

    def __enter__(self) -> EpisodeWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        self.flush()


def write_episodes(folder: str | os.PathLike[str], episodes: Iterable[Episode]) -> int:
    """Append ``episodes`` to a folder and return how many there were."""
    written = 0
    with EpisodeWriter(folder) as writer:
        for episode in episodes:
            writer.append(episode)
            written += 1
    return written


def read_episodes(folder: str | os.PathLike[str], limit: int | None = None) -> list[Episode]:
    """All episodes of a folder (or the first ``limit``), in the order in which they were written.

    Their arrays are read-only views of memory-mapped files, which processes share and which take
    no anonymous memory.  A shard is decoded when it is first read, into ``FOLDER/.arrays``, or
    into a temporary folder where that cannot be written.

    Raises:
        FileNotFoundError: the folder holds no episodes.
        ValueError: a shard cannot be read; the message names it.
    """
    folder = Path(folder)
    shards = _shards(folder)
    if not shards:
        raise FileNotFoundError(
            f"no episodes in {folder}: expected parquet files such as "
            f"{folder / 'data' / 'train-00000.parquet'}; `mbrl collect` writes them"
        )
    return mapped_episodes(folder, shards, _decoded, limit)


def read_infos(folder: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The ``info`` of every episode, without reading its arrays; empty for a missing folder."""
    infos: list[dict[str, Any]] = []
    for shard in _shards(Path(folder)):
        column = _open(shard).read(columns=["info"]).column("info")
        infos.extend(json.loads(text) for text in column.to_pylist())
    return infos


def count_episodes(folder: str | os.PathLike[str]) -> int:
    """How many episodes a folder holds; 0 for a missing one."""
    return sum(_open(shard).metadata.num_rows for shard in _shards(Path(folder)))


# ---------------------------------------------------------------------------------------------
# Episodes to tables


def _differ_in_shape(first: Episode, second: Episode) -> bool:
    """Whether an observation that both have is of another shape in the second."""
    seen = second.observations
    return any(
        key in seen and seen[key].shape[1:] != value.shape[1:]
        for key, value in first.observations.items()
    )


def _to_table(episodes: Sequence[Episode], first_index: int) -> pa.Table:
    keys = sorted(episodes[0].observations)
    for episode in episodes:
        if sorted(episode.observations) != keys:
            raise ValueError(
                f"episodes of one shard need the same observations: {keys} and "
                f"{sorted(episode.observations)}"
            )
    columns: dict[str, pa.Array] = {}
    if "image" in keys:
        columns["img"] = _images([e.observations["image"][:-1] for e in episodes])
    labelled = [~np.isnan(e.labels).any(axis=-1) for e in episodes]
    columns["action"] = _nested(
        [
            np.where(known[:, None], e.labels, e.actions).astype(np.float32)
            for e, known in zip(episodes, labelled, strict=True)
        ]
    )
    columns["poses"] = _nested([_robot_pose(e) for e in episodes])
    columns["rewards"] = _nested([e.rewards.astype(np.float32) for e in episodes])
    columns["terminated"] = _nested([_termination(e) for e in episodes])
    names = [str(e.info.get("task_name") or "episode") for e in episodes]
    # Named as the public dataset names its files: code derives the instruction from them.
    columns["source_file"] = pa.array([f"{name}_demo.hdf5" for name in names])
    columns["demo_key"] = pa.array([f"demo_{first_index + i}" for i in range(len(episodes))])
    columns["labelled"] = _nested(labelled)
    columns["executed_action"] = _nested([e.actions.astype(np.float32) for e in episodes])
    for key in keys:
        if key == "image":
            columns["final_img"] = _images([e.observations["image"][-1:] for e in episodes])
        else:
            arrays = [e.observations[key] for e in episodes]
            column = _images(arrays) if arrays[0].ndim == 4 else _nested(arrays)
            columns[_OBSERVATION + key] = column
    columns["success"] = pa.array([bool(e.success) for e in episodes])
    columns["info"] = pa.array([json.dumps(e.info, sort_keys=True) for e in episodes])
    return pa.table(columns)


def _nested(arrays: Sequence[np.ndarray]) -> pa.Array:
    """A list column whose entry ``i`` is ``arrays[i]``; all but the first axis must agree."""
    shape = arrays[0].shape[1:]
    for array in arrays:
        if array.shape[1:] != shape:
            raise ValueError(f"entries of one column need one shape: {shape} and {array.shape[1:]}")
    flat = np.concatenate([np.ascontiguousarray(a).reshape(-1) for a in arrays])
    values = pa.array(flat)
    for depth in reversed(range(len(shape))):
        size = shape[depth]
        count = len(values) // size
        offsets = np.arange(count + 1, dtype=np.int32) * size
        values = pa.ListArray.from_arrays(pa.array(offsets), values)
    lengths = np.cumsum([0] + [len(a) for a in arrays]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(lengths), values)


def _robot_pose(episode: Episode) -> np.ndarray:
    """``(T, 7)`` robot numbers as in the public dataset; zeros where there are none."""
    pose = episode.observations.get("pose")
    if pose is None or pose.ndim != 2 or pose.shape[1] < ROBOT_POSE_SIZE:
        return np.zeros((len(episode), ROBOT_POSE_SIZE), np.float32)
    robot = pose[:-1, :ROBOT_POSE_SIZE].astype(np.float32)
    if episode.info.get("robot_state") == "libero8":  # two finger positions, not their opening
        robot[:, -1] -= pose[:-1, ROBOT_POSE_SIZE]
    return robot


def _termination(episode: Episode) -> np.ndarray:
    terminated = np.zeros(len(episode), np.float32)
    terminated[-1] = float(episode.terminated)
    return terminated


def _row_group(table: pa.Table) -> int:
    """Rows per parquet row group, at most about 64 MB of them."""
    return max(1, int(table.num_rows * min(1.0, 64e6 / max(1, table.nbytes))))


def _images(arrays: Sequence[np.ndarray]) -> pa.Array:
    """`_nested` of ``(T, H, W, C)`` arrays, typed so that ``datasets`` returns arrays (Array3D)."""
    from datasets.features.features import Array3DExtensionType  # slow: only where needed

    plain = _nested(arrays)
    kind = Array3DExtensionType(arrays[0].shape[1:], str(arrays[0].dtype))
    typed = pa.ExtensionArray.from_storage(kind, plain.values)
    return pa.ListArray.from_arrays(plain.offsets, typed)


# ---------------------------------------------------------------------------------------------
# Tables to episodes


def _decoded(shard: Path) -> Iterator[Episode]:
    """The episodes of a shard, few in memory at a time."""
    file = _open(shard)
    size = sum(
        file.metadata.row_group(group).total_byte_size for group in range(file.num_row_groups)
    )
    rows = max(1, file.metadata.num_rows * DECODED_BYTES // max(1, size))
    batches = file.iter_batches(batch_size=rows, use_threads=False)
    while True:
        try:
            batch = next(batches, None)
        except (pa.ArrowInvalid, OSError) as error:
            raise ValueError(f"{shard} is not a readable episode shard: {error}") from error
        if batch is None:
            break
        yield from table_episodes(pa.Table.from_batches([batch]))
    del batch, batches
    # Arrow's allocator keeps what it once had.
    pa.default_memory_pool().release_unused()


def table_episodes(table: pa.Table) -> Iterator[Episode]:
    """The episodes of a table, whose memory they share where they can."""
    columns = {name: column_rows(table.column(name)) for name in table.column_names}
    for row in range(table.num_rows):
        observations = {
            name.removeprefix(_OBSERVATION): values[row]
            for name, values in columns.items()
            if name.startswith(_OBSERVATION)
        }
        if "img" in columns:
            observations["image"] = np.concatenate(
                [columns["img"][row], columns["final_img"][row]], axis=0
            )
        labels = columns["action"][row].copy()
        labels[~columns["labelled"][row]] = np.nan
        yield Episode(
            observations=observations,
            actions=columns["executed_action"][row],
            labels=labels,
            rewards=columns["rewards"][row],
            terminated=bool(columns["terminated"][row][-1]),
            success=bool(columns["success"][row]),
            info=json.loads(columns["info"][row]),
        )


def column_rows(column: pa.ChunkedArray) -> list[Any]:
    """The rows of a column: arrays for list columns, plain values otherwise."""
    if not _is_list(column.type):
        return list(column.to_pylist())
    entries: list[Any] = []
    for chunk in column.chunks:
        offsets = chunk.offsets.to_numpy()
        inner, shape = chunk.values, []
        while True:
            if isinstance(inner, pa.ExtensionArray):  # images, where `datasets` is loaded
                inner = inner.storage
            if pa.types.is_fixed_size_list(inner.type):
                shape.append(inner.type.list_size)
            elif _is_list(inner.type):
                # Sizes of inner axes are constant within a column: `_nested` made sure of it.
                steps = inner.offsets.to_numpy()
                shape.append(int(steps[1] - steps[0]) if len(steps) > 1 else 0)
                if steps[-1] - steps[0] != shape[-1] * (len(steps) - 1):
                    raise ValueError("entries of one column differ in shape")
            else:
                break
            inner = inner.values
        flat = inner.to_numpy(zero_copy_only=False).reshape(-1, *shape)
        entries.extend(flat[start:stop] for start, stop in itertools.pairwise(offsets))
    return entries


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def _open(shard: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(shard, memory_map=True)
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"{shard} is not a readable episode shard: {error}") from error


def _shards(folder: Path) -> list[Path]:
    return sorted((folder / "data").glob(SHARD_PATTERN))


__all__ = [
    "DECODED_BYTES",
    "EpisodeWriter",
    "column_rows",
    "count_episodes",
    "read_episodes",
    "read_infos",
    "table_episodes",
    "write_episodes",
]
