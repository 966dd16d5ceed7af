"""What an agent's plans promised of the actions it executed, and what came of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from mbrl_agents.agents.policy import AgentPolicy
from mbrl_agents.data.rollout import Predictor, Step
from mbrl_agents.protocols import tree_map
from mbrl_agents.training.optimism import Taken, cut, optimism_by_horizon

STRETCHES = 16
"""Stretches of an episode that are looked at, at most."""


def executed_optimism(
    predictor: Predictor, states: Sequence[Any], steps: Sequence[Step]
) -> dict[str, float] | None:
    """Optimism over the planner's horizon along the actions that an episode executed.

    The horizon is shorter where the episode is.

    Args:
        predictor: an agent; there is nothing to say of others, and of those that do not search.
        states: what its ``predict`` returned as state, step by step.
        steps: what the environment answered, the reset first.

    Returns:
        ``horizon`` (control steps), ``reward`` and, where the model knows steps to go,
        ``progress``, both as in `mbrl_agents.training.optimism.optimism_by_horizon`; or None.
    """
    policy = getattr(predictor, "policy", None)
    if not isinstance(policy, AgentPolicy) or not states or policy.planner is None:
        return None
    count, plan = len(states), states[0].plan
    if plan is None or plan.actions.shape[1] == 1:
        return None  # nothing was imagined
    horizon = min(plan.actions.shape[1], count)
    model, after = policy.searched_model, steps[1:]
    taken = Taken(
        states=tree_map(lambda *x: torch.stack(x, 1), *(state.carry for state in states)),
        actions=torch.stack([state.action for state in states], 1),
        reward=torch.tensor([[step.reward for step in after]]),
        terminal=torch.tensor([[step.terminated for step in after]]),
        length=torch.tensor([count]),
    )
    starts = torch.linspace(0, count - horizon, min(STRETCHES, count - horizon + 1)).long()
    stretches = cut(model, taken, torch.zeros_like(starts), starts, horizon)
    found = optimism_by_horizon(model, stretches, (horizon,))
    named = {name.removesuffix(f"_{horizon}"): round(value, 4) for name, value in found.items()}
    return {"horizon": float(horizon), **named}


__all__ = ["executed_optimism"]
