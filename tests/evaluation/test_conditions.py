"""What figures depend on beside the agent is told with them."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import pytest

from mbrl_agents.agents.reference import RandomAgent
from mbrl_agents.data.conditions import conditions_of, merged, sentence
from mbrl_agents.evaluation.rollouts import evaluate
from mbrl_agents.evaluation.statistics import summarise


@pytest.fixture
def telling(monkeypatch: pytest.MonkeyPatch) -> None:
    """CartPole tells conditions."""
    from gymnasium.envs.classic_control.cartpole import CartPoleEnv

    told = {"physics": "Euler", "assets": "none"}
    monkeypatch.setattr(CartPoleEnv, "conditions", told, raising=False)


def test_an_environment_that_tells_nothing() -> None:
    env = gym.make("CartPole-v1")
    assert conditions_of(env) is None
    records = evaluate(_random, "CartPole-v1", episodes=1)
    assert summarise(records)["conditions"] is None
    env.close()


@pytest.mark.usefixtures("telling")
def test_they_are_told_with_the_step_limit_and_kept_in_the_summary() -> None:
    env = gym.make("CartPole-v1", max_episode_steps=77)
    assert conditions_of(env) == {"physics": "Euler", "assets": "none", "step_limit": 77}
    env.close()
    records = evaluate(_random, "CartPole-v1", episodes=2)
    assert summarise(records)["conditions"] == conditions_of(gym.make("CartPole-v1"))
    assert "conditions" not in records[0].to_json()


def test_another_meaning_of_the_name_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from gymnasium.envs.classic_control.cartpole import CartPoleEnv

    monkeypatch.setattr(CartPoleEnv, "conditions", lambda self: None, raising=False)
    env = gym.make("CartPole-v1")
    assert conditions_of(env) is None
    env.close()


def test_what_differs_becomes_a_list() -> None:
    several: list[dict[str, Any] | None] = [
        {"contact_rule": "reference", "step_limit": 220},
        None,
        {"contact_rule": "reference", "step_limit": 300, "rendering": "fast"},
    ]
    both = merged(several)
    expected = {"contact_rule": "reference", "step_limit": [220, 300], "rendering": "fast"}
    assert both == expected
    assert merged([both, several[0]]) == expected
    assert merged([None, None]) is None
    assert sentence(expected) == "contact rule reference, step limit 220 or 300, rendering fast"


def _random(env: gym.Env[Any, Any]) -> RandomAgent:
    return RandomAgent(env)
