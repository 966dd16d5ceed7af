"""The tokenizer: an autoencoder of images through a grid of discrete codes.

Its layers are those of VQGAN (Esser et al. 2021, arXiv:2012.09841), its codebook is learned by
gradients (van den Oord et al. 2017, arXiv:1711.00937), without moving averages.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mbrl_agents.algorithms.iris.config import IrisConfig
from mbrl_agents.nn.pixels import rare_pixels

GROUP = 2
"""Channels that share a norm."""


def norm(channels: int) -> nn.GroupNorm:
    """The norm before every convolution."""
    return nn.GroupNorm(channels // GROUP, channels, eps=1e-6)


class ResidualBlock(nn.Module):
    """``x + f(x)`` of two convolutions, each after a norm and a swish; ``(N, C, H, W)``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = norm(channels), norm(channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        return x + self.conv2(F.silu(self.norm2(h)))


class SpatialAttention(nn.Module):
    """``x + f(x)`` of one head of self-attention among the cells of ``(N, C, H, W)``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = norm(channels)
        self.projections = nn.Conv2d(channels, 3 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        cells = self.projections(self.norm(x)).flatten(2).transpose(1, 2)  # (N, H W, 3 C)
        query, key, value = cells[:, None].chunk(3, -1)
        mixed = F.scaled_dot_product_attention(query, key, value)[:, 0]
        return x + self.out(mixed.transpose(1, 2).reshape(x.shape))


class Downsample(nn.Module):
    """Half the height and width, by a convolution that looks one cell further down and right."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Twice the height and width: every cell four times, then a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


def level(config: IrisConfig, blocks: int, height: int) -> list[nn.Module]:
    """Residual blocks of a level of ``height`` cells, with attention after each where there is."""
    found: list[nn.Module] = []
    for _ in range(blocks):
        found.append(ResidualBlock(config.channels))
        if height in config.attention:
            found.append(SpatialAttention(config.channels))
    return found


def middle(channels: int) -> list[nn.Module]:
    """What lies between the levels and the codes."""
    return [ResidualBlock(channels), SpatialAttention(channels), ResidualBlock(channels)]


@dataclass(frozen=True)
class Encoded:
    """Images as the tokenizer sees them; ``h x w`` is the grid of tokens.

    Attributes:
        tokens: ``(N, h w)`` indices of the nearest codes.
        latents: ``(N, E, h, w)`` of the encoder.
        codes: ``(N, E, h, w)`` the nearest codes themselves.
    """

    tokens: Tensor
    latents: Tensor
    codes: Tensor


class Tokenizer(nn.Module):
    """Images ``(N, C, H, W)`` in [0, 1] to tokens ``(N, K)`` and back (arXiv:2209.00588, 2.1).

    Weights are drawn from torch's global generator; see `mbrl_agents.nn.drawing.drawing_from`.

    Args:
        config: settings.
        channels: of the images.
        size: height and width, multiples of ``2 ** (levels - 1)``.

    Attributes:
        grid: height and width in tokens.
        tokens: ``K``, the number of tokens of an image.
    """

    def __init__(self, config: IrisConfig, channels: int, size: tuple[int, int]) -> None:
        super().__init__()
        factor = 2 ** (config.levels - 1)
        if size[0] % factor or size[1] % factor:
            raise ValueError(
                f"images must be a multiple of {factor} pixels high and wide with "
                f"world_model.levels={config.levels}, got {size[0]} x {size[1]}: let the "
                "environment resize its frames, or take fewer levels"
            )
        self.commitment, self.squared = config.commitment, config.squared
        self.rare = config.rare
        self.grid = (size[0] // factor, size[1] // factor)
        self.tokens = self.grid[0] * self.grid[1]
        width, blocks = config.channels, config.residual_blocks
        heights = [size[0] // 2**number for number in range(config.levels)]
        inner: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1)]
        for height in heights:
            inner += level(config, blocks, height)
            inner += [Downsample(width)] if height != heights[-1] else []
        inner += [*middle(width), norm(width), nn.SiLU()]
        inner += [nn.Conv2d(width, config.code_size, 3, padding=1)]
        outer: list[nn.Module] = [nn.Conv2d(config.code_size, width, 3, padding=1), *middle(width)]
        for height in heights[::-1]:
            outer += level(config, blocks + 1, height)
            outer += [Upsample(width)] if height != heights[0] else []
        outer += [norm(width), nn.SiLU(), nn.Conv2d(width, channels, 3, padding=1)]
        self.encoder, self.decoder = nn.Sequential(*inner), nn.Sequential(*outer)
        self.before = nn.Conv2d(config.code_size, config.code_size, 1)
        self.after = nn.Conv2d(config.code_size, config.code_size, 1)
        self.codebook = nn.Embedding(config.codes, config.code_size)
        nn.init.uniform_(self.codebook.weight, -1.0 / config.codes, 1.0 / config.codes)

    def encode(self, images: Tensor) -> Encoded:
        """The nearest codes of images ``(N, C, H, W)`` in [0, 1]."""
        pixels = (2.0 * images - 1.0).contiguous(memory_format=torch.channels_last)
        latents = self.before(self.encoder(pixels))
        flat = latents.permute(0, 2, 3, 1).flatten(0, 2)
        book = self.codebook.weight
        # The squared distance, less what is the same for all codes.
        nearest = torch.addmm(book.square().sum(1), flat.detach(), book.detach().t(), alpha=-2.0)
        tokens = nearest.argmin(1).reshape(len(images), self.tokens)
        return Encoded(tokens, latents, self._placed(tokens))

    def embed(self, tokens: Tensor) -> Tensor:
        """The codes ``(..., K, E)`` of tokens ``(..., K)``."""
        return self.codebook(tokens)

    def decode(self, tokens: Tensor) -> Tensor:
        """Images ``(N, C, H, W)`` in [0, 1] of tokens ``(N, K)``."""
        return self._unit(self._drawn(self._placed(tokens)))

    def reconstruct(self, images: Tensor) -> Tensor:
        """What is left of images ``(N, C, H, W)`` in [0, 1] after encoding and decoding."""
        return self._unit(self._drawn(self.encode(images).codes))

    def losses(self, images: Tensor) -> tuple[dict[str, Tensor], Encoded]:
        """Reconstruction and commitment losses of images in [0, 1], averaged over everything.

        ``|x - D(z)|`` of pixels in [-1, 1], and ``|sg(E(x)) - z|^2 + beta |E(x) - sg(z)|^2``
        (arXiv:2209.00588, equation 2, without the perceptual loss); with `IrisConfig.squared` the
        squared error of pixels as well, and with `IrisConfig.rare` each pixel by its own weight.
        """
        found = self.encode(images)
        latents, codes = found.latents, found.codes
        # Straight through: the decoder's gradient goes to the encoder as if nothing was rounded.
        drawn = self._drawn(latents + (codes - latents).detach())
        off = drawn - (2.0 * images - 1.0)
        weight = rare_pixels(images, self.rare) if self.rare else 1.0
        reconstruction = (weight * off.abs()).mean()
        if self.squared:
            reconstruction = reconstruction + self.squared * (weight * off.square()).mean()
        to_codes = (codes - latents.detach()).square().mean()
        to_latents = (latents - codes.detach()).square().mean()
        return {
            "reconstruction": reconstruction,
            "commitment": to_codes + self.commitment * to_latents,
        }, found

    def _placed(self, tokens: Tensor) -> Tensor:
        """The codes of tokens ``(N, K)`` in their grid, ``(N, E, h, w)``."""
        return self.codebook(tokens).unflatten(1, self.grid).permute(0, 3, 1, 2)

    def _drawn(self, codes: Tensor) -> Tensor:
        """Pixels in [-1, 1], unless the decoder goes beyond."""
        drawn: Tensor = self.decoder(self.after(codes))
        return drawn

    @staticmethod
    def _unit(pixels: Tensor) -> Tensor:
        return (0.5 * pixels + 0.5).clamp(0.0, 1.0)


__all__ = ["Encoded", "ResidualBlock", "SpatialAttention", "Tokenizer"]
