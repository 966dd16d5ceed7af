"""Planning over discrete actions: every environment has one sequence that pays."""

from __future__ import annotations

import math

import pytest
import torch
from toy_models import ChainModel, ChainPrior, KnownModel, NaNBeyond, SumOfRewards

from mbrl_agents.planners.cem import CEMConfig, CEMPlanner
from mbrl_agents.planners.policy_guided import (
    PolicyGuidedCEM,
    PolicyGuidedCEMConfig,
    PolicyPlanner,
    PolicyPlannerConfig,
)
from mbrl_agents.protocols import Plan, Proposal, WorldModel

SEQUENCES = [[3, 1, 0, 2, 2], [0, 0, 3, 3, 1], [2, 3, 2, 1, 0]]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def run(config=None, sequences=None, objective=None, model=None, place=0, **arguments) -> Plan:
    model = model or ChainModel()
    arguments.setdefault("generator", seeded())
    planner = CEMPlanner(config or CEMConfig(horizon=5))
    state = model.start(sequences or SEQUENCES, place)
    return planner.plan(model, state, objective=objective or SumOfRewards(), **arguments)


def guided(prior, sequences=None, model=None, settings=None, place=0, **arguments) -> Plan:
    model = model or ChainModel(sparse=True)
    planner = PolicyGuidedCEM(PolicyGuidedCEMConfig(**{"horizon": 5, **(settings or {})}))
    arguments.setdefault("generator", seeded())
    state = model.start(sequences or SEQUENCES, place)
    return planner.plan(model, state, objective=SumOfRewards(), prior=prior, **arguments)


def assert_one_hot(actions: torch.Tensor) -> None:
    assert actions.dtype == torch.float32
    assert ((actions == 0) | (actions == 1)).all()
    assert (actions.sum(-1) == 1).all()


def test_the_toy_models_are_world_models():
    for model in (ChainModel(), KnownModel()):
        assert isinstance(model, WorldModel)


def test_it_finds_each_environments_sequence():
    plan = run()
    assert plan.actions.shape == plan.mean.shape == plan.std.shape == (3, 5, 4)
    assert_one_hot(plan.actions)
    assert plan.actions.argmax(-1).tolist() == SEQUENCES
    assert plan.score.tolist() == [5.0] * 3


def test_the_mean_is_a_distribution_with_a_floor_and_there_is_no_std():
    config = CEMConfig(horizon=5, iterations=20, min_probability=0.02)
    plan = run(config)
    assert torch.allclose(plan.mean.sum(-1), torch.ones(3, 5), atol=1e-5)
    assert plan.mean.min().item() == pytest.approx(0.02, abs=1e-4)
    assert plan.mean.argmax(-1).tolist() == SEQUENCES
    assert (plan.std == 0).all()


def test_the_floor_leaves_half_of_the_mass_however_many_actions_there_are():
    model = ChainModel(action_size=100, length=1)
    plan = run(CEMConfig(horizon=1, iterations=8), [[70]], model=model)
    assert plan.actions.argmax(-1).item() == 70
    assert plan.mean[0, 0, 70] > 0.5


def test_all_candidates_are_whole_actions():
    model = ChainModel()
    run(model=model)
    assert_one_hot(model.seen)
    assert model.seen.shape == (300, 5, 4)
    assert model.calls == CEMConfig().iterations


def test_candidates_have_the_probabilities_they_claim():
    """One iteration without momentum over elites that are all candidates gives back the prior."""
    config = CEMConfig(
        horizon=2, samples=4000, elites=4000, iterations=1, momentum=0.0, min_probability=1e-6
    )
    share = torch.tensor([0.5, 0.3, 0.15, 0.05])

    class Skewed:
        def propose(self, model, state, horizon):
            mean = share.expand(3, horizon, 4)
            return Proposal(mean, torch.zeros_like(mean))

    settings = {**vars(config), "policy_samples": 0, "pull": 0.0}
    plan = guided(Skewed(), settings=settings)
    assert torch.allclose(plan.mean, share.expand(3, 2, 4), atol=0.03)


def test_held_actions_stay_for_their_steps():
    sequences = [[1, 1, 1, 3, 3, 3, 0], [2, 2, 2, 0, 0, 0, 1]]
    model = ChainModel(length=7)
    plan = run(CEMConfig(horizon=7, hold=3), sequences, model=model)
    assert plan.actions.argmax(-1).tolist() == sequences
    assert plan.mean.shape == (2, 7, 4)
    assert (model.seen[:, :3] == model.seen[:, :1]).all()
    assert (model.seen[:, 3:6] == model.seen[:, 3:4]).all()


def test_where_the_steps_of_a_held_decision_disagree_the_earlier_decide():
    model = ChainModel(length=4)
    actions = torch.eye(4)[torch.tensor([[0, 3, 2, 2]])]
    warm = Plan(actions, actions, torch.zeros_like(actions), torch.zeros(1))
    config = CEMConfig(horizon=4, hold=2, iterations=1)
    run(config, [[0, 0, 0, 0]], model=model, warm_start=warm)
    assert model.seen[1].argmax(-1).tolist() == [3, 3, 2, 2]


def test_one_elite_and_no_kept_ones():
    for keep in (0, 1):
        plan = run(CEMConfig(horizon=5, elites=1, keep_elites=keep, samples=400))
        assert plan.actions.argmax(-1).tolist() == SEQUENCES
        assert plan.mean.isfinite().all()


def test_nan_plans_never_become_elites():
    model = ChainModel()
    # The first actions 0 is what would pay in the second environment.
    plan = run(objective=NaNBeyond(model), model=model)
    assert (plan.actions[:, 0, 0] == 0).all()
    assert plan.actions[0].argmax(-1).tolist() == SEQUENCES[0]
    assert plan.score.isfinite().all()
    assert plan.mean[1, 0, 0] < 0.05


def test_places_among_the_elites_that_nan_leaves_open_stay_empty():
    class OnlyTheFirst(SumOfRewards):
        """Finite for the first candidate of each environment alone, the plan of 0s."""

        def score(self, rollout):
            number = torch.arange(len(rollout.reward)) % 50
            return torch.where(number == 0, 1.0, torch.nan)

    config = CEMConfig(horizon=5, samples=50, iterations=1, momentum=0.0, min_probability=1e-6)
    plan = run(config, objective=OnlyTheFirst())
    assert torch.allclose(plan.mean, plan.actions, atol=1e-4)


def test_nothing_but_nan_keeps_the_start():
    class AllNaN(SumOfRewards):
        def score(self, rollout):
            return torch.full_like(rollout.reward[:, 0], torch.nan)

    plan = run(objective=AllNaN())
    assert torch.allclose(plan.mean, torch.full((3, 5, 4), 0.25))
    assert_one_hot(plan.actions)
    assert (plan.score == -torch.inf).all()


def test_a_warm_start_is_shifted_tried_and_mixed_with_chance():
    previous = run(CEMConfig(horizon=5, iterations=20))
    model = ChainModel()
    config = CEMConfig(horizon=5, iterations=1, samples=2000, warm_mass=0.8)
    run(config, model=model, warm_start=previous)
    moved = [[*sequence[1:], sequence[-1]] for sequence in SEQUENCES]
    candidates = model.seen.reshape(3, 2000, 5, 4)
    assert candidates[:, 0].argmax(-1).tolist() == moved
    assert candidates[:, 1].argmax(-1).tolist() == moved
    shifted = torch.cat([previous.mean[:, 1:], previous.mean[:, -1:]], 1)
    expected = 0.8 * shifted + 0.2 / 4
    assert torch.allclose(candidates.mean(1), expected, atol=0.05)


def test_a_good_warm_start_helps_and_an_ended_episode_discards_it():
    config = CEMConfig(horizon=5, iterations=1, samples=20, elites=4, warm_mass=0.9)
    found = run(CEMConfig(horizon=5, iterations=20))
    ended = torch.tensor([True, False, False])
    # One real step later the other four actions of the sequence are left.
    assert run(config, place=1).score[0] < 4
    assert run(config, place=1, warm_start=found).score.tolist() == [4.0] * 3
    mixed = run(config, place=1, warm_start=found, is_first=ended).score
    assert mixed[0] < 4
    assert mixed[1] == mixed[2] == 4


def test_a_warm_start_of_another_shape_is_refused():
    with pytest.raises(ValueError, match="warm start has shape"):
        run(CEMConfig(horizon=4), warm_start=run())


def test_environments_in_one_call_get_what_each_gets_alone():
    for config in (
        CEMConfig(horizon=5, samples=30, elites=4, iterations=2),
        CEMConfig(horizon=5, hold=2, correlation=0.5, tolerance=0.05, iterations=9),
    ):
        together = run(config)
        for i, sequence in enumerate(SEQUENCES):
            alone = run(config, [sequence])
            assert torch.equal(together.actions[i], alone.actions[0])
            assert torch.allclose(together.mean[i], alone.mean[0], atol=1e-6)


def test_same_generator_same_plan_and_no_global_randomness():
    before = torch.random.get_rng_state()
    config = CEMConfig(horizon=5, iterations=1, samples=20)
    a, b = (run(config, generator=seeded(3)) for _ in range(2))
    assert torch.equal(a.actions, b.actions)
    assert torch.equal(a.mean, b.mean)
    assert not torch.equal(a.mean, run(config, generator=seeded(4)).mean)
    assert torch.equal(before, torch.random.get_rng_state())


def test_the_likeliest_plan_can_be_returned_with_its_own_score():
    plan = run(CEMConfig(horizon=5, returns="mean", iterations=3, samples=40))
    assert_one_hot(plan.actions)
    assert torch.equal(plan.actions.argmax(-1), plan.mean.argmax(-1))
    model = ChainModel()
    own = model.imagine(model.start(SEQUENCES), plan.actions).reward.sum(1)
    assert torch.equal(plan.score, own)


def test_correlated_draws_repeat_themselves_and_are_as_even():
    def draws(correlation):
        model = ChainModel(length=10)
        config = CEMConfig(horizon=10, samples=2000, iterations=1, correlation=correlation)
        run(config, [[0] * 10], model=model)
        return model.seen.argmax(-1)

    white, smooth = draws(0.0), draws(0.95)
    for chosen in (white, smooth):
        share = torch.bincount(chosen.flatten(), minlength=4) / chosen.numel()
        assert torch.allclose(share, torch.full((4,), 0.25), atol=0.03)
    assert (white[:, 1:] == white[:, :-1]).float().mean() < 0.3
    assert (smooth[:, 1:] == smooth[:, :-1]).float().mean() > 0.6


def test_convergence_stops_each_environment_on_its_own():
    plan = run(CEMConfig(horizon=5, iterations=60, tolerance=0.01))
    assert plan.info["iterations"] < 60
    assert plan.actions.argmax(-1).tolist() == SEQUENCES


@pytest.mark.parametrize("wrong", [0.0, -0.1, 0.6])
def test_impossible_floors_are_refused(wrong):
    with pytest.raises(ValueError, match="min_probability"):
        CEMConfig(min_probability=wrong)


# -- with a policy ----------------------------------------------------------------------


def test_a_guided_search_finds_a_reward_that_chance_does_not():
    """Only the end of the sequence pays: one in 4**5 plans, of which this search sees 64."""
    assert run(CEMConfig(horizon=5, samples=32, elites=4, iterations=2)).score.max() < 5
    sparse = ChainModel(sparse=True)
    blind = run(CEMConfig(horizon=5, samples=32, elites=4, iterations=2), model=sparse)
    assert blind.score.max() == 0
    plan = guided(ChainPrior(0.6), settings={"pull": 0.0})
    assert plan.actions.argmax(-1).tolist() == SEQUENCES
    assert plan.score.tolist() == [1.0] * 3
    assert_one_hot(plan.actions)


def test_the_policys_own_plan_and_draws_are_tried():
    model = ChainModel()
    # Half of the search's own draws are of anything, so that the policy's can be told from them.
    settings = {"iterations": 1, "samples": 600, "policy_samples": 200, "min_probability": 0.5}
    guided(ChainPrior(0.9), model=model, settings=settings)
    candidates = model.seen.reshape(3, 600, 5, 4).argmax(-1)
    assert candidates[:, 0].tolist() == SEQUENCES
    right = (candidates == torch.tensor(SEQUENCES)[:, None]).float()
    assert right[:, 1:201].mean().item() == pytest.approx(0.9, abs=0.03)
    assert right[:, 201:].mean().item() == pytest.approx(0.5 * 0.9 + 0.5 / 4, abs=0.03)


def wrong_prior() -> ChainPrior:
    """Confident of other sequences than those that pay."""

    class Wrong(ChainPrior):
        def propose(self, model, state, horizon):
            proposal = super().propose(model, state, horizon)
            return Proposal(proposal.mean.roll(1, -1), proposal.std)

    return Wrong(0.7)


def test_a_margin_keeps_the_policys_plan():
    settings = {"pull": 0.0, "iterations": 8, "samples": 200, "policy_samples": 8}
    model = ChainModel()
    free = guided(wrong_prior(), model=model, settings=settings)
    held = guided(wrong_prior(), model=model, settings={**settings, "margin": 9.0})
    policys = (torch.tensor(SEQUENCES) + 1) % 4
    assert free.score.min() > 0
    assert torch.equal(held.actions.argmax(-1), policys)
    assert (held.score == 0).all()


def test_a_pull_holds_the_plan_near_the_policy_and_costs_its_own_plan_nothing():
    settings = {"iterations": 8, "samples": 200, "min_probability": 1e-6}
    policys = (torch.tensor(SEQUENCES) + 1) % 4
    plans = [
        guided(wrong_prior(), model=ChainModel(), settings={**settings, "pull": pull})
        for pull in (0.0, 100.0)
    ]
    near = [(plan.actions.argmax(-1) == policys).float().mean() for plan in plans]
    assert near[0] < near[1] == 1
    assert (plans[1].score == 0).all()


def test_what_a_pull_costs_is_the_shortfall_in_nats():
    class Generous(SumOfRewards):
        def score(self, rollout):
            return 100 * super().score(rollout)

    settings = {"iterations": 4, "samples": 100, "min_probability": 1e-6}
    planner = PolicyGuidedCEM(PolicyGuidedCEMConfig(horizon=2, pull=3.0, **settings))
    model, prior = ChainModel(), wrong_prior()
    # The second action pays nothing any more and stays the policy's.
    state = model.start([sequence[:1] for sequence in SEQUENCES])
    plan = planner.plan(model, state, objective=Generous(), prior=prior, generator=seeded())
    expected = 100 - 3 * math.log(0.7 / 0.1) / 2
    assert plan.score.tolist() == pytest.approx([expected] * 3, abs=1e-3)


def test_a_warm_start_is_tried_beside_the_policys_draws():
    found = run(CEMConfig(horizon=5, iterations=20))
    settings = {"iterations": 1, "pull": 0.0}
    assert guided(ChainPrior(0.1), settings=settings, place=1).score.max() == 0
    plan = guided(ChainPrior(0.1), settings=settings, place=1, warm_start=found)
    assert plan.score.tolist() == [1.0] * 3


def test_guided_environments_in_one_call_get_what_each_gets_alone():
    together = guided(ChainPrior(0.5))
    for i, sequence in enumerate(SEQUENCES):
        alone = guided(ChainPrior(0.5), [sequence])
        assert torch.equal(together.actions[i], alone.actions[0])
        assert torch.allclose(together.mean[i], alone.mean[0], atol=1e-6)


def test_the_policy_planner_executes_the_likeliest_actions():
    model = ChainModel()
    planner = PolicyPlanner(PolicyPlannerConfig(horizon=5, replan=2))
    plan = planner.plan(
        model, model.start(SEQUENCES), objective=SumOfRewards(), prior=ChainPrior(0.4)
    )
    assert_one_hot(plan.actions)
    assert plan.actions.argmax(-1).tolist() == SEQUENCES
    assert torch.allclose(plan.mean.amax(-1), torch.full((3, 5), 0.4))
    assert (plan.std == 0).all()
