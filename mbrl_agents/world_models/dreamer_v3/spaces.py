"""Which observations are vectors and which are pictures, and how actions become numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor


@dataclass(frozen=True)
class ObservationLayout:
    """Vectors and pictures of an observation space, in a fixed order.

    Attributes:
        vectors: key to size.
        images: key to number of channels.
        image_size: height and width, the same for all pictures; None without pictures.
    """

    vectors: dict[str, int]
    images: dict[str, int]
    image_size: tuple[int, int] | None

    def stacked_vectors(self, obs: Mapping[str, Tensor]) -> Tensor:
        """All vectors side by side, ``(N, D)`` float32."""
        return torch.cat([obs[key].float().flatten(1) for key in self.vectors], -1)

    def stacked_images(self, obs: Mapping[str, Tensor]) -> Tensor:
        """All pictures, ``(N, C, H, W)`` uint8; they may come channels first or last."""
        return torch.cat([self._first(obs[key], c) for key, c in self.images.items()], 1)

    def _first(self, picture: Tensor, channels: int) -> Tensor:
        assert self.image_size is not None
        height, width = self.image_size
        if tuple(picture.shape[1:]) == (height, width, channels):
            return picture.permute(0, 3, 1, 2)
        if tuple(picture.shape[1:]) == (channels, height, width):
            return picture
        raise ValueError(
            f"expected pictures of {height} x {width} with {channels} channels, "
            f"got shape {tuple(picture.shape[1:])}"
        )


def observation_layout(space: spaces.Space, factor: int = 16) -> ObservationLayout:
    """The layout of a Box or a Dict of Boxes; a plain Box has the key "obs".

    Args:
        factor: by which the picture networks shrink a picture; sizes must be multiples of it.

    Raises:
        ValueError: for other kinds of spaces, pictures that are not uint8, of a size that is no
            multiple of ``factor``, or of several sizes.
    """
    entries = space.spaces if isinstance(space, spaces.Dict) else {"obs": space}
    vectors: dict[str, int] = {}
    images: dict[str, int] = {}
    sizes: set[tuple[int, int]] = set()
    for key, entry in entries.items():
        if not isinstance(entry, spaces.Box):
            raise ValueError(f"observation {key!r} is a {type(entry).__name__}; need a Box")
        if len(entry.shape) <= 1:
            vectors[key] = int(np.prod(entry.shape, dtype=int))
        elif len(entry.shape) == 3 and entry.dtype == np.uint8:
            channels, size = _picture(entry.shape)
            if size[0] % factor or size[1] % factor:
                raise ValueError(
                    f"picture {key!r} is {size[0]} x {size[1]}; both must be multiples of {factor}"
                )
            images[key] = channels
            sizes.add(size)
        else:
            raise ValueError(
                f"observation {key!r} has shape {entry.shape} and dtype {entry.dtype}; "
                "need vectors, or uint8 pictures (H, W, C)"
            )
    if not vectors and not images:
        raise ValueError("the observation space is empty")
    if len(sizes) > 1:
        raise ValueError(f"all pictures must have one size, got {sorted(sizes)}")
    return ObservationLayout(vectors, images, next(iter(sizes), None))


def _picture(shape: tuple[int, ...]) -> tuple[int, tuple[int, int]]:
    """Channels and size of a picture whose smallest dimension, first or last, is its channels."""
    if shape[0] < shape[2]:
        return shape[0], (shape[1], shape[2])
    return shape[2], (shape[0], shape[1])


def action_size(space: spaces.Space) -> int:
    """``A``: the size of a Box's vectors, or the number of a Discrete's actions (one-hot).

    Raises:
        ValueError: for other kinds of spaces.
    """
    if isinstance(space, spaces.Discrete):
        return int(space.n)
    if isinstance(space, spaces.Box) and len(space.shape) == 1:
        return int(space.shape[0])
    raise ValueError(f"need a Discrete or a Box of action vectors, got {space}")


__all__ = ["ObservationLayout", "action_size", "observation_layout"]
