"""Normalisation by statistics of the data, kept with the weights."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn


class Normaliser(nn.Module):
    """``(x - mean) / std`` with statistics fitted once and stored in the state dict.

    The floor keeps dimensions that hardly vary in the data (a plate that is never moved) from
    being blown up until simulation noise looks like a signal.

    Args:
        size: number of dimensions.
        floor: smallest std, in the units of the data; a number or one per dimension.
        clip: bound on the absolute normalised value; 0 for none.
    """

    mean: Tensor
    std: Tensor
    floor: Tensor

    def __init__(self, size: int, *, floor: float | Tensor = 1e-6, clip: float = 0.0) -> None:
        super().__init__()
        floor = torch.as_tensor(floor, dtype=torch.float32).expand(size).clone()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("std", torch.ones(size))
        self.register_buffer("floor", floor, persistent=False)
        self.clip = clip

    def fit(self, data: Tensor) -> None:
        """Set the statistics from ``data`` ``(N, size)``.

        Raises:
            ValueError: when there is no data or it is not finite.
        """
        if data.ndim != 2 or len(data) == 0:
            raise ValueError(f"need data of shape (N, {len(self.mean)}), got {tuple(data.shape)}")
        if not torch.isfinite(data).all():
            raise ValueError("the data holds NaN or infinite values")
        data = data.double()
        self.mean.copy_(data.mean(0))
        self.std.copy_(data.std(0, correction=0).clamp_min(self.floor.double()))

    def fit_range(self, data: Tensor) -> None:
        """As `fit`, but by half the range of nine tenths of the data where that is less.

        One number of 10 among hundredths, a reward at success, would drown the others.  Where
        nine tenths hardly differ, as sparse rewards do, the std stays.

        Raises:
            ValueError: when there is no data or it is not finite.
        """
        self.fit(data)
        low, high = np.quantile(data.double().cpu().numpy(), (0.05, 0.95), axis=0)
        half = torch.as_tensor((high - low) / 2).to(self.std)
        self.std.copy_(torch.where(half > self.floor, self.std.minimum(half), self.std))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``(..., size)``; float32 in and out."""
        x = (x - self.mean) / self.std
        return x.clamp(-self.clip, self.clip) if self.clip else x

    def inverse(self, x: Tensor) -> Tensor:
        """Back to the units of the data (clipping cannot be undone)."""
        return x * self.std + self.mean
