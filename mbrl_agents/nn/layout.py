"""What observations consist of: vectors and images in a fixed order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class ObservationLayout:
    """Vectors and images of an observation space, in a fixed order.

    Attributes:
        vectors: key to size.
        images: key to number of channels.
        image_size: height and width, the same for all images; None without images.
    """

    vectors: dict[str, int]
    images: dict[str, int]
    image_size: tuple[int, int] | None

    def stacked_vectors(self, obs: Mapping[str, Tensor]) -> Tensor:
        """All vectors side by side, ``(N, D)`` float32."""
        return torch.cat([obs[key].float().flatten(1) for key in self.vectors], -1)

    def stacked_images(self, obs: Mapping[str, Tensor]) -> Tensor:
        """All images, ``(N, C, H, W)`` uint8; they may come channels first or last."""
        return torch.cat([self._first(obs[key], c) for key, c in self.images.items()], 1)

    def _first(self, image: Tensor, channels: int) -> Tensor:
        assert self.image_size is not None
        height, width = self.image_size
        if tuple(image.shape[1:]) == (height, width, channels):
            return image.permute(0, 3, 1, 2)
        if tuple(image.shape[1:]) == (channels, height, width):
            return image
        raise ValueError(
            f"expected images of {height} x {width} with {channels} channels, "
            f"got shape {tuple(image.shape[1:])}"
        )


__all__ = ["ObservationLayout"]
