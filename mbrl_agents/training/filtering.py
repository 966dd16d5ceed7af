"""What a world model makes of whole episodes."""

from __future__ import annotations

from typing import Any

import torch

from mbrl_agents.protocols import Batch, WorldModel, tree_map

AT_ONCE = 32
"""Episodes that are filtered together."""


def filtered(
    model: WorldModel[Any], batch: Batch, *, generator: torch.Generator | None = None
) -> Any:
    """States ``(B, T, ...)`` of sequences, observed one step after another from the start.

    Args:
        generator: source of the latents of a stochastic model; None takes the most likely.
    """
    state = model.initial(len(batch))
    found = []
    for step in range(batch.reward.shape[1]):
        obs = tree_map(lambda x, t=step: x[:, t], batch.obs)
        previous, first = batch.prev_action[:, step], batch.is_first[:, step]
        state = model.observe(state, obs, previous, first, generator=generator)
        found.append(state)
    return tree_map(lambda *parts: torch.stack(parts, 1), found[0], *found[1:])


__all__ = ["AT_ONCE", "filtered"]
