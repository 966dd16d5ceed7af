"""Observations of recorded episodes, read where they lie instead of being gathered first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor


class EpisodeRows:
    """The arrays of one observation key, one after another, indexed like the tensor of them all.

    Nothing is copied but what is asked for: episodes that `read_episodes` gave lie in files that
    processes share.

    Args:
        arrays: of each episode, ``(T + 1, ...)``; all but the first axis agree.
    """

    def __init__(self, arrays: Sequence[np.ndarray]) -> None:
        self.arrays = [np.asarray(array) for array in arrays]
        self._dtype = np.result_type(*self.arrays)
        self._first = np.cumsum([0, *(len(array) for array in self.arrays)])

    @property
    def shape(self) -> torch.Size:
        """``(rows, ...)``"""
        return torch.Size([len(self), *self.arrays[0].shape[1:]])

    def __len__(self) -> int:
        return int(self._first[-1])

    def __getitem__(self, index: Any) -> Tensor:
        """Copies of the rows that an index of a tensor's first axis chooses, none of it negative.

        Raises:
            IndexError: for rows that there are not.
        """
        if not isinstance(index, Tensor) or index.dtype != torch.long:
            index = torch.arange(len(self))[index]
        rows = index.numpy().reshape(-1)
        if len(rows) and not (rows.min() >= 0 and rows.max() < len(self)):
            raise IndexError(f"rows {rows.min()} to {rows.max()} of {len(self)}")
        out = np.empty((len(rows), *self.shape[1:]), self._dtype)
        episode = np.searchsorted(self._first, rows, side="right") - 1
        # Rows of one batch come in few runs of one episode each.
        ends = [*(np.flatnonzero(np.diff(episode)) + 1).tolist(), len(rows)]
        begin = 0
        for end in ends if len(rows) else []:
            number = int(episode[begin])
            array, at = self.arrays[number], rows[begin:end] - self._first[number]
            if array.dtype == self._dtype:
                # "clip" writes straight into the result; the rows were checked above.
                np.take(array, at, axis=0, out=out[begin:end], mode="clip")
            else:
                out[begin:end] = array[at]
            begin = end
        return torch.from_numpy(out).reshape(*index.shape, *self.shape[1:])


__all__ = ["EpisodeRows"]
