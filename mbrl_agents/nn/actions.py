"""What recorded actions look like: which dimensions are binary, and how far the others reach."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ActionStatistics(nn.Module):
    """Statistics of the actions a world model was trained on, saved with its weights.

    A planner that samples far outside them asks the model about things it has never seen: one
    unit of rotation may be rare where one unit of translation is everyday.

    Args:
        size: ``A``.

    Attributes:
        scale: ``(A,)`` standard deviation of each dimension relative to the largest, in (0, 1];
            1 everywhere before `fit`.
        binary: ``(A,)`` bool, dimensions that were only ever -1 or 1, both of them.
    """

    scale: Tensor
    binary: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("scale", torch.ones(size))
        self.register_buffer("binary", torch.zeros(size, dtype=torch.bool))

    @torch.no_grad()
    def fit(self, actions: Tensor, labels: Tensor | None = None) -> None:
        """Set the statistics from executed actions ``(N, A)`` in [-1, 1].

        Args:
            labels: ``(M, A)`` the demonstrator's own actions; which dimensions are binary is read
                off these where there are any, since noise may have been executed.
        """
        chosen = actions if labels is None or len(labels) == 0 else labels
        ones = (chosen.abs() == 1.0).all(0)
        self.binary.copy_(ones & (chosen == 1.0).any(0) & (chosen == -1.0).any(0))
        std = actions.std(0, correction=0)
        largest = std[~self.binary].max() if not self.binary.all() else std.max()
        scale = (std / largest.clamp_min(1e-6)).clamp(0.05, 1.0)
        self.scale.copy_(torch.where(self.binary, 1.0, scale))

    def binary_dims(self) -> tuple[int, ...]:
        """Indices of the binary dimensions."""
        return tuple(self.binary.nonzero()[:, 0].tolist())
