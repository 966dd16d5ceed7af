"""Binary action dimensions (a gripper): one switch per plan instead of independent noise."""

from __future__ import annotations

import torch
from torch import Tensor


class SwitchTable:
    """The ``2 n`` sign sequences over ``n`` decisions that change sign at most once.

    Option ``i < n`` starts at -1 and becomes +1 at decision ``i + 1``; option ``n + i`` is its
    negative.  ``i = n - 1`` never switches.  Independent noise on a gripper opens and closes it
    all the time and hardly ever holds anything for ten steps; these plans do.
    """

    def __init__(self, decisions: int, device: torch.device) -> None:
        time = torch.arange(decisions, device=device)
        rising = torch.where(time[None, :] > time[:, None], 1.0, -1.0)
        self.values = torch.cat([rising, -rising])  # (2 n, n)
        # The first decision is the one to be executed: keep its sign when sequences that switch
        # more than once are replaced by the nearest that switches once.
        weight = torch.ones(decisions, device=device)
        weight[0] = decisions + 1.0
        self._projection = self.values * weight

    def nearest(self, signs: Tensor) -> Tensor:
        """Index ``(...)`` of the option closest to ``signs`` ``(..., n)``."""
        sequence = torch.where(signs > 0, 1.0, -1.0)
        return (sequence @ self._projection.T).argmax(-1)

    def concentrated(self, option: Tensor, mass: float) -> Tensor:
        """Probabilities ``(..., 2 n)``: ``mass`` on ``option`` ``(...)``, the rest uniform."""
        count = len(self.values)
        spread = torch.full((*option.shape, count), (1 - mass) / count, device=option.device)
        return spread.scatter_add(-1, option[..., None], torch.full_like(spread[..., :1], mass))

    def uniform(self, batch: int, dims: int) -> Tensor:
        """Probabilities ``(batch, dims, 2 n)``."""
        count = len(self.values)
        return torch.full((batch, dims, count), 1 / count, device=self.values.device)
