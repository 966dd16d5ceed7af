"""Observation and action spaces as what models are built for: layouts and sizes."""

from __future__ import annotations

import math

from gymnasium import spaces

from mbrl_agents.nn.layout import ObservationLayout


def observation_layout(space: spaces.Space, factor: int = 16) -> ObservationLayout:
    """The layout of a Box or a Dict of Boxes; a plain Box has the key "obs".

    Args:
        factor: by which the image networks shrink an image; sizes must be multiples of it.

    Raises:
        ValueError: for other kinds of spaces, images that are not uint8, of a size that is no
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
            vectors[key] = math.prod(entry.shape)
        elif len(entry.shape) == 3 and str(entry.dtype) == "uint8":
            channels, size = _picture(entry.shape)
            if size[0] % factor or size[1] % factor:
                raise ValueError(
                    f"image {key!r} is {size[0]} x {size[1]}; both must be multiples of {factor}"
                )
            images[key] = channels
            sizes.add(size)
        else:
            raise ValueError(
                f"observation {key!r} has shape {entry.shape} and dtype {entry.dtype}; "
                "need vectors, or uint8 images (H, W, C)"
            )
    if not vectors and not images:
        raise ValueError("the observation space is empty")
    if len(sizes) > 1:
        raise ValueError(f"all images must have one size, got {sorted(sizes)}")
    return ObservationLayout(vectors, images, next(iter(sizes), None))


def _picture(shape: tuple[int, ...]) -> tuple[int, tuple[int, int]]:
    """Channels and size of an image whose smallest dimension, first or last, is its channels."""
    if shape[0] < shape[2]:
        return shape[0], (shape[1], shape[2])
    return shape[2], (shape[0], shape[1])


def vector_layout(space: spaces.Space) -> ObservationLayout:
    """The layout of a Box or a Dict of vectors.

    Raises:
        ValueError: for images and whatever `observation_layout` refuses.
    """
    layout = observation_layout(space, factor=1)
    if layout.images:
        raise ValueError(
            f"observation {next(iter(layout.images))!r} is an image; this algorithm reads vectors "
            "only. Leave images out or take an algorithm that encodes them"
        )
    return layout


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


__all__ = ["ObservationLayout", "action_size", "observation_layout", "vector_layout"]
