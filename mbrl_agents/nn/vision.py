"""Observations to tokens and back, through the convolutions of the first Dreamers.

Hafner et al. 2020 (arXiv:1912.01603, appendix A) and 2021 (arXiv:2010.02193) take those of World
Models (Ha and Schmidhuber 2018, arXiv:1803.10122): four of kernel 4 and stride 2 without padding
turn 64 x 64 pixels into 2 x 2 cells, and four transposed ones turn a single cell back into 64 x 64
pixels.  Images of 32 x 32 pixels, which the papers do not have, go through the first three levels.
Vectors go through a perceptron.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mbrl_agents.nn.chunks import in_chunks
from mbrl_agents.nn.dense import activation_layer, dense_head, dense_layers, glorot
from mbrl_agents.nn.layout import ObservationLayout
from mbrl_agents.nn.pixels import rare_pixels

DOWN_KERNEL, STRIDE = 4, 2

UP_KERNELS: dict[int, tuple[int, ...]] = {64: (5, 5, 6, 6), 32: (5, 6, 6)}
"""Kernels of the transposed convolutions, which lead from one cell to exactly these sizes."""

CELLS = 4
"""What the encoder's convolutions leave of an image of either size: 2 x 2 cells."""


class ObservationEncoder(nn.Module):
    """Images through convolutions, vectors through a perceptron, side by side.

    Args:
        layout: of the observations.
        depth: channels of the first convolution; each further one has twice as many.
        activation: of the convolutions, see `mbrl_agents.nn.dense.ACTIVATIONS`.
        units, layers: width and number of the perceptron's layers; vectors enter as they are.
        dense_activation: of the perceptron.
        generator: source of the initial weights.

    Attributes:
        token_size: size of what comes out; 32 times ``depth`` for images of 64 x 64 pixels, 16
            times for 32 x 32, and ``units`` for vectors.

    Raises:
        ValueError: for images that are neither 64 x 64 nor 32 x 32.
    """

    def __init__(
        self,
        layout: ObservationLayout,
        *,
        depth: int,
        activation: str,
        units: int,
        layers: int,
        dense_activation: str = "elu",
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.layout = layout
        self.token_size = 0
        if layout.images:
            depths = _depths(layout, depth)
            parts: list[nn.Module] = []
            inputs = sum(layout.images.values())
            for outputs in depths:
                parts += [
                    glorot(
                        nn.Conv2d, inputs, outputs, DOWN_KERNEL, stride=STRIDE, generator=generator
                    ),
                    activation_layer(activation),
                ]
                inputs = outputs
            self.convs = nn.Sequential(*parts)
            self.token_size += CELLS * depths[-1]
        if layout.vectors:
            size = sum(layout.vectors.values())
            self.vectors = dense_layers(size, units, layers, dense_activation, generator)
            self.token_size += units if layers else size

    def forward(self, obs: Mapping[str, Tensor]) -> Tensor:
        """Observations ``(N, ...)`` to tokens ``(N, E)``."""
        tokens = []
        if self.layout.images:
            images = self.layout.stacked_images(obs)
            tokens.append(in_chunks(self._look, images[0, 0].numel(), images))
        if self.layout.vectors:
            tokens.append(self.vectors(self.layout.stacked_vectors(obs)))
        return torch.cat(tokens, -1)

    def _look(self, images: Tensor) -> Tensor:
        # Channels last: convolutions of few channels take half the time on a CPU.
        x = centred(images).contiguous(memory_format=torch.channels_last)
        return self.convs(x).flatten(1)


class ObservationDecoder(nn.Module):
    """Features to the means of unit-variance Normals over observations.

    Args:
        layout: of the observations.
        feature_size: ``F``.
        depth: channels of the last hidden level of images; each level before has twice as many.
        activation: between the transposed convolutions.
        units, layers: width and number of hidden layers of the vectors' perceptron.
        dense_activation: of that perceptron.
        rare: see `mbrl_agents.nn.pixels.rare_pixels`.
        generator: source of the initial weights.

    Raises:
        ValueError: for images that are neither 64 x 64 nor 32 x 32.
    """

    def __init__(
        self,
        layout: ObservationLayout,
        feature_size: int,
        *,
        depth: int,
        activation: str,
        units: int,
        layers: int,
        dense_activation: str = "elu",
        rare: float = 0.0,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.layout, self.rare = layout, rare
        if layout.images:
            depths = _depths(layout, depth)
            assert layout.image_size is not None
            start = CELLS * depths[-1]
            self.cell = glorot(nn.Linear, feature_size, start, generator=generator)
            channels = [start, *depths[-2::-1], sum(layout.images.values())]
            parts: list[nn.Module] = []
            levels = zip(channels[:-1], channels[1:], UP_KERNELS[layout.image_size[0]], strict=True)
            for inputs, outputs, kernel in levels:
                if parts:
                    parts.append(activation_layer(activation))
                parts.append(
                    glorot(
                        nn.ConvTranspose2d,
                        inputs,
                        outputs,
                        kernel,
                        stride=STRIDE,
                        generator=generator,
                    )
                )
            self.convs = nn.Sequential(*parts)
        if layout.vectors:
            size = sum(layout.vectors.values())
            self.vectors = dense_head(
                feature_size, size, units, layers, dense_activation, generator
            )

    def losses(self, features: Tensor, obs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Negative log-likelihood of observations in nats, by kind, ``(N,)`` each.

        Half the squared error, summed over pixels (in units of 255 grey levels) and channels or
        over numbers.  The constant ``log(2 pi) / 2`` of every dimension is left out, so that 0
        is a perfect reconstruction; the gradient is the same.

        Args:
            features: ``(N, F)``.
            obs: entries ``(N, ...)``.

        Returns:
            "images" and "vectors", where the observations have them.
        """
        losses: dict[str, Tensor] = {}
        if self.layout.images:
            images = self.layout.stacked_images(obs)
            weight = [rare_pixels(images, self.rare)] if self.rare else []
            losses["images"] = in_chunks(self._off, images[0, 0].numel(), features, images, *weight)
        if self.layout.vectors:
            difference = self.vectors(features) - self.layout.stacked_vectors(obs)
            losses["vectors"] = 0.5 * difference.square().sum(-1)
        return losses

    def decode(self, features: Tensor) -> dict[str, Tensor]:
        """Mean observations by key at ``(N, F)``.

        Images ``(N, height, width, channels)`` in [0, 1], vectors ``(N, D)`` in their own units.
        """
        decoded: dict[str, Tensor] = {}
        if self.layout.images:
            assert self.layout.image_size is not None
            height, width = self.layout.image_size
            images = in_chunks(self._drawn, height * width, features).permute(0, 2, 3, 1)
            images = (images + 0.5).clamp(0.0, 1.0)
            parts = images.split(list(self.layout.images.values()), 3)
            decoded |= dict(zip(self.layout.images, parts, strict=True))
        if self.layout.vectors:
            parts = self.vectors(features).split(list(self.layout.vectors.values()), 1)
            decoded |= dict(zip(self.layout.vectors, parts, strict=True))
        return decoded

    def _drawn(self, features: Tensor) -> Tensor:
        """Centred images ``(N, C, H, W)`` at ``(N, F)``."""
        return self.convs(self.cell(features)[..., None, None])

    def _off(self, features: Tensor, images: Tensor, weight: Tensor | None = None) -> Tensor:
        off = (self._drawn(features) - centred(images)).square()
        return 0.5 * (off if weight is None else off * weight).flatten(1).sum(1)


def centred(images: Tensor) -> Tensor:
    """Pixels in 0..255 to float32 in [-0.5, 0.5]."""
    return images.float() / 255.0 - 0.5


def _depths(layout: ObservationLayout, depth: int) -> list[int]:
    """Channels after each of the encoder's convolutions."""
    assert layout.image_size is not None
    height, width = layout.image_size
    if height != width or height not in UP_KERNELS:
        raise ValueError(
            f"images must be 64 x 64 or 32 x 32 pixels for these networks, got {height} x {width}"
        )
    return [depth * 2**level for level in range(len(UP_KERNELS[height]))]


__all__ = ["ObservationDecoder", "ObservationEncoder", "centred"]
