"""V: a variational autoencoder of single images (arXiv:1803.10122, appendix A.1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

KERNEL, STRIDE, LEVELS = 4, 2, 4
VALID_SIDE = 64
"""The one size of images that the paper's transposed convolutions draw."""

VALID_KERNELS = (5, 5, 6, 6)
FEW = 16
"""Images below which turning the weights takes longer than it saves."""

LOGVAR_BOUND = 20.0
"""Of either sign: beyond, an exponential overflows."""


class Vision(nn.Module):
    """Images to Gaussians over latents, and latents to images.

    Without padding (``valid``), four convolutions turn 64 x 64 pixels into 2 x 2 cells, and
    transposed ones with kernels 5, 5, 6 and 6 turn one cell back.  With padding 1 each level halves
    or doubles the size.

    Args:
        channels: of the images.
        size: height and width.
        latent: size of ``z``.
        depth: channels of the first convolution.
        valid: whether convolutions have no padding.
        generator: source of the initial weights.

    Raises:
        ValueError: for images of a size that these networks cannot draw.
    """

    def __init__(
        self,
        channels: int,
        size: tuple[int, int],
        *,
        latent: int,
        depth: int,
        valid: bool,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        if valid and size != (VALID_SIDE, VALID_SIDE):
            raise ValueError(
                f"vision='valid' draws images of 64 x 64 pixels, got {size[0]} x {size[1]}: let "
                "the environment resize its frames (mbrl/CarRacing-v3 and mbrl/Frames-v0 take "
                "env.size and env.rows), or take vision='same'"
            )
        if size[0] % 2**LEVELS or size[1] % 2**LEVELS:
            raise ValueError(
                f"images must be a multiple of 16 pixels high and wide, got {size[0]} x {size[1]}: "
                "let the environment resize its frames (mbrl/Frames-v0 takes env.size and env.rows)"
            )
        self.latent, self.valid = latent, valid
        depths = [depth * 2**level for level in range(LEVELS)]
        cells = (2, 2) if valid else (size[0] // 2**LEVELS, size[1] // 2**LEVELS)
        self.code = depths[-1] * cells[0] * cells[1]
        padding = 0 if valid else 1
        inner: list[nn.Module] = []
        for inputs, outputs in zip([channels, *depths[:-1]], depths, strict=True):
            inner += [nn.utils.skip_init(nn.Conv2d, inputs, outputs, KERNEL, STRIDE, padding),
                      nn.ReLU()]  # fmt: skip
        self.encoder = nn.Sequential(*inner)
        self.mean = nn.utils.skip_init(nn.Linear, self.code, latent)
        self.logvar = nn.utils.skip_init(nn.Linear, self.code, latent)
        self.start = nn.utils.skip_init(nn.Linear, latent, self.code)
        self.cell = (self.code, 1, 1) if valid else (depths[-1], *cells)
        kernels = VALID_KERNELS if valid else (KERNEL,) * LEVELS
        widths = [self.cell[0], *depths[-2::-1], channels]
        outer: list[nn.Module] = []
        for inputs, outputs, kernel in zip(widths[:-1], widths[1:], kernels, strict=True):
            outer += [nn.ReLU()] if outer else []
            outer.append(
                nn.utils.skip_init(nn.ConvTranspose2d, inputs, outputs, kernel, STRIDE, padding)
            )
        self.decoder = nn.Sequential(*outer)
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter, generator=generator)
            else:
                nn.init.zeros_(parameter)

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the variance ``(N, latent)`` of images ``(N, C, H, W)`` uint8."""
        # Channels last, unless weights would have to be turned for a few images alone.
        weight = self.encoder[0].weight
        assert isinstance(weight, Tensor)
        turned = weight.is_contiguous(memory_format=torch.channels_last)
        few = len(images) < FEW and not turned
        form = torch.contiguous_format if few else torch.channels_last
        x = unit(images).contiguous(memory_format=form)
        code = self.encoder(x).flatten(1)
        return self.mean(code), self.logvar(code).clamp(-LOGVAR_BOUND, LOGVAR_BOUND)

    def draw(self, latents: Tensor) -> Tensor:
        """Images ``(N, C, H, W)`` in [0, 1] of latents ``(N, latent)``."""
        return torch.sigmoid(self.decoder(self.start(latents).unflatten(1, self.cell)))

    def losses(self, images: Tensor, noise: Tensor, free_nats: float) -> tuple[Tensor, Tensor]:
        """Squared error summed over an image, and KL in nats at least ``free_nats``, ``(N,)`` each.

        Args:
            images: ``(N, C, H, W)`` uint8.
            noise: ``(N, latent)`` standard normal, of the latents.
        """
        mean, logvar = self.encode(images)
        drawn = self.draw(mean + torch.exp(0.5 * logvar) * noise)
        error = (drawn - unit(images)).square().flatten(1).sum(1)
        kl = 0.5 * (mean.square() + logvar.exp() - 1.0 - logvar).sum(1)
        return error, kl.clamp_min(free_nats)


def unit(images: Tensor) -> Tensor:
    """Pixels in 0..255 to float32 in [0, 1]."""
    return images.float() / 255.0


__all__ = ["VALID_SIDE", "Vision", "unit"]
