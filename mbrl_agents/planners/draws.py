"""Random choices by inverse transform, from random numbers that environments share."""

from __future__ import annotations

import torch
from torch import Tensor


def choices(probabilities: Tensor, uniforms: Tensor) -> Tensor:
    """Indices ``(B, K, G)`` of ``K`` draws from each of ``G`` categorical distributions.

    Args:
        probabilities: ``(B, G, n)``.
        uniforms: ``(K, G)`` draws in [0, 1), the same for every environment: what one environment
            draws does not depend on which others there are.
    """
    batch, _, count = probabilities.shape
    edges = probabilities.cumsum(-1).contiguous()
    draws = uniforms.T[None].expand(batch, -1, -1).contiguous()  # (B, G, K)
    # The last edge may lie a rounding error below 1, and a draw beyond it.
    return torch.searchsorted(edges, draws, right=True).clamp_max(count - 1).transpose(1, 2)


__all__ = ["choices"]
