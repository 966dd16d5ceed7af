"""Heads that turn network outputs into distributions."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import Normal


class GaussianHead(nn.Module):
    """A diagonal Gaussian with mean in (-1, 1) and a bounded standard deviation.

    The std is interpolated between its bounds by a sigmoid, as in the bounded normal
    actor (Hafner et al. 2023): it can neither collapse nor run away, and it is a std, not its
    logarithm or square.

    Args:
        min_std, max_std: bounds, in units of the normalised action.

    Raises:
        ValueError: unless ``0 < min_std < max_std``.
    """

    def __init__(self, *, min_std: float = 0.05, max_std: float = 1.0) -> None:
        super().__init__()
        if not 0 < min_std < max_std:
            raise ValueError(f"need 0 < min_std < max_std, got {min_std} and {max_std}")
        self.min_std = min_std
        self.max_std = max_std

    def forward(self, raw: Tensor) -> Normal:
        """``(..., 2 A)`` network outputs to a Gaussian over ``(..., A)``."""
        mean, spread = raw.chunk(2, -1)
        std = self.min_std + (self.max_std - self.min_std) * torch.sigmoid(spread)
        return Normal(torch.tanh(mean), std, validate_args=False)
