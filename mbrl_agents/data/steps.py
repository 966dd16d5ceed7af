"""Recorded steps of several environments, in blocks that lie in files or in memory."""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mbrl_agents.data.files import PARTIAL, atomic

SUFFIX = ".steps"
BLOCK_BYTES = 64 * 2**20
"""About as much a block takes."""

MOST_BLOCKS, LEAST_BLOCKS = 256, 8
"""Of a full store: each holds a file open, and the oldest is kept until none of it is needed."""

ALIGNMENT = 64


class StepStore:
    """Steps by env and number, the newest ``size`` of each env.

    Steps are only ever appended.  Block ``n`` has room for the steps from ``n * block`` on of
    every env.  With a folder it is a memory-mapped file: what was recorded takes no anonymous
    memory, is written to disk once, and outlives the process.  A file's name is never used again,
    so that nothing a checkpoint lists is overwritten; what it does not list is removed by `tidy`.

    Args:
        fields: name to shape and dtype of a step's entries.
        n_envs: environments.
        size: steps of each that are needed at most.
        folder: where the files lie, created when needed; None keeps the blocks in memory.
    """

    def __init__(
        self,
        fields: Mapping[str, tuple[tuple[int, ...], Any]],
        n_envs: int,
        size: int,
        folder: Path | None = None,
    ) -> None:
        self.fields = {name: (tuple(s), np.dtype(d)) for name, (s, d) in fields.items()}
        self.n_envs, self.size = n_envs, size
        self.folder = None if folder is None else folder.absolute()
        step = sum(math.prod(shape) * dtype.itemsize for shape, dtype in self.fields.values())
        wanted = max(BLOCK_BYTES // (n_envs * step), -(-size // MOST_BLOCKS))
        self.block = min(wanted, -(-size // LEAST_BLOCKS))
        self._offsets, self._bytes = self._layout()
        self._blocks: dict[int, dict[str, np.ndarray]] = {}
        self._maps: dict[int, np.memmap] = {}
        self._changed: set[int] = set()
        self._last = 0  # number of the newest file

    # -- steps --------------------------------------------------------------------------

    def write(self, env: int, step: int, values: Mapping[str, Any]) -> None:
        """Store one step, an entry for each field."""
        number, row = divmod(step, self.block)
        arrays = self._block(number)
        for name, value in values.items():
            arrays[name][env, row] = value

    def put(self, env: int, start: int, values: Mapping[str, np.ndarray]) -> None:
        """Store consecutive steps, ``(N, ...)`` for each field."""
        for number, rows, at in self._spans(start, start + len(next(iter(values.values())))):
            arrays = self._block(number)
            for name, value in values.items():
                arrays[name][env, rows] = value[at]

    def gather(
        self,
        n_envs: Sequence[int] | np.ndarray,
        starts: Sequence[int] | np.ndarray,
        length: int,
        names: Iterable[str] | None = None,
    ) -> dict[str, np.ndarray]:
        """Copies of the ``length`` steps from each of ``starts`` ``(B,)`` on.

        Args:
            n_envs: ``(B,)`` whose steps they are.
            names: fields, all by default.

        Returns:
            ``(B, length, ...)`` by field.
        """
        out = {}
        for name in self.fields if names is None else names:
            shape, dtype = self.fields[name]
            out[name] = np.empty((len(n_envs), length, *shape), dtype)
        for i, (env, start) in enumerate(zip(n_envs, starts, strict=True)):
            for number, rows, at in self._spans(int(start), int(start) + length):
                arrays = self._blocks[number]
                for name, target in out.items():
                    target[i, at] = arrays[name][env, rows]
        return out

    def read(
        self, env: int, start: int, stop: int, names: Iterable[str] | None = None
    ) -> dict[str, np.ndarray]:
        """Copies of consecutive steps, ``(stop - start, ...)`` by field."""
        found = self.gather([env], [start], stop - start, names)
        return {name: value[0] for name, value in found.items()}

    def keep(self, first: np.ndarray, end: np.ndarray) -> None:
        """Forget blocks that hold none of the steps from ``first`` to before ``end`` ``(n_envs,)``.

        Their files stay until `tidy`.
        """
        for number in list(self._blocks):
            begin = number * self.block
            if not ((first < begin + self.block) & (end > begin) & (first < end)).any():
                del self._blocks[number]
                self._maps.pop(number, None)
                self._changed.discard(number)

    # -- files --------------------------------------------------------------------------

    def flush(self) -> None:
        """Write to disk what changed; the kernel would do it later."""
        for number in sorted(self._changed):
            if number in self._maps:
                self._maps[number].flush()
        self._changed.clear()

    def files(self) -> dict[str, Any]:
        """Plain values for a checkpoint, which `restore` takes.

        Raises:
            FileNotFoundError: when somebody removed a file.
        """
        for data in self._maps.values():
            if not Path(str(data.filename)).is_file():
                raise FileNotFoundError(
                    f"{data.filename} was removed while steps were recorded into it; "
                    "what it held is lost with this process"
                )
        names = {str(n): Path(str(self._maps[n].filename)).name for n in sorted(self._maps)}
        return {"fields": self._described(), "block": self.block, "files": names}

    def restore(self, meta: Mapping[str, Any]) -> None:
        """Take up the files that `files` listed.

        Raises:
            ValueError: when one is missing or of another size, or other fields were recorded.
        """
        assert self.folder is not None
        if (meta["fields"], meta["block"]) != (self._described(), self.block):
            raise ValueError(
                f"{self.folder} holds steps of the form {meta['fields']}, in blocks of "
                f"{meta['block']}; expected {self._described()}, in blocks of {self.block}"
            )
        maps = {}
        for number, name in meta["files"].items():
            path = self.folder / name
            if not path.is_file() or path.stat().st_size != self._bytes:
                raise ValueError(
                    f"{path} is missing or not of {self._bytes} bytes, as the checkpoint of this "
                    "training expects it; take another folder or remove the checkpoint"
                )
            maps[int(number)] = np.memmap(path, np.uint8, "r+")
        self._changed.clear()
        self._maps = maps
        self._blocks = {number: self._views(data) for number, data in maps.items()}

    def tidy(self) -> None:
        """Remove files of forgotten blocks, and of others that no checkpoint lists."""
        if self.folder is None:
            return
        names = {Path(str(data.filename)).name for data in self._maps.values()}
        for path in [
            *self.folder.glob(f"*{SUFFIX}"),
            *self.folder.glob(f".*{SUFFIX}.????????{PARTIAL}"),
        ]:
            if path.name not in names:
                path.unlink()

    def copied_to(self, folder: Path | None) -> StepStore:
        """The same steps in files of another folder, or in memory."""
        copy = StepStore(self.fields, self.n_envs, self.size, folder)
        for number, arrays in self._blocks.items():
            target = copy._block(number)
            for name, array in arrays.items():
                target[name][...] = array
        return copy

    # -- blocks -------------------------------------------------------------------------

    def _spans(self, start: int, stop: int) -> Iterator[tuple[int, slice, slice]]:
        """Blocks of the steps from ``start`` to before ``stop``, rows in them and places."""
        at = start
        while at < stop:
            number, row = divmod(at, self.block)
            count = min(self.block - row, stop - at)
            yield number, slice(row, row + count), slice(at - start, at - start + count)
            at += count

    def _block(self, number: int) -> dict[str, np.ndarray]:
        """A block to write into, made when there is none."""
        if number not in self._blocks:
            data: np.ndarray
            if self.folder is None:
                data = np.zeros(self._bytes, np.uint8)  # calloc'ed: takes no memory yet
            else:
                data = self._maps[number] = np.memmap(self._new_file(), np.uint8, "r+")
            self._blocks[number] = self._views(data)
        self._changed.add(number)
        return self._blocks[number]

    def _new_file(self) -> Path:
        assert self.folder is not None
        taken = [int(p.stem) for p in self.folder.glob(f"*{SUFFIX}") if p.stem.isdigit()]
        # Also where somebody removed the files meanwhile.
        self._last = 1 + max([*taken, self._last])
        path = self.folder / f"{self._last:06d}{SUFFIX}"
        with atomic(path) as temporary, temporary.open("r+b") as stream:
            stream.truncate(self._bytes)
            if hasattr(os, "posix_fallocate"):
                # A full disk is reported here; where a mapped page is written it kills.
                try:
                    os.posix_fallocate(stream.fileno(), 0, self._bytes)
                except OSError as error:  # not every file system can promise room
                    if error.errno == errno.ENOSPC:
                        need = f"no room for another {self._bytes / 1e6:.0f} MB of recorded steps"
                        raise OSError(error.errno, need, str(path)) from error
        return path

    def _layout(self) -> tuple[dict[str, int], int]:
        """Where each field of a block begins, and how many bytes a block takes."""
        offsets, end = {}, 0
        for name, (shape, dtype) in self.fields.items():
            offsets[name] = end
            taken = self.n_envs * self.block * math.prod(shape) * dtype.itemsize
            end += -(-taken // ALIGNMENT) * ALIGNMENT
        return offsets, end

    def _views(self, data: np.ndarray) -> dict[str, np.ndarray]:
        """The fields of a block, ``(n_envs, block, ...)``."""
        data, found = np.asarray(data), {}
        for name, (shape, dtype) in self.fields.items():
            begin, full = self._offsets[name], (self.n_envs, self.block, *shape)
            part = data[begin : begin + math.prod(full) * dtype.itemsize]
            found[name] = part.view(dtype).reshape(full)
        return found

    def _described(self) -> list[list[Any]]:
        return [[name, list(shape), dtype.str] for name, (shape, dtype) in self.fields.items()]


__all__ = ["StepStore"]
