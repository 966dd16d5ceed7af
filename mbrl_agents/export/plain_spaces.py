"""As much of Gymnasium's spaces as building and running a model takes, without Gymnasium.

Where an exported file has its parts look for ``gymnasium.spaces``, they find this module.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


class Space:
    """What all spaces are."""

    shape: tuple[int, ...] = ()
    dtype = ""


class Box(Space):
    """Arrays ``shape`` between ``low`` and ``high`` (a number, or nested lists of them)."""

    def __init__(self, low: Any, high: Any, shape: Sequence[int], dtype: str) -> None:
        self.shape, self.dtype = tuple(shape), dtype
        self.low, self.high = self._bound(low), self._bound(high)

    def _bound(self, values: Any) -> Tensor:
        return torch.tensor(_numbers(values), dtype=torch.float64).expand(self.shape)


class Dict(Space):
    """Spaces by key."""

    def __init__(self, spaces: Mapping[str, Space]) -> None:
        self.spaces = dict(spaces)

    def __getitem__(self, key: str) -> Space:
        return self.spaces[key]


class Discrete(Space):
    """The numbers from ``start`` to before ``start + n``."""

    def __init__(self, n: int, start: int = 0) -> None:
        self.n, self.start = n, start


def one_hot(space: Space) -> Space:
    """What models see of a space: a Discrete is a vector."""
    if isinstance(space, Dict):
        return Dict({key: one_hot(entry) for key, entry in space.spaces.items()})
    return Box(0.0, 1.0, (space.n,), "float32") if isinstance(space, Discrete) else space


def decode(data: Mapping[str, Any]) -> Space:
    """The space behind the values of `mbrl_agents.agents.space_codec.encode_space`."""
    if data["kind"] == "Dict":
        return Dict({key: decode(entry) for key, entry in data["spaces"].items()})
    if data["kind"] == "Discrete":
        return Discrete(data["n"], data["start"])
    return Box(data["low"], data["high"], data["shape"], data["dtype"])


def _numbers(values: Any) -> Any:
    """Nested lists with infinities as numbers, which JSON spells as words."""
    if isinstance(values, list):
        return [_numbers(value) for value in values]
    return math.inf if values == "inf" else -math.inf if values == "-inf" else float(values)


__all__ = ["Box", "Dict", "Discrete", "Space", "decode", "one_hot"]
