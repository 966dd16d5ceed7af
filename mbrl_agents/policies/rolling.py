"""A policy rolled through a world model: where the search of a planner may start."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mbrl_agents.nn.actions import one_hot
from mbrl_agents.protocols import Proposal, WorldModel

Head = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Features ``(B, F)`` to mean and std ``(B, A)``; to probabilities and zeros where discrete."""


def propose_by_rolling(head: Head, model: WorldModel[Any], state: Any, horizon: int) -> Proposal:
    """The plan a policy would follow inside ``model``, and how sure it is of each action.

    The model is advanced by the policy's mean action, or by its likeliest discrete one.
    """
    means, stds = [], []
    for step in range(horizon):
        mean, std = head(model.features(state))
        means.append(mean)
        stds.append(std)
        if step + 1 < horizon:
            action = mean
            if model.actions.discrete:
                action = one_hot(mean.argmax(-1), model.action_size)
            state = model.imagine_step(state, action)
    return Proposal(torch.stack(means, 1), torch.stack(stds, 1))


__all__ = ["Head", "propose_by_rolling"]
