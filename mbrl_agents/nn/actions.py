"""What recorded actions look like: discrete, binary in some dimensions, how wide in others."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def one_hot(index: Tensor, size: int) -> Tensor:
    """Float one-hot vectors ``(..., size)`` of indices ``(...)``."""
    zeros = torch.zeros((*index.shape, size), device=index.device)
    # torch's own looks at every index, for which a GPU has to be waited for.
    return zeros.scatter_(-1, index[..., None], 1.0)


class ActionStatistics(nn.Module):
    """Statistics of the actions a world model was trained on, saved with its weights.

    A planner that samples far outside them asks the model about things it has never seen: one
    unit of rotation may be rare where one unit of translation is everyday.

    Args:
        size: ``A``.
        discrete: whether actions are one-hot vectors: one of ``A`` choices at every step.

    Attributes:
        discrete: as given.
        scale: ``(A,)`` standard deviation of each dimension relative to the largest, in (0, 1];
            1 everywhere before `fit`.
        binary: ``(A,)`` bool, dimensions that were only ever -1 or 1, both of them.
    """

    scale: Tensor
    binary: Tensor

    def __init__(self, size: int, *, discrete: bool = False) -> None:
        super().__init__()
        self.discrete = discrete
        self.register_buffer("scale", torch.ones(size))
        self.register_buffer("binary", torch.zeros(size, dtype=torch.bool))

    @torch.no_grad()
    def fit(self, actions: Tensor, labels: Tensor | None = None) -> None:
        """Set the statistics from executed actions ``(N, A)`` in [-1, 1].

        Args:
            labels: ``(M, A)`` the demonstrator's own actions, NaN in steps without; which
                dimensions are binary is read off these where there are any, since noise may have
                been executed.
        """
        if self.discrete:
            return  # every dimension is a choice, none reaches further than another
        known = None if labels is None else labels[labels.isfinite().all(-1)]
        chosen = actions if known is None or len(known) == 0 else known
        ones = (chosen.abs() == 1.0).all(0)
        self.binary.copy_(ones & (chosen == 1.0).any(0) & (chosen == -1.0).any(0))
        std = actions.std(0, correction=0)
        largest = std[~self.binary].max() if not self.binary.all() else std.max()
        scale = (std / largest.clamp_min(1e-6)).clamp(0.05, 1.0)
        self.scale.copy_(torch.where(self.binary, 1.0, scale))

    def binary_dims(self) -> tuple[int, ...]:
        """Indices of the binary dimensions."""
        return tuple(self.binary.nonzero()[:, 0].tolist())
