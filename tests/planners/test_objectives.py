"""Objectives score what they say, checked by hand."""

from __future__ import annotations

import pytest
import torch

from mbrl_agents.planners.objectives import (
    ProgressObjective,
    ProgressObjectiveConfig,
    ReturnObjective,
    ReturnObjectiveConfig,
)
from mbrl_agents.protocols import Rollout


def rollout(**changes) -> Rollout:
    fields = {
        "features": torch.zeros(1, 3, 2),
        "reward": torch.tensor([[1.0, 2.0, 4.0]]),
        "continues": torch.tensor([[1.0, 0.5, 0.0]]),
        "value": torch.tensor([[0.0, 0.0, 10.0]]),
        "disagreement": torch.tensor([[0.0, 1.0, 2.0]]),
        "steps_to_go": torch.tensor([[9.0, 3.0, 7.0]]),
    }
    return Rollout(**{**fields, **changes})


def test_return_weighs_by_discount_and_continuation():
    objective = ReturnObjective(ReturnObjectiveConfig(discount=0.5))
    assert objective.score(rollout()).item() == pytest.approx(1 + 0.5 * 2 + 0.25 * 0.5 * 4)
    alive = rollout(continues=torch.ones(1, 3))
    assert objective.score(alive).item() == pytest.approx(1 + 1 + 1 + 0.125 * 10)
    without = ReturnObjective(ReturnObjectiveConfig(discount=0.5, terminal_value=False))
    assert without.score(alive).item() == pytest.approx(3)


@pytest.mark.parametrize(
    ("mode", "expected"), [("end", -10.0), ("best", -5.0), ("mean", -(10 + 5 + 10) / 3)]
)
def test_progress_counts_steps_from_now(mode, expected):
    config = ProgressObjectiveConfig(mode=mode, disagreement=0.0)
    assert ProgressObjective(config).score(rollout()).item() == pytest.approx(expected)


def test_progress_pays_for_disagreement_and_reward():
    config = ProgressObjectiveConfig(disagreement=4.0, reward=3.0)
    # The last step comes after a predicted end.
    expected = -10.0 - 4.0 * 1.0 + 3.0 * (1 + 2) / 3
    assert ProgressObjective(config).score(rollout()).item() == pytest.approx(expected)
    paid = ProgressObjectiveConfig(disagreement=4.0, reward=3.0, end_reward=5.0)
    assert ProgressObjective(paid).score(rollout()).item() == pytest.approx(expected + 5.0)


@pytest.mark.parametrize(
    ("objective", "config"),
    [(ProgressObjective, ProgressObjectiveConfig), (ReturnObjective, ReturnObjectiveConfig)],
)
def test_a_negative_penalty_is_a_bonus_for_what_the_model_does_not_know(objective, config):
    known = rollout(disagreement=torch.zeros(1, 3))
    for weight in (5.0, -5.0):
        scored = objective(config(disagreement=weight))
        gain = scored.score(rollout()).item() - scored.score(known).item()
        assert gain == pytest.approx(-weight * 1.0)


def test_cumulative_rewards_count_from_the_step_they_are_earned_on():
    config = ProgressObjectiveConfig(disagreement=0.0, reward=3.0, cumulative=True)
    # Rewards 1 and 2, then nothing after a predicted end: sums 1, 3 and 3.
    expected = -10.0 + 3.0 * (1 + 3 + 3) / 3
    assert ProgressObjective(config).score(rollout()).item() == pytest.approx(expected)


def test_progress_from_a_value():
    value = torch.full((1, 3), 0.99**20)
    score = ProgressObjective(ProgressObjectiveConfig(disagreement=0.0)).score(
        rollout(steps_to_go=None, value=value)
    )
    assert score.item() == pytest.approx(-23.0, abs=1e-3)
    with pytest.raises(ValueError, match="steps to go or a value"):
        ProgressObjective().score(rollout(steps_to_go=None, value=None))


def test_an_unknown_mode_is_refused():
    with pytest.raises(ValueError, match="mode"):
        ProgressObjectiveConfig(mode="middle")
