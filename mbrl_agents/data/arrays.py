"""Decoded episodes in memory-mapped files beside their shards.

``FOLDER/.arrays`` holds a file for each kind of array that episodes have (``0.bin``, ``1.bin``,
...), with the rows of all decoded shards one after another, and ``index.json``, which says which
rows are whose.  Both only grow: what lies beyond the rows that the index counts was left behind by
an interrupted reader and is cut off by the next.  Where a decoded shard changed or is gone, all is
decoded anew.  The folder may be removed at any time.

One process at a time decodes, under a lock that ends with it; others wait and find it done.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from mbrl_agents.data.episode import Episode
from mbrl_agents.data.files import discard_partial, write_text

ARRAYS_FOLDER = ".arrays"
INDEX_FILE, LOCK_FILE = "index.json", ".lock"
FORMAT = 1
_OBSERVATION = "observations."

Decode = Callable[[Path], Iterable[Episode]]


def mapped_episodes(
    folder: Path, shards: Sequence[Path], decode: Decode, limit: int | None = None
) -> list[Episode]:
    """The episodes of ``shards`` (or the first ``limit``), their arrays read-only views of files.

    Args:
        folder: where the files lie, in `ARRAYS_FOLDER`.  Where that cannot be written they lie in
            a temporary folder without a name, which lasts as long as the arrays.
        shards: in order.
        decode: reads the episodes of one; called for those that were not read before.
        limit: no more shards are decoded than it needs.
    """
    place = folder / ARRAYS_FOLDER
    # Not writable, without locks, or full: others may have decoded there what we cannot.
    for shared, read in ((False, decode), (True, _refuse)):
        with suppress(OSError), _locked(place, shared=shared):
            return _read(place, shards, read, limit)
    with tempfile.TemporaryDirectory(prefix="mbrl-arrays-") as name:
        return _read(Path(name), shards, decode, limit)


@contextmanager
def _locked(place: Path, *, shared: bool) -> Iterator[None]:
    """Hold the lock of the folder; ``shared`` it takes nothing but reading.

    Raises:
        OSError: when the folder is not there or may not be written.
    """
    if not shared:
        place.mkdir(exist_ok=True)
    with (place / LOCK_FILE).open("rb" if shared else "wb") as stream:
        fcntl.flock(stream, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield


def _refuse(shard: Path) -> Iterable[Episode]:
    raise PermissionError(f"{shard} is not decoded")


def _read(place: Path, shards: Sequence[Path], decode: Decode, limit: int | None) -> list[Episode]:
    store = _Arrays(place)
    stamps = {shard.name: _stamp(shard) for shard in shards}
    if not store.sound(stamps):
        store.clear()
    wanted: list[str] = []
    count = 0
    with store.appending() as append:
        for shard in shards:
            if limit is not None and count >= limit:
                break
            if shard.name not in store.shards:
                append(shard.name, stamps[shard.name], decode(shard))
            wanted.append(shard.name)
            count += len(store.shards[shard.name]["episodes"])
    return store.episodes(wanted)[:limit]


def _stamp(shard: Path) -> list[int]:
    """What changes when a file is written anew."""
    found = shard.stat()
    return [found.st_size, found.st_mtime_ns]


class _Arrays:
    """The folder of decoded arrays.

    Attributes:
        columns: of each file ``name``, ``dtype``, ``shape`` of a row, and committed ``rows``.
        shards: by name ``stamp``; ``arrays``, by name the file and the first row; ``episodes``,
            of each steps, whether terminated, whether successful, and info.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        self.columns: list[dict[str, Any]] = []
        self.shards: dict[str, dict[str, Any]] = {}
        self._known = True
        try:
            index = json.loads((place / INDEX_FILE).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return
        except ValueError:
            index = {}
        self._known = index.get("format") == FORMAT
        if self._known:
            self.columns, self.shards = index["columns"], index["shards"]

    def sound(self, stamps: dict[str, list[int]]) -> bool:
        """Whether the files are what the index says, and the shards what they were made of."""
        return (
            self._known
            and all(stamps.get(name) == shard["stamp"] for name, shard in self.shards.items())
            and all(
                (path := self._file(number)).is_file()
                and path.stat().st_size >= column["rows"] * _row_bytes(column)
                for number, column in enumerate(self.columns)
            )
        )

    def clear(self) -> None:
        """Begin anew; arrays that somebody still uses stay until they are dropped."""
        (self.place / INDEX_FILE).unlink(missing_ok=True)
        for path in self.place.glob("*.bin"):
            path.unlink()
        self.columns, self.shards, self._known = [], {}, True

    @contextmanager
    def appending(self) -> Iterator[Callable[[str, list[int], Iterable[Episode]], None]]:
        """Gives a function that adds a shard; what was added counts once the block has ended."""
        sizes = {n: c["rows"] * _row_bytes(c) for n, c in enumerate(self.columns)}
        before = len(self.shards)
        files: dict[int, BinaryIO] = {}
        try:
            with ExitStack() as stack:

                def file(number: int) -> BinaryIO:
                    if number not in files:
                        files[number] = stack.enter_context(self._file(number).open("ab"))
                        files[number].truncate(sizes.get(number, 0))
                    return files[number]

                yield partial(self._append, file)
                for stream in files.values():
                    # The index must not reach the disk before what it counts.
                    os.fsync(stream.fileno())
        except BaseException:
            for number in files:
                os.truncate(self._file(number), sizes.get(number, 0))
            raise
        if len(self.shards) > before:
            discard_partial(self.place / INDEX_FILE)
            index = {"format": FORMAT, "columns": self.columns, "shards": self.shards}
            write_text(self.place / INDEX_FILE, json.dumps(index))

    def _append(
        self,
        file: Callable[[int], BinaryIO],
        shard: str,
        stamp: list[int],
        episodes: Iterable[Episode],
    ) -> None:
        arrays: dict[str, list[int]] = {}
        entries: list[list[Any]] = []
        for episode in episodes:
            for name, array in _arrays_of(episode).items():
                number = self._column(name, array)
                known = arrays.setdefault(name, [number, self.columns[number]["rows"]])
                if known[0] != number:
                    raise ValueError(
                        f"{shard} holds arrays {name!r} of different shape or type; expected one"
                    )
                np.ascontiguousarray(array).tofile(file(number))
                self.columns[number]["rows"] += len(array)
            entries.append([len(episode), episode.terminated, episode.success, episode.info])
        self.shards[shard] = {"stamp": stamp, "arrays": arrays, "episodes": entries}

    def _column(self, name: str, array: np.ndarray) -> int:
        """The file for such arrays; another shard may have others of the same name."""
        column = {"name": name, "dtype": array.dtype.str, "shape": list(array.shape[1:])}
        for number, found in enumerate(self.columns):
            if {**column, "rows": found["rows"]} == found:
                return number
        self.columns.append({**column, "rows": 0})
        return len(self.columns) - 1

    def episodes(self, shards: Iterable[str]) -> list[Episode]:
        """The episodes of some shards."""
        maps: dict[int, np.ndarray] = {}
        found = []
        for name in shards:
            shard = self.shards[name]
            for number, _ in shard["arrays"].values():
                if number not in maps:
                    maps[number] = self._map(number)
            begin = {key: first for key, (_, first) in shard["arrays"].items()}
            for steps, terminated, success, info in shard["episodes"]:
                views = {}
                for key, (number, _) in shard["arrays"].items():
                    rows = steps + key.startswith(_OBSERVATION)
                    views[key] = maps[number][begin[key] : begin[key] + rows]
                    begin[key] += rows
                observations = {
                    key.removeprefix(_OBSERVATION): view
                    for key, view in views.items()
                    if key.startswith(_OBSERVATION)
                }
                found.append(
                    Episode(
                        observations=observations,
                        actions=views["actions"],
                        labels=views["labels"],
                        rewards=views["rewards"],
                        terminated=terminated,
                        success=success,
                        info=info,
                    )
                )
        return found

    def _map(self, number: int) -> np.ndarray:
        column = self.columns[number]
        shape = (column["rows"], *column["shape"])
        return np.asarray(np.memmap(self._file(number), column["dtype"], "r", shape=shape))

    def _file(self, number: int) -> Path:
        return self.place / f"{number}.bin"


def _arrays_of(episode: Episode) -> dict[str, np.ndarray]:
    observations = {f"{_OBSERVATION}{key}": value for key, value in episode.observations.items()}
    return {
        **observations,
        "actions": episode.actions,
        "labels": episode.labels,
        "rewards": episode.rewards,
    }


def _row_bytes(column: dict[str, Any]) -> int:
    return math.prod(column["shape"]) * np.dtype(column["dtype"]).itemsize


__all__ = ["ARRAYS_FOLDER", "mapped_episodes"]
