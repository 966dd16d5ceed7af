"""Optimism: measured on models whose errors are known, kept with a run, and read by planners."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces
from toy_models import FixedPrior, KnownModel

from mbrl_agents.data.actions import ActionCodec
from mbrl_agents.data.episode import Episode
from mbrl_agents.data.recorded import RecordedEpisodes
from mbrl_agents.planners.objectives import ReturnObjective
from mbrl_agents.planners.policy_guided import (
    PolicyGuidedCEM,
    PolicyGuidedCEMConfig,
    conformal_margin,
)
from mbrl_agents.protocols import Rollout
from mbrl_agents.training.optimism import (
    Calibration,
    optimism_by_horizon,
    stretches_of,
    whole_episodes,
)

ACTIONS = spaces.Box(-1.0, 1.0, (1,), np.float32)


class Walker(KnownModel):
    """The state is a place, an action is added to it; ``bias`` is added to every reward.

    Steps to go are how far the place is from 10; imagination drifts by ``drift`` a step.
    """

    def __init__(self, bias: float = 0.0, drift: float = 0.0) -> None:
        super().__init__(1)
        self.bias, self.drift = bias, drift

    def imagine(self, state, actions, *, generator=None, keep_features=False) -> Rollout:
        place = state["target"] + (actions[..., 0] + self.drift).cumsum(1)
        reward = actions[..., 0] + self.bias
        return Rollout(None, reward, torch.ones_like(reward), steps_to_go=10 - place)


def walk(length: int, seed: int, *, terminated: bool = False) -> Episode:
    """An episode of random steps of which each is its reward."""
    rng = np.random.default_rng(seed)
    actions = rng.uniform(-1, 1, (length, 1)).astype(np.float32)
    places = np.concatenate([np.zeros((1, 1)), actions.cumsum(0)]).astype(np.float32)
    return Episode(
        observations={"obs": places},
        actions=actions,
        labels=np.full_like(actions, np.nan),
        rewards=actions[:, 0],
        terminated=terminated,
        success=terminated,
        info={},
    )


def recorded(*episodes: Episode):
    return whole_episodes(RecordedEpisodes(episodes, ActionCodec(ACTIONS)))


def test_a_perfect_model_is_not_optimistic():
    stretches = stretches_of(Walker(), recorded(walk(30, 0), walk(9, 1)), horizon=6)
    found = optimism_by_horizon(Walker(), stretches, (1, 3, 6))
    assert found.keys() == {f"{name}_{h}" for name in ("reward", "progress") for h in (1, 3, 6)}
    assert all(abs(value) < 1e-5 for value in found.values())


def test_what_is_promised_too_much_adds_up_over_the_horizon():
    model = Walker(bias=0.25, drift=0.5)
    found = optimism_by_horizon(model, stretches_of(model, recorded(walk(30, 0))), (1, 4))
    assert found["reward_1"] == pytest.approx(0.25, abs=1e-5)
    assert found["reward_4"] == pytest.approx(1.0, abs=1e-5)
    # What was realised is itself seen one imagined step before: one drift of four is shared.
    assert found["progress_1"] == pytest.approx(0.0, abs=1e-5)
    assert found["progress_4"] == pytest.approx(1.5, abs=1e-5)


def test_stretches_end_with_their_episodes_and_short_ones_count_only_as_far_as_they_go():
    stretches = stretches_of(Walker(), recorded(walk(5, 0), walk(3, 1)), horizon=4)
    assert stretches.length.tolist() == [4, 4, 3, 2, 1, 3, 2, 1]
    assert len(stretches.first(4)) == 2
    assert (stretches.actions[4, 1:] == 0).all()


def test_no_more_stretches_than_asked_for_evenly_over_all_episodes():
    episodes = recorded(*(walk(20, seed) for seed in range(40)))
    stretches = stretches_of(Walker(), episodes, limit=50)
    assert 40 <= len(stretches) <= 50
    assert len(stretches_of(Walker(), recorded(walk(2, 0)), limit=50)) == 2


def test_calibration_gives_back_what_it_was_given_after_saving_too():
    model = Walker(bias=0.1)
    stretches = stretches_of(model, recorded(walk(30, 0, terminated=True)))
    calibration = Calibration(model)
    assert calibration.stretches(model) is None
    assert not len(calibration.errors(model, ReturnObjective(), 4))
    calibration.fill(stretches)
    again = Calibration(model)
    before = again.version
    again.load_state_dict(calibration.state_dict())
    assert again.version > before
    for kept in (calibration, again):
        found = kept.stretches(model)
        assert torch.equal(found.state["target"], stretches.state["target"])
        assert torch.equal(found.actions, stretches.actions)
        assert torch.equal(found.realised.steps_to_go, stretches.realised.steps_to_go)
        errors = kept.errors(model, ReturnObjective(), 4)
        assert len(errors) == 27
        # The last four steps reach the episode's end, which the model does not foresee: what it
        # adds after it is compared as well.
        assert torch.allclose(errors[:26], torch.full((26,), 0.1 * sum(0.99**h for h in range(4))))


def test_a_calibration_without_stretches_is_emptied():
    model = Walker()
    calibration = Calibration(model)
    calibration.fill(stretches_of(model, recorded(walk(30, 0))))
    calibration.fill(None)
    assert calibration.stretches(model) is None


def test_the_margin_is_a_conformal_quantile_of_deviations_from_the_median():
    errors = torch.arange(1.0, 20.0)  # 19 of them, median 10
    assert conformal_margin(errors, 0.9) == 18 - 10  # the 18th of 19: ceil(20 * 0.9)
    assert conformal_margin(errors + 100, 0.9) == 18 - 10
    assert conformal_margin(errors, 0.96) == float("inf")
    assert conformal_margin(torch.zeros(0), 0.5) == float("inf")
    assert conformal_margin(errors, 0.1) == 0.0


def plan(errors: torch.Tensor | None, **settings) -> torch.Tensor:
    """The first action of a guided search whose optimum, 0.5, beats the prior's 0.4 by 0.03."""
    planner = PolicyGuidedCEM(
        PolicyGuidedCEMConfig(horizon=3, samples=200, elites=20, iterations=6, pull=0.0, **settings)
    )
    if errors is not None:
        planner.calibrate(lambda horizon: errors[:, horizon - 1])
    model = KnownModel(1)
    state = {"target": torch.tensor([[0.5]])}
    objective, prior = ReturnObjective(), FixedPrior(0.4)
    return planner.plan(model, state, objective=objective, prior=prior).actions[0, 0, 0]


def test_the_policys_plan_stays_unless_another_promises_more_than_the_models_errors():
    small = torch.linspace(-0.005, 0.005, 99)[:, None].expand(-1, 3)
    large = 100 * small
    assert plan(small) == pytest.approx(0.5, abs=0.02)
    assert plan(large) == pytest.approx(0.4)
    assert plan(large, confidence=0.0) == pytest.approx(0.5, abs=0.02)
    assert plan(small[:5]) == pytest.approx(0.4), "five errors do not say what nine tenths are"
    assert plan(None) == pytest.approx(0.5, abs=0.02)


def test_confidence_has_a_range():
    with pytest.raises(ValueError, match="confidence must lie in"):
        PolicyGuidedCEMConfig(confidence=1.0)
