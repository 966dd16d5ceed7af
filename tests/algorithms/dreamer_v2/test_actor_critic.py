"""Actor and critic of DreamerV2: distributions, returns, mixed gradients, target critic."""

from __future__ import annotations

import math

import pytest
import torch
from gymnasium import spaces
from scipy import stats

from mbrl_agents.algorithms.dreamer_v2 import (
    ActorCriticConfig,
    DreamerV2,
    DreamerV2Config,
    DreamerV2TrainingConfig,
)
from mbrl_agents.algorithms.dreamer_v2.actor import Actor, OneHot, TruncatedNormal
from mbrl_agents.algorithms.dreamer_v2.actor_critic import (
    Critic,
    ImaginedLearning,
    Trajectory,
    reach,
    returns,
)

SMALL = {"deter": 16, "hidden": 16, "stoch": 3, "classes": 4, "units": 16, "layers": 1}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def learner(
    gradient: str, *, discrete: bool = False, discount_head: bool = True, **config
) -> ImaginedLearning:
    actions = spaces.Discrete(3) if discrete else spaces.Box(-1, 1, (2,))
    algorithm = DreamerV2(
        {
            "world_model": DreamerV2Config(**SMALL, predict_discount=discount_head, discount=0.9),
            "actor_critic": ActorCriticConfig(
                units=16, layers=1, gradient=gradient, horizon=4, **config
            ),
            "training": DreamerV2TrainingConfig(),
        },
        spaces.Box(-1, 1, (3,)),
        actions,
        seed=0,
    )
    return algorithm.phases[0].imagined


# -- distributions ------------------------------------------------------------------------------


@pytest.mark.parametrize(("mean", "std"), [(0.0, 0.5), (0.6, 0.3), (-0.95, 2.0), (1.0, 0.1)])
def test_the_truncated_normal_has_the_density_entropy_and_spread_of_scipy(mean, std):
    ours = TruncatedNormal(torch.tensor([mean]), torch.tensor([std]))
    theirs = stats.truncnorm((-1 - mean) / std, (1 - mean) / std, loc=mean, scale=std)
    for action in (-0.9, 0.0, 0.7):
        found = float(ours.log_prob(torch.tensor([action])))
        assert found == pytest.approx(theirs.logpdf(action), abs=1e-4)
    assert float(ours.entropy()) == pytest.approx(theirs.entropy(), abs=1e-4)
    assert float(ours.stddev) == pytest.approx(theirs.std(), rel=1e-3)
    assert float(ours.mode) == pytest.approx(mean)


def test_draws_of_the_truncated_normal_are_within_the_bounds_and_spread_as_they_should():
    mean, std = torch.full((20_000, 1), 0.8), torch.full((20_000, 1), 0.7)
    drawn = TruncatedNormal(mean, std).sample(generator())
    assert -1.0 < float(drawn.min()) < float(drawn.max()) < 1.0
    theirs = stats.truncnorm((-1 - 0.8) / 0.7, (1 - 0.8) / 0.7, loc=0.8, scale=0.7)
    assert float(drawn.mean()) == pytest.approx(theirs.mean(), abs=0.01)
    assert float(drawn.std()) == pytest.approx(theirs.std(), abs=0.01)


def test_a_draw_of_the_truncated_normal_carries_the_gradient_of_the_inverse_distribution():
    mean = torch.tensor([0.3], dtype=torch.float64, requires_grad=True)
    std = torch.tensor([0.6], dtype=torch.float64, requires_grad=True)
    TruncatedNormal(mean, std).sample(generator(3)).sum().backward()
    level = float(torch.rand(1, generator=generator(3)))

    def drawn(mean: float, std: float) -> float:
        return float(stats.truncnorm.ppf(level, (-1 - mean) / std, (1 - mean) / std, mean, std))

    step = 1e-5
    by_mean = (drawn(0.3 + step, 0.6) - drawn(0.3 - step, 0.6)) / (2 * step)
    by_std = (drawn(0.3, 0.6 + step) - drawn(0.3, 0.6 - step)) / (2 * step)
    assert float(mean.grad) == pytest.approx(by_mean, rel=1e-3)
    assert float(std.grad) == pytest.approx(by_std, rel=1e-3)


def test_narrow_and_extreme_distributions_stay_finite():
    mean = torch.tensor([-1.0, 1.0, 0.0], requires_grad=True)
    std = torch.full((3,), 0.1, requires_grad=True)
    policy = TruncatedNormal(mean, std)
    drawn = policy.sample(generator())
    total = drawn.sum() + policy.log_prob(drawn.detach()) + policy.entropy()
    total.backward()
    for tensor in (total, mean.grad, std.grad):
        assert torch.isfinite(tensor).all()


def test_a_one_hot_policy_draws_in_proportion_and_prefers_its_mode():
    policy = OneHot(torch.tensor([0.2, 0.7, 0.1]).log().expand(10_000, 3))
    drawn = policy.sample(generator())
    assert torch.equal(drawn.sum(-1), torch.ones(10_000))
    torch.testing.assert_close(drawn.mean(0), torch.tensor([0.2, 0.7, 0.1]), atol=0.02, rtol=0.0)
    assert torch.equal(policy.mode[0], torch.tensor([0.0, 1.0, 0.0]))
    assert float(policy.log_prob(policy.mode)[0]) == pytest.approx(math.log(0.7))
    expected = -sum(p * math.log(p) for p in (0.2, 0.7, 0.1))
    assert float(policy.entropy()[0]) == pytest.approx(expected)


def test_an_untrained_output_has_the_std_of_the_paper():
    actor = Actor(ActorCriticConfig(units=8, layers=1), 4, 2, discrete=False, generator=generator())
    with torch.no_grad():
        actor.network[-1].weight.zero_()
    policy = actor(torch.zeros(1, 4))
    torch.testing.assert_close(policy.std, torch.full((1, 2), 1.1))
    torch.testing.assert_close(policy.mean, torch.zeros(1, 2))


# -- returns ------------------------------------------------------------------------------------


def test_lambda_returns_begin_with_the_reward_on_arrival():
    reward = torch.tensor([[1.0], [2.0], [3.0]])
    discount = torch.tensor([[0.9], [0.5], [0.8]])
    value = torch.tensor([[10.0], [20.0], [30.0]])
    second = 2.0 + 0.5 * 30.0  # followed by the bootstrap alone
    first = 1.0 + 0.9 * (0.25 * 20.0 + 0.75 * second)
    found = returns(reward, discount, value, 0.75)
    torch.testing.assert_close(found, torch.tensor([[first], [second]]))


def test_states_count_as_much_as_they_are_likely_to_be_reached():
    discount = torch.tensor([[0.9], [0.5], [0.8]])
    torch.testing.assert_close(reach(discount), torch.tensor([[1.0], [0.9], [0.45]]))


def test_the_first_state_is_discounted_by_what_really_happened():
    imagined = learner("reinforce", discrete=True)
    features = torch.randn(5, 2, imagined.model.feature_size, generator=generator())
    terminal = torch.tensor([True, False])
    found = imagined.discounts(Trajectory(features, torch.zeros(4, 2, 3), terminal))
    torch.testing.assert_close(found[0], torch.tensor([0.0, 0.9]))
    torch.testing.assert_close(found[1:], imagined.model.discounts(features[1:]))


# -- gradients of the actor ---------------------------------------------------------------------


def actor_gradients(
    imagined: ImaginedLearning, *, objective: bool = True
) -> tuple[torch.Tensor, Trajectory]:
    """Gradient of the actor's loss with respect to its weights, flat; and the trajectory."""
    state = imagined.model.initial(6)
    draws = generator(5)
    trajectory = imagined.imagine(state, torch.zeros(6, dtype=torch.bool), draws)
    imagined.actor.zero_grad()
    loss, _, _ = imagined.losses(
        state, torch.zeros(6, dtype=torch.bool), torch.ones(6), generator(5)
    )
    loss.backward()
    grads = [p.grad.flatten() for p in imagined.actor.parameters()]
    return torch.cat(grads), trajectory


@pytest.mark.parametrize("discrete", [True, False])
def test_reinforce_records_no_gradient_through_the_dynamics(discrete):
    imagined = learner("reinforce", discrete=discrete, entropy=0.0)
    gradient, trajectory = actor_gradients(imagined)
    assert not trajectory.features.requires_grad
    assert not trajectory.actions.requires_grad
    assert float(gradient.abs().sum()) > 0.0


@pytest.mark.parametrize("discrete", [True, False])
def test_the_gradient_by_way_of_the_dynamics_reads_no_log_probability(discrete, monkeypatch):
    imagined = learner("dynamics", discrete=discrete, entropy=0.0)

    def refused(*_):
        raise AssertionError("log_prob was read")

    monkeypatch.setattr(OneHot, "log_prob", refused)
    monkeypatch.setattr(TruncatedNormal, "log_prob", refused)
    gradient, trajectory = actor_gradients(imagined)
    assert trajectory.features[1:].requires_grad
    assert float(gradient.abs().sum()) > 0.0


@pytest.mark.parametrize("discrete", [True, False])
def test_both_mixes_the_two_gradients_by_their_weights(discrete):
    single = {
        name: actor_gradients(learner(name, discrete=discrete, entropy=0.0))[0]
        for name in ("reinforce", "dynamics")
    }
    mixed, _ = actor_gradients(learner("both", discrete=discrete, entropy=0.0, gradient_mix=0.3))
    expected = 0.7 * single["reinforce"] + 0.3 * single["dynamics"]
    torch.testing.assert_close(mixed, expected, rtol=1e-4, atol=1e-6)


def test_auto_takes_the_score_function_for_discrete_actions_and_the_dynamics_otherwise():
    assert learner("auto", discrete=True).gradient == "reinforce"
    assert learner("auto", discrete=False).gradient == "dynamics"


def test_the_actors_loss_is_the_weighted_objective_of_all_but_the_last_action():
    imagined = learner("reinforce", discrete=True, entropy=0.5)
    with torch.no_grad():
        imagined.actor.network[-1].weight.zero_()  # every action has the probability 1/3
    features = torch.randn(5, 1, imagined.model.feature_size, generator=generator())
    actions = torch.eye(3)[[0, 1, 2, 0]][:, None]
    targets = torch.tensor([[1.0], [2.0], [3.0], [4.0]])
    slow = torch.tensor([[0.5], [0.5], [0.5], [9.0], [9.0]])
    steps = torch.tensor([[1.0], [0.9], [0.8], [9.0], [9.0]])
    trajectory = Trajectory(features, actions, torch.zeros(1, dtype=torch.bool))
    loss, entropy = imagined.actor_loss(trajectory, targets, slow, steps)
    chance, bonus = math.log(1 / 3), 0.5 * math.log(3.0)
    terms = [
        1.0 * (chance * 1.5 + bonus),
        0.9 * (chance * 2.5 + bonus),
        0.8 * (chance * 3.5 + bonus),
    ]
    assert float(loss.detach()) == pytest.approx(-sum(terms) / 3, rel=1e-5)
    assert float(entropy.detach()) == pytest.approx(math.log(3.0), rel=1e-5)


@pytest.mark.parametrize("gradient", ["reinforce", "dynamics", "both"])
def test_the_world_model_gets_no_gradient_from_actor_and_critic(gradient):
    imagined = learner(gradient)
    actor_loss, critic_loss, _ = imagined.losses(
        imagined.model.initial(4), torch.zeros(4, dtype=torch.bool), torch.ones(4), generator()
    )
    (actor_loss + critic_loss).backward()
    assert all(p.grad is None for p in imagined.model.parameters())
    assert all(p.requires_grad for p in imagined.model.parameters())
    assert all(p.grad is None for p in imagined.critic.target.parameters())
    assert all(p.grad is not None for p in imagined.critic.network.parameters())


def test_states_of_no_weight_teach_nothing():
    imagined = learner("reinforce", discrete=True)
    actor_loss, critic_loss, _ = imagined.losses(
        imagined.model.initial(4), torch.zeros(4, dtype=torch.bool), torch.zeros(4), generator()
    )
    assert float(actor_loss.detach()) == 0.0
    assert float(critic_loss.detach()) == 0.0


def test_fewer_starts_are_drawn_anew_for_every_batch(monkeypatch):
    imagined = learner("reinforce", discrete=True, starts=3)
    state = imagined.model.initial(8)
    state["deter"] += torch.arange(8.0)[:, None]
    seen = []
    imagine = imagined.imagine

    def noted(state, terminal, generator):
        seen.append(sorted(state["deter"][:, 0].tolist()))
        return imagine(state, terminal, generator)

    monkeypatch.setattr(imagined, "imagine", noted)
    draws = generator()
    for _ in range(3):
        imagined.losses(state, torch.zeros(8, dtype=torch.bool), torch.ones(8), draws)
    assert all(len(set(rows)) == 3 for rows in seen)
    assert seen[0] != seen[1] or seen[1] != seen[2]


# -- target critic --------------------------------------------------------------------------------


def test_the_target_critic_follows_only_when_it_is_copied():
    critic = Critic(ActorCriticConfig(units=8, layers=1), 4, generator=generator())
    features = torch.randn(3, 4, generator=generator())
    before = critic.slow(features)
    torch.testing.assert_close(before, critic(features))
    with torch.no_grad():
        for parameter in critic.network.parameters():
            parameter.add_(0.1)
    torch.testing.assert_close(critic.slow(features), before)
    assert not torch.allclose(critic(features), before)
    critic.copy_to_target()
    torch.testing.assert_close(critic.slow(features), critic(features))
