"""Observations to tokens: convolutions for images, a perceptron for vectors."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mbrl_agents.algorithms.dreamer_v3.config import DreamerV3Config
from mbrl_agents.nn.chunks import in_chunks
from mbrl_agents.nn.layout import ObservationLayout
from mbrl_agents.nn.normed import Conv, RMSNorm, dense_stack
from mbrl_agents.nn.symlog import symlog


class Encoder(nn.Module):
    """Each level of the image network is convolution, max-pooling by 2, RMS norm, SiLU.

    With ``config.strided`` the convolution itself skips every other pixel.

    Vectors pass through symlog and a few dense layers; both parts are concatenated.

    Args:
        config: sizes.
        layout: of the observations.
        generator: source of the initial weights.
    """

    def __init__(
        self,
        config: DreamerV3Config,
        layout: ObservationLayout,
        *,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.layout = layout
        self.strided = config.strided
        self.token_size = 0
        if layout.vectors:
            units = config.width("units")
            self.vectors = dense_stack(
                sum(layout.vectors.values()), units, config.vector_layers, generator=generator
            )
            self.token_size += units
        if layout.images:
            assert layout.image_size is not None
            depths = [config.width("depth") * mult for mult in config.mults]
            channels = [sum(layout.images.values()), *depths]
            self.convs = nn.ModuleList(
                Conv(a, b, config.kernel, stride=2 if config.strided else 1, generator=generator)
                for a, b in zip(channels[:-1], channels[1:], strict=True)
            )
            self.norms = nn.ModuleList(RMSNorm(depth, dim=1) for depth in depths)
            factor = 2 ** len(depths)
            height, width = layout.image_size
            self.token_size += (height // factor) * (width // factor) * depths[-1]

    def forward(self, obs: Mapping[str, Tensor]) -> Tensor:
        """Observations ``(N, ...)`` to tokens ``(N, E)``."""
        tokens = []
        if self.layout.vectors:
            tokens.append(self.vectors(symlog(self.layout.stacked_vectors(obs))))
        if self.layout.images:
            images = self.layout.stacked_images(obs)
            tokens.append(in_chunks(self._look, images[0, 0].numel(), images))
        return torch.cat(tokens, -1)

    def _look(self, images: Tensor) -> Tensor:
        """Images ``(N, C, H, W)`` uint8 to tokens."""
        # Channels last: convolutions of few channels take half the time on a CPU.
        x = (images.float() / 255.0 - 0.5).contiguous(memory_format=torch.channels_last)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = conv(x) if self.strided else F.max_pool2d(conv(x), 2)
            x = F.silu(norm(x))
        return x.flatten(1)
