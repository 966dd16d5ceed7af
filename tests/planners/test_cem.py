"""CEM: finds optima, and has none of the defects public planners were found to have."""

from __future__ import annotations

import pytest
import torch
from toy_models import FixedPrior, KnownModel, NaNBeyond, SumOfRewards

from mbrl_agents.planners.cem import CEMConfig, CEMPlanner
from mbrl_agents.planners.policy_guided import (
    PolicyGuidedCEM,
    PolicyGuidedCEMConfig,
    PolicyPlanner,
    PolicyPlannerConfig,
)
from mbrl_agents.protocols import Plan


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def run(config=None, target=((0.4, -0.7, 0.1),), objective=None, model=None, **arguments) -> Plan:
    model = model or KnownModel(len(target[0]))
    state = {"target": torch.tensor(target)}
    arguments.setdefault("generator", seeded())
    planner = CEMPlanner(config or CEMConfig(horizon=4))
    return planner.plan(model, state, objective=objective or SumOfRewards(), **arguments)


def test_finds_the_optimum_of_a_known_function():
    plan = run(CEMConfig(horizon=4, samples=200, elites=20, iterations=12, min_std=0.01))
    assert torch.allclose(plan.actions, torch.tensor([0.4, -0.7, 0.1]).expand(1, 4, 3), atol=0.05)
    assert plan.score.item() > -0.02


def test_finds_an_optimum_on_the_bounds_and_respects_them():
    model = KnownModel(2)
    plan = run(CEMConfig(horizon=3, init_std=3.0, iterations=8), ((5.0, -5.0),), model=model)
    assert model.seen.abs().max() <= 1.0
    assert torch.allclose(plan.actions, torch.tensor([1.0, -1.0]).expand(1, 3, 2))


def test_other_bounds():
    model = KnownModel(2)
    plan = run(
        CEMConfig(horizon=2, low=-0.5, high=2.0, init_std=1.0, iterations=8),
        ((1.8, -3.0),),
        model=model,
    )
    assert -0.5 <= model.seen.min() <= model.seen.max() <= 2.0
    assert torch.allclose(plan.actions[0, 0], torch.tensor([1.8, -0.5]), atol=0.1)


def test_one_elite_leaves_a_finite_std():
    plan = run(CEMConfig(horizon=4, elites=1, keep_elites=1, min_std=0.05))
    assert plan.std.isfinite().all()
    assert (plan.std >= 0.05 - 1e-6).all()


def test_the_std_has_a_floor_and_a_ceiling():
    plan = run(CEMConfig(horizon=4, iterations=30, min_std=0.07, init_std=0.4))
    assert torch.allclose(plan.std, torch.full_like(plan.std, 0.07))


def test_noise_has_the_std_it_claims():
    """A variance used as a std (or the reverse) would be off by the factor 4 here."""
    model = KnownModel(1)
    run(CEMConfig(horizon=1, samples=4000, iterations=1, init_std=0.25), ((0.0,),), model=model)
    assert model.seen.std().item() == pytest.approx(0.25, rel=0.05)


def test_the_refitted_std_is_that_of_the_elites():
    config = CEMConfig(
        horizon=1, samples=4000, elites=4000, iterations=1, init_std=0.25, momentum=0.0
    )
    assert run(config, ((0.0,),)).std.item() == pytest.approx(0.25, rel=0.05)


def test_nan_plans_never_become_elites_though_rewards_are_negative():
    model = KnownModel(2)
    plan = run(target=((0.9, 0.0),), objective=NaNBeyond(model), model=model)
    assert plan.actions[0, 0, 0] <= 0.3
    assert plan.score.isfinite().all()
    assert plan.mean[0, 0, 0] <= 0.3


def test_nothing_but_nan_keeps_the_start():
    class AllNaN(SumOfRewards):
        def score(self, rollout):
            return torch.full_like(rollout.reward[:, 0], torch.nan)

    plan = run(objective=AllNaN())
    assert torch.equal(plan.actions, torch.zeros_like(plan.actions))
    assert plan.std.isfinite().all()
    assert plan.score.item() == -torch.inf


def test_warm_start_is_shifted_and_tried():
    warm = torch.tensor([[[0.9], [0.4], [-0.2]]])
    plan = Plan(warm, warm, torch.full_like(warm, 0.1), torch.zeros(1))
    model = KnownModel(1)
    config = CEMConfig(horizon=3, iterations=1, samples=10, elites=2)
    run(config, ((0.0,),), model=model, warm_start=plan)
    assert torch.allclose(model.seen[0, :, 0], torch.tensor([0.4, -0.2, -0.2]))


def test_a_good_warm_start_helps_and_an_ended_episode_discards_it():
    config = CEMConfig(horizon=5, iterations=1, samples=20, elites=4, init_std=0.3)
    target = ((0.9, 0.9),)
    cold = run(config, target)
    good = run(CEMConfig(horizon=5, iterations=20), target)
    warm = run(config, target, warm_start=good)
    fresh = run(config, target, warm_start=good, is_first=torch.tensor([True]))
    assert warm.score > cold.score
    assert warm.score > fresh.score


def test_a_warm_start_of_another_shape_is_refused():
    with pytest.raises(ValueError, match="warm start has shape"):
        run(CEMConfig(horizon=4), warm_start=run(CEMConfig(horizon=5)))


def test_the_best_plan_seen_is_kept():
    """The score never falls with further iterations on the same noise."""
    scores = [
        run(CEMConfig(horizon=6, iterations=n, samples=30, elites=5)).score.item()
        for n in (1, 2, 4, 8)
    ]
    assert scores == sorted(scores)


def test_the_mean_can_be_returned_with_its_own_score():
    plan = run(CEMConfig(horizon=4, returns="mean"))
    assert torch.equal(plan.actions, plan.mean)
    expected = -((plan.actions - torch.tensor([0.4, -0.7, 0.1])) ** 2).sum()
    assert plan.score.item() == pytest.approx(expected.item(), rel=1e-4)


def test_environments_in_one_call_get_what_each_gets_alone():
    targets = ((0.4, -0.7), (-0.9, 0.2), (0.0, 0.0))
    config = CEMConfig(horizon=4, binary_dims=(1,), hold=2)
    together = run(config, targets)
    for i, target in enumerate(targets):
        alone = run(config, (target,))
        assert torch.allclose(together.actions[i], alone.actions[0], atol=1e-6)
        assert torch.allclose(together.std[i], alone.std[0], atol=1e-5)


def test_model_calls_do_not_grow_with_environments():
    for batch in (1, 5):
        model = KnownModel(2)
        run(CEMConfig(horizon=4, iterations=3), ((0.1, 0.2),) * batch, model=model)
        assert model.calls == 3


def test_one_planner_serves_interleaved_environments():
    planner, model = CEMPlanner(CEMConfig(horizon=3)), KnownModel(2)
    states = [{"target": torch.tensor([t])} for t in ((0.5, 0.1), (-0.5, 0.3))]

    def steps(order):
        plans, generators = [None, None], [seeded(1), seeded(2)]
        for i in order:
            plans[i] = planner.plan(
                model,
                states[i],
                objective=SumOfRewards(),
                warm_start=plans[i],
                generator=generators[i],
            )
        return plans

    mixed, apart = steps([0, 1, 0, 1, 1, 0]), steps([0, 0, 0, 1, 1, 1])
    for a, b in zip(mixed, apart, strict=True):
        assert torch.equal(a.actions, b.actions)


def test_same_generator_same_plan_and_no_global_randomness():
    before = torch.random.get_rng_state()
    a, b = run(generator=seeded(3)), run(generator=seeded(3))
    assert torch.equal(a.actions, b.actions)
    assert not torch.equal(a.actions, run(generator=seeded(4)).actions)
    assert torch.equal(before, torch.random.get_rng_state())


def test_it_prints_nothing(capfd):
    run()
    assert capfd.readouterr() == ("", "")


def test_held_actions_stay_for_their_steps():
    plan = run(CEMConfig(horizon=7, hold=3))
    assert plan.actions.shape == (1, 7, 3)
    for block in (plan.actions[:, :3], plan.actions[:, 3:6]):
        assert torch.equal(block, block[:, :1].expand_as(block))


def test_binary_dimensions_switch_once_at_most():
    class Toggle(KnownModel):
        def imagine(self, state, actions):
            rollout = super().imagine(state, actions)
            wanted = torch.tensor([-1.0, -1.0, -1.0, 1.0, 1.0, 1.0])
            rollout.reward.copy_(-((actions[..., 1] - wanted) ** 2))
            return rollout

    model = Toggle(2)
    plan = run(CEMConfig(horizon=6, binary_dims=(1,)), ((0.0, 0.0),), model=model)
    assert plan.actions[0, :, 1].tolist() == [-1, -1, -1, 1, 1, 1]
    signs = model.seen[..., 1]
    assert (signs.abs() == 1).all()
    assert ((signs[:, 1:] != signs[:, :-1]).sum(1) <= 1).all()
    after = run(
        CEMConfig(horizon=6, binary_dims=(1,), iterations=1, samples=4, elites=2, keep_elites=1),
        ((0.0, 0.0),),
        model=model,
        warm_start=plan,
    )
    assert after.actions.shape == plan.actions.shape
    assert model.seen[0, :, 1].tolist() == [-1, -1, 1, 1, 1, 1]


def test_correlated_noise_is_smoother_and_as_wide():
    def draws(correlation):
        model = KnownModel(1)
        config = CEMConfig(
            horizon=10, samples=2000, iterations=1, init_std=0.2, correlation=correlation
        )
        run(config, ((0.0,),), model=model)
        return model.seen[..., 0]

    white, smooth = draws(0.0), draws(0.9)
    assert smooth.std().item() == pytest.approx(white.std().item(), rel=0.1)
    assert smooth.diff(dim=1).std() < 0.5 * white.diff(dim=1).std()


def test_convergence_stops_each_environment_on_its_own():
    config = CEMConfig(horizon=2, iterations=60, tolerance=0.01, samples=50)
    plan = run(config)
    assert plan.info["iterations"] < 60
    both = run(config, ((0.4, -0.7, 0.1), (0.0, 0.9, -0.9)))
    assert torch.allclose(both.actions[0], plan.actions[0], atol=1e-6)


@pytest.mark.parametrize(
    "wrong",
    [
        {"elites": 200},
        {"horizon": 0},
        {"min_std": 0.0},
        {"min_std": 2.0},
        {"momentum": 1.0},
        {"returns": "last"},
        {"low": 1.0},
        {"keep_elites": 11},
    ],
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError):  # noqa: PT011
        CEMConfig(**wrong)


# -- with a policy ----------------------------------------------------------------------


def guided(prior, target=((0.5, 0.5),), **settings) -> Plan:
    planner = PolicyGuidedCEM(PolicyGuidedCEMConfig(horizon=4, **settings))
    state = {"target": torch.tensor(target)}
    model = KnownModel(len(target[0]))
    return planner.plan(model, state, objective=SumOfRewards(), prior=prior, generator=seeded())


@pytest.mark.parametrize("planner", [PolicyGuidedCEM(), PolicyPlanner()])
def test_a_policy_is_required(planner):
    with pytest.raises(ValueError, match="pass a prior"):
        planner.plan(KnownModel(2), {"target": torch.zeros(1, 2)}, objective=SumOfRewards())


def test_guided_search_starts_at_the_policy_and_is_never_worse():
    assert guided(FixedPrior(0.5)).score.item() == pytest.approx(0.0, abs=1e-6)
    policys = -4 * 2 * 0.3**2
    assert guided(FixedPrior(0.2)).score >= policys - 1e-6
    assert guided(FixedPrior(0.2), pull=0.0, iterations=4).score > policys


def test_a_margin_keeps_the_policys_plan():
    plan = guided(FixedPrior(0.45), margin=1.0)
    assert torch.allclose(plan.actions, torch.full_like(plan.actions, 0.45))


def test_a_pull_holds_the_plan_near_the_policy():
    free = guided(FixedPrior(0.0), iterations=6, pull=0.0)
    held = guided(FixedPrior(0.0), iterations=6, pull=10.0)
    assert held.actions.abs().mean() < free.actions.abs().mean()


def test_the_policy_planner_executes_the_mean_within_bounds():
    plan = PolicyPlanner(PolicyPlannerConfig(horizon=2)).plan(
        KnownModel(2),
        {"target": torch.zeros(3, 2)},
        objective=SumOfRewards(),
        prior=FixedPrior(1.4),
    )
    assert torch.equal(plan.actions, torch.ones(3, 2, 2))
