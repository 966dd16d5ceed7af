"""Latents back to observations: what was encoded, predicted."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mbrl_agents.algorithms.dreamer_v3.config import DreamerV3Config
from mbrl_agents.nn.chunks import in_chunks
from mbrl_agents.nn.layout import ObservationLayout
from mbrl_agents.nn.normed import (
    BlockLinear,
    Conv,
    Dense,
    Linear,
    RMSNorm,
    dense_stack,
)
from mbrl_agents.nn.pixels import rare_pixels
from mbrl_agents.nn.symlog import symexp, symlog_mse


class UpConv(Conv):
    """Nearest-neighbour upsampling by 2 and a 5 x 5 convolution, in one.

    Neighbouring pixels of the upsampled image are equal, so each of the four output pixels of
    a cell sees only 3 x 3 cells: the same numbers from a third of the products.
    """

    fold: Tensor

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, generator: torch.Generator
    ) -> None:
        super().__init__(inputs, outputs, kernel, generator=generator)
        reach = kernel // 2
        self.cells = (reach + 1) // 2
        fold = torch.zeros(2, 2 * self.cells + 1, kernel)
        for parity in range(2):
            for tap in range(kernel):
                fold[parity, (parity + tap - reach) // 2 + self.cells, tap] = 1.0
        self.register_buffer("fold", fold, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, outputs, 2 H, 2 W)``."""
        weight = torch.einsum("pjk,qlm,ockm->opqcjl", self.fold, self.fold, self.weight)
        weight = weight.flatten(0, 2)
        bias = self.bias.repeat_interleave(4)
        return F.pixel_shuffle(F.conv2d(x, weight, bias, padding=self.cells), 2)


DARKEST = 1.0 / 255.0
"""Of a mean image, whose logit is finite."""


class Decoder(nn.Module):
    """``h`` and ``z`` to images in [0, 1] and vectors in symlog space.

    An image starts as the sum of a block-wise projection of ``h``, whose blocks become groups of
    channels, and a small perceptron on ``z``.  With ``mean_image`` what comes out is added to the
    logits of the mean recorded image, see `fit_mean`.

    Args:
        config: sizes.
        layout: of the observations.
        deter, latent: ``D`` and ``G n``.
        generator: source of the initial weights.
    """

    offset: Tensor | None

    def __init__(
        self,
        config: DreamerV3Config,
        layout: ObservationLayout,
        deter: int,
        latent: int,
        *,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.layout, self.deter, self.blocks = layout, deter, config.blocks
        self.rare = config.rare
        units = config.width("units")
        if layout.vectors:
            self.vectors = nn.Sequential(
                dense_stack(deter + latent, units, config.vector_layers, generator=generator),
                Linear(units, sum(layout.vectors.values()), generator=generator),
            )
        if layout.images:
            assert layout.image_size is not None
            depths = [config.width("depth") * mult for mult in config.mults]
            factor = 2 ** len(depths)
            self.base = (layout.image_size[0] // factor, layout.image_size[1] // factor)
            size = self.base[0] * self.base[1] * depths[-1]
            self.from_deter = BlockLinear(deter, size, config.blocks, generator=generator)
            self.from_stoch = nn.Sequential(
                Dense(latent, 2 * units, generator=generator),
                Linear(2 * units, size, generator=generator),
            )
            self.base_norm = RMSNorm(depths[-1], dim=1)
            inner = depths[::-1]
            self.convs = nn.ModuleList(
                UpConv(a, b, config.kernel, generator=generator)
                for a, b in zip(inner[:-1], inner[1:], strict=True)
            )
            self.norms = nn.ModuleList(RMSNorm(depth, dim=1) for depth in inner[1:])
            channels = sum(layout.images.values())
            self.output = UpConv(inner[-1], channels, config.kernel, generator=generator)
            offset = torch.zeros(channels, *layout.image_size) if config.mean_image else None
            self.register_buffer("offset", offset)
            if config.mean_image:
                nn.init.zeros_(self.output.weight)

    @torch.no_grad()
    def fit_mean(self, obs: Mapping[str, Tensor]) -> None:
        """Take the mean image of observations ``(N, ...)`` for what stands still, if so set."""
        if self.offset is not None:
            mean = self.layout.stacked_images(obs).float().mean(0) / 255.0
            self.offset.copy_(torch.logit(mean, eps=DARKEST))

    def draw(self, features: Tensor) -> Tensor:
        """Images ``(N, C, H, W)`` in [0, 1] at ``(N, F)``."""
        deter, latent = features[:, : self.deter], features[:, self.deter :]
        height, width = self.base
        # Blocks of h become groups of channels: (N, G, H, W, c) -> (N, G c, H, W).
        grouped = self.from_deter(deter).reshape(len(deter), self.blocks, height, width, -1)
        x = grouped.permute(0, 1, 4, 2, 3).flatten(1, 2)
        x = x + self.from_stoch(latent).reshape(x.shape)
        x = x.contiguous(memory_format=torch.channels_last)
        x = F.silu(self.base_norm(x))
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = F.silu(norm(conv(x)))
        logits = self.output(x).float()
        return torch.sigmoid(logits if self.offset is None else logits + self.offset)

    def losses(
        self, features: Tensor, obs: Mapping[str, Tensor], drawn: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Reconstruction losses ``(N,)`` by kind, summed over numbers and pixels.

        Args:
            features: ``(N, F)``.
            obs: entries ``(N, ...)``.
            drawn: ``(M,)`` rows whose images are decoded, None for all; the loss of images
                is then ``(M,)``.
        """
        losses: dict[str, Tensor] = {}
        if self.layout.vectors:
            truth = self.layout.stacked_vectors(obs)
            losses["vectors"] = symlog_mse(self.vectors(features), truth)
        if self.layout.images:
            if drawn is not None:
                features = features[drawn]
                obs = {key: obs[key][drawn] for key in self.layout.images}
            images = self.layout.stacked_images(obs)
            weight = [rare_pixels(images, self.rare)] if self.rare else []
            losses["images"] = in_chunks(self._off, images[0, 0].numel(), features, images, *weight)
        return losses

    def _off(self, features: Tensor, images: Tensor, weight: Tensor | None = None) -> Tensor:
        off = (self.draw(features) - images.float() / 255.0).square()
        return (off if weight is None else off * weight).flatten(1).sum(1)

    def decode(self, features: Tensor) -> dict[str, Tensor]:
        """Observations by key at ``(N, F)``: vectors, and images ``(N, H, W, C)`` in [0, 1]."""
        decoded: dict[str, Tensor] = {}
        if self.layout.vectors:
            sizes = list(self.layout.vectors.values())
            parts = symexp(self.vectors(features).float()).split(sizes, 1)
            decoded |= dict(zip(self.layout.vectors, parts, strict=True))
        if self.layout.images:
            assert self.layout.image_size is not None
            height, width = self.layout.image_size
            images = in_chunks(self.draw, height * width, features).permute(0, 2, 3, 1)
            parts = images.split(list(self.layout.images.values()), 3)
            decoded |= dict(zip(self.layout.images, parts, strict=True))
        return decoded
