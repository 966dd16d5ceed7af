"""Executing a plan for several steps before searching again."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import torch

import mbrl_agents

KEYWORDS: dict[str, Any] = {
    "planner.samples": 8,
    "planner.elites": 2,
    "planner.iterations": 1,
    "planner.horizon": 6,
    "planner.hold": 3,
    "planner.replan": 3,
}


def _agent() -> Any:
    return mbrl_agents.make_agent("simple-cem", gymnasium.make("Pendulum-v1"), **KEYWORDS)


def _count_searches(agent: Any) -> list[int]:
    """Batch sizes of the searches from now on."""
    sizes: list[int] = []
    search = agent.policy._search

    def counted(state: Any, *rest: Any) -> Any:
        sizes.append(len(state["obs"]))
        return search(state, *rest)

    agent.policy._search = counted
    return sizes


def test_a_plan_is_executed_until_the_next_search() -> None:
    agent = _agent()
    sizes = _count_searches(agent)
    state, start, plans = None, np.ones(2, bool), []
    observation = np.zeros((2, 3), np.float32)
    for step in range(7):
        action, state = agent.predict(observation, state, start, deterministic=True)
        start = np.zeros(2, bool)
        plans.append(state.plan.actions.clone())
        assert state.searched == (step % 3 == 0)
        if step % 3:
            assert torch.equal(plans[-1][:, 0], plans[-2][:, 1]), "the old plan goes on"
        assert np.allclose(action, 2.0 * plans[-1][:, 0].numpy()), "scaled to Pendulum's range"
    assert sizes == [2, 2, 2]


def test_only_environments_that_are_due_are_planned_for() -> None:
    agent = _agent()
    sizes = _count_searches(agent)
    observation = np.zeros((3, 3), np.float32)
    _, state = agent.predict(observation, None, np.ones(3, bool), deterministic=True)
    before = state.plan.actions
    _, state = agent.predict(observation, state, np.array([False, True, False]), deterministic=True)
    assert sizes == [3, 1]
    assert torch.equal(state.plan.actions[0, 0], before[0, 1])
    assert state.age.tolist() == [2, 1, 2]


def test_episodes_with_other_seeds_are_planned_with_other_noise() -> None:
    agent = _agent()
    observation = np.zeros((1, 3), np.float32)

    def plan(seed: int) -> torch.Tensor:
        agent.set_random_seed(seed)
        _, state = agent.predict(observation, None, np.ones(1, bool), deterministic=True)
        return state.plan.mean

    assert torch.equal(plan(1), plan(1))
    assert not torch.equal(plan(1), plan(2))
