"""Stable-Baselines3's learners, given their batches: losses, draws, acting, resuming."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mbrl_agents.data.transitions import Transitions
from mbrl_agents.nn.drawing import drawing_from
from mbrl_agents.training.checkpoints import pack_optimizer, unpack_optimizer
from mbrl_agents.training.model_free import ModelFree, ModelFreeConfig

D, A = 3, 2


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def learner(discrete: bool, seed: int = 0, **settings) -> ModelFree:
    config = ModelFreeConfig(**{"hidden": (8, 8), "learning_rate": 1e-2, **settings})
    return ModelFree(config, D, A, discrete=discrete, generator=seeded(seed))


def data(discrete: bool, count: int = 16) -> Transitions:
    draws = seeded(9)
    action = 2 * torch.rand(count, A, generator=draws) - 1
    if discrete:
        action = torch.eye(A)[action.argmax(-1)]
    return Transitions.single(
        torch.randn(count, D, generator=draws),
        action,
        torch.randn(count, generator=draws),
        torch.randn(count, D, generator=draws),
        torch.rand(count, generator=draws) < 0.3,
    )


@pytest.mark.parametrize("discrete", [True, False])
def test_the_global_generator_is_left_alone(discrete):
    before = torch.get_rng_state()
    found = learner(discrete)
    found.update(data(discrete), seeded())
    found.act(data(discrete).obs, explore=True, generator=seeded())
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("discrete", [True, False])
def test_seed_batches_and_draws_decide_the_weights(discrete):
    def weights(seed: int, draws: int) -> torch.Tensor:
        found = learner(discrete, seed)
        generator = seeded(draws)
        for _ in range(3):
            found.update(data(discrete), generator)
        return torch.cat([p.flatten() for p in found.parameters()])

    assert torch.equal(weights(0, 0), weights(0, 0))
    assert not torch.equal(weights(0, 0), weights(1, 0))
    # DQN draws nothing.
    assert torch.equal(weights(0, 0), weights(0, 1)) == discrete


def test_a_generator_lent_to_torch_goes_on_where_it_was():
    lent, own = seeded(4), seeded(4)
    before = torch.get_rng_state()
    with drawing_from(lent):
        first = torch.randn(5)
    torch.randn(3)
    with drawing_from(lent):
        second = torch.randn(5)
    assert torch.equal(first, torch.randn(5, generator=own))
    assert torch.equal(second, torch.randn(5, generator=own))
    torch.set_rng_state(before)


@pytest.mark.parametrize("double", [True, False])
def test_the_target_of_dqn_is_what_the_papers_say(double):
    found, batch = learner(True, double=double, learning_rate=1e-3), data(True)
    for _ in range(5):  # until both networks differ
        found.update(batch, seeded())
    policy = copy.deepcopy(found.policy)
    losses = []
    for i in range(len(batch)):
        with torch.no_grad():
            online, slow = (
                policy.q_net(batch.next_obs[i : i + 1])[0],
                policy.q_net_target(batch.next_obs[i : i + 1])[0],
            )
            best = slow[online.argmax()] if double else slow.max()
            target = batch.reward[i] + (0.0 if batch.terminal[i] else 0.99) * best
            value = policy.q_net(batch.obs[i : i + 1])[0, batch.action[i].argmax()]
            losses.append(F.smooth_l1_loss(value, target))
    metrics = found.update(batch, seeded())
    assert metrics["loss"] == pytest.approx(float(torch.stack(losses).mean()), rel=1e-5)


@pytest.mark.parametrize("double", [True, False])
def test_where_the_networks_disagree_a_double_target_is_the_others_choice(double):
    found, batch = learner(True, double=double), data(True)
    policy = found.policy
    with torch.no_grad():
        # The network in training prefers what its target thinks the least of.
        last = policy.q_net.q_net[-1]
        last.weight.neg_()
        last.bias.neg_()
        slow, value = policy.q_net_target(batch.next_obs), policy.q_net(batch.obs)
        best = slow.amin(1) if double else slow.amax(1)
        target = batch.reward + 0.99 * (~batch.terminal).float() * best
        expected = F.smooth_l1_loss((value * batch.action).sum(1), target)
    assert (slow.amin(1) < slow.amax(1)).all()
    assert found.update(batch, seeded())["loss"] == pytest.approx(float(expected), rel=1e-5)


def test_what_lies_several_steps_ahead_is_discounted_for_each_of_them():
    found, batch = learner(True), data(True)
    steps = torch.arange(len(batch)) % 4 + 1
    batch = Transitions(**{**vars(batch), "steps": steps})
    policy = found.policy
    with torch.no_grad():
        best = policy.q_net(batch.next_obs).argmax(1, keepdim=True)
        ahead = policy.q_net_target(batch.next_obs).gather(1, best)[:, 0]
        target = batch.reward + 0.99**steps * (~batch.terminal).float() * ahead
        value = (policy.q_net(batch.obs) * batch.action).sum(1)
        expected = F.smooth_l1_loss(value, target)
    assert found.update(batch, seeded())["loss"] == pytest.approx(float(expected), rel=1e-5)


def test_targets_stay_within_what_the_rewards_allow():
    found, batch = learner(True, discount=0.9), data(True)
    count = len(batch)
    batch = Transitions(
        **{
            **vars(batch),
            "reward": torch.linspace(0.5, 1.0, count),
            "terminal": torch.zeros(count).bool(),
        }
    )
    with torch.no_grad():
        for network in (found.policy.q_net, found.policy.q_net_target):
            network.q_net[-1].weight.mul_(1000.0)  # far beyond 1 / (1 - 0.9), and below 0
        value = (found.policy.q_net(batch.obs) * batch.action).sum(1)
        best = found.policy.q_net(batch.next_obs).argmax(1, keepdim=True)
        ahead = found.policy.q_net_target(batch.next_obs).gather(1, best)[:, 0]
        assert float(ahead.max()) > 10.0
        target = batch.reward + 0.9 * ahead.clamp(0.0, 10.0)
        expected = F.smooth_l1_loss(value, target)
    assert found.update(batch, seeded())["loss"] == pytest.approx(float(expected), rel=1e-4)


@pytest.mark.parametrize("discrete", [True, False])
def test_targets_follow_slowly_and_learn_nothing(discrete):
    found = learner(discrete, tau=0.1)
    online, slow = ("q_net", "q_net_target") if discrete else ("critic", "critic_target")
    before = [p.clone() for p in getattr(found.policy, slow).parameters()]
    found.update(data(discrete), seeded())
    networks = (getattr(found.policy, name).parameters() for name in (online, slow))
    for old, fast, now in zip(before, *networks, strict=True):
        torch.testing.assert_close(now, old + 0.1 * (fast - old))
        assert not now.requires_grad


def test_discrete_actions_are_greedy_but_for_a_share():
    found = learner(True, epsilon=0.5)
    obs = torch.randn(2000, D, generator=seeded(1))
    greedy = found.act(obs)
    assert torch.equal(greedy.argmax(-1), found.policy.q_net(obs).argmax(-1))
    assert torch.equal(found.act(obs, generator=seeded()), greedy)
    swapped = (found.act(obs, explore=True, generator=seeded()) != greedy).any(-1).float().mean()
    assert 0.2 < float(swapped) < 0.3  # of the random half, one of two is greedy as well


def test_an_average_of_the_networks_so_far_acts():
    """A plain mean at first, later one that forgets."""
    found, draws = learner(True, average=0.25), seeded(2)
    seen, expected = [], None
    for number in range(8):
        found.update(data(True), draws)
        now = found.policy.q_net.q_net[0].weight.detach().clone()
        seen.append(now)
        expected = (
            now if expected is None else expected + max(0.25, 1 / (number + 1)) * (now - expected)
        )
        if number == 3:
            torch.testing.assert_close(expected, torch.stack(seen).mean(0))
    torch.testing.assert_close(found.average.q_net[0].weight, expected)
    with torch.no_grad():
        found.average.q_net[-1].weight.neg_()
        found.average.q_net[-1].bias.neg_()
    obs = torch.randn(50, D, generator=seeded(1))
    online, slow = (net(obs).argmax(-1) for net in (found.policy.q_net, found.average))
    assert not torch.equal(online, slow)
    assert torch.equal(found.act(obs).argmax(-1), slow)


def test_with_a_share_of_one_the_network_in_training_acts():
    found = learner(True, average=1.0)
    for _ in range(3):
        found.update(data(True), seeded())
    obs = torch.randn(50, D, generator=seeded(1))
    assert torch.equal(found.average(obs), found.policy.q_net(obs))


def test_continuous_actions_are_those_of_sb3():
    found = learner(False)
    obs = torch.randn(4, D, generator=seeded(1))
    expected, _ = found.policy.predict(obs.numpy(), deterministic=True)
    np.testing.assert_allclose(found.act(obs).detach().numpy(), expected, atol=1e-6)
    drawn = found.act(obs, generator=seeded())
    assert drawn.abs().max() <= 1
    assert not torch.equal(drawn, found.act(obs))


@pytest.mark.parametrize("discrete", [True, False])
def test_values_are_of_the_action_taken(discrete):
    found, obs = learner(discrete), torch.randn(2, 5, D, generator=seeded(1))
    values = found.values(obs)
    assert values.shape == (2, 5)
    row = obs[1, 3:4]
    if discrete:
        expected = found.policy.q_net(row).max()
    else:
        expected = torch.cat(found.policy.critic(row, found.act(row)), -1).min()
    assert float(values[1, 3].detach()) == pytest.approx(float(expected.detach()), abs=1e-6)


@pytest.mark.parametrize("discrete", [True, False])
def test_weights_and_optimisers_are_all_there_is_to_save(discrete):
    batch, straight, draws = data(discrete), learner(discrete), seeded(3)
    for _ in range(2):
        straight.update(batch, draws)
    weights = copy.deepcopy(straight.state_dict())
    moments = {n: copy.deepcopy(pack_optimizer(o)) for n, o in straight.optimizers.items()}
    state = draws.get_state()
    resumed, again = learner(discrete, seed=7), seeded()
    resumed.load_state_dict(weights)
    for name, optimizer in resumed.optimizers.items():
        unpack_optimizer(optimizer, *moments[name])
    again.set_state(state)
    for _ in range(3):
        expected, found = straight.update(batch, draws), resumed.update(batch, again)
        assert expected == found
    for key, value in straight.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key


def test_a_loss_that_is_not_finite_stops_the_training():
    batch = data(True)
    batch.reward[0] = torch.inf
    with pytest.raises(FloatingPointError, match="of BoundedDQN is not finite"):
        learner(True).update(batch, seeded())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"hidden": ()}, "hidden"), ({"tau": 0.0}, "tau"), ({"epsilon": 2.0}, "epsilon"),
     ({"discount": 1.0}, "discount"), ({"batch_size": 0}, "batch_size")],
)  # fmt: skip
def test_a_setting_out_of_range_is_refused_by_name(wrong, message):
    with pytest.raises(ValueError, match=message):
        ModelFreeConfig(**wrong)
