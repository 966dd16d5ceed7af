"""Observation and action spaces as JSON, so that a saved agent needs no pickle."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces


def encode_space(space: spaces.Space) -> dict[str, Any]:
    """A Box, a Dict of Boxes or a Discrete as plain values.

    Raises:
        ValueError: for any other kind of space.
    """
    if isinstance(space, spaces.Dict):
        return {
            "kind": "Dict",
            "spaces": {key: encode_space(entry) for key, entry in space.spaces.items()},
        }
    if isinstance(space, spaces.Box):
        return {
            "kind": "Box",
            "low": _bound(space.low),
            "high": _bound(space.high),
            "shape": list(space.shape),
            "dtype": str(np.dtype(space.dtype)),
        }
    if isinstance(space, spaces.Discrete):
        return {"kind": "Discrete", "n": int(space.n), "start": int(space.start)}
    raise ValueError(f"only Box, Dict and Discrete spaces can be saved, got {space}")


def decode_space(data: dict[str, Any]) -> spaces.Space:
    """The space behind `encode_space`'s values."""
    if data["kind"] == "Dict":
        return spaces.Dict({key: decode_space(entry) for key, entry in data["spaces"].items()})
    if data["kind"] == "Discrete":
        return spaces.Discrete(data["n"], start=data["start"])
    dtype, shape = np.dtype(data["dtype"]), tuple(data["shape"])
    low = np.broadcast_to(np.array(data["low"], dtype=np.float64), shape).astype(dtype)
    high = np.broadcast_to(np.array(data["high"], dtype=np.float64), shape).astype(dtype)
    return spaces.Box(low, high, shape, dtype.type)


def _bound(values: np.ndarray) -> Any:
    """A scalar where all entries agree; infinities as words, which JSON can carry."""
    flat = values.astype(np.float64)
    if flat.size and (flat == flat.flat[0]).all():
        return _number(float(flat.flat[0]))
    return np.vectorize(_number, otypes=[object])(flat).tolist()


def _number(value: float) -> float | str:
    return str(value) if np.isinf(value) else float(value)
