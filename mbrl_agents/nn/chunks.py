"""Large batches in parts that fit a processor's cache and its allocator's free lists."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

CPU_NUMBERS = 2**19
"""Spatial positions per part: 128 images of 64 x 64."""


def in_chunks(function: Callable[..., Tensor], positions: int, *inputs: Tensor) -> Tensor:
    """``function(*inputs)`` over the first dimension, in parts on a CPU and at once elsewhere.

    Images of a whole training batch make activations of over a hundred megabytes, which the
    allocator returns to the system after every use; in parts they are reused, which halves the
    time of a convolutional network on a CPU.

    Args:
        function: of batches; its results are concatenated.
        positions: height times width of an image.
        *inputs: ``(N, ...)``.
    """
    rows = max(1, CPU_NUMBERS // positions)
    if inputs[0].device.type != "cpu" or len(inputs[0]) <= rows:
        return function(*inputs)
    parts = zip(*(x.split(rows) for x in inputs), strict=True)
    return torch.cat([function(*part) for part in parts])


__all__ = ["in_chunks"]
