"""DreamerV1's actor and critic: distributions, returns, and where gradients go."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor

from mbrl_agents.algorithms.dreamer_v1.actor import Actor, squashed_log_prob
from mbrl_agents.algorithms.dreamer_v1.actor_critic import (
    Critic,
    actor_critic_losses,
    imagine_trajectories,
)
from mbrl_agents.algorithms.dreamer_v1.config import ActorCriticConfig, DreamerV1Config
from mbrl_agents.algorithms.dreamer_v1.model import DreamerV1Model

MODEL = DreamerV1Config(deter=12, stoch=4, hidden=10, units=16, vector_layers=1)
CONFIG = ActorCriticConfig(units=16, actor_layers=1, critic_layers=1, horizon=4)
VECTOR = spaces.Box(-1, 1, (5,), np.float32)
BOX, CHOICE = spaces.Box(-1, 1, (2,), np.float32), spaces.Discrete(3)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def parts(
    action_space: spaces.Space = BOX, **changes: object
) -> tuple[DreamerV1Model, Actor, Critic]:
    model = DreamerV1Model(dataclasses.replace(MODEL, **changes), VECTOR, action_space)
    actor = Actor(
        CONFIG, 16, model.action_size, discrete=model.actions.discrete, generator=seeded(1)
    )
    return model, actor, Critic(CONFIG, 16, generator=seeded(2))


def starts(rows: int) -> dict[str, Tensor]:
    generator = seeded(3)
    return {
        "deter": torch.randn(rows, 12, generator=generator),
        "stoch": torch.randn(rows, 4, generator=generator),
    }


def test_density_of_squashed_normals():
    mean, std = torch.tensor([0.3, -1.0]), torch.tensor([0.5, 2.0])
    value = torch.tensor([0.7, -0.2])
    away = (value - mean) / std
    normal = torch.exp(-0.5 * away**2) / (std * (2 * torch.pi) ** 0.5)
    expected = (normal / (1 - value.tanh() ** 2)).log()
    torch.testing.assert_close(squashed_log_prob(value, mean, std), expected)
    assert squashed_log_prob(torch.tensor(50.0), torch.tensor(0.0), torch.tensor(50.0)).isfinite()


def test_the_actor_begins_wide_and_bounded():
    actor = Actor(ActorCriticConfig(), 230, 6, discrete=False, generator=seeded())
    mean, std = actor.normal(1e-6 * torch.randn(7, 230, generator=seeded(1)))
    torch.testing.assert_close(std, torch.full((7, 6), 5.0 + 1e-4), atol=1e-3, rtol=0)
    mean, _ = actor.normal(1e4 * torch.randn(7, 230, generator=seeded(1)))
    assert mean.abs().max() <= 5.0


def test_the_mode_is_the_best_of_many_draws_and_the_same_in_any_company():
    _, actor, _ = parts()
    features = torch.randn(5, 16, generator=seeded())
    mode = actor.mode(features)
    assert torch.equal(mode, actor.mode(features))
    torch.testing.assert_close(mode[2:3], actor.mode(features[2:3]))
    mean, std = actor.normal(features)
    unsquashed = mode.clamp(-0.999999, 0.999999).atanh()
    best = squashed_log_prob(unsquashed, mean, std).sum(-1)
    typical = actor.sample(features, seeded(4)).clamp(-0.999999, 0.999999).atanh()
    assert (best > squashed_log_prob(typical, mean, std).sum(-1)).all()
    assert not torch.equal(actor.mode(features, seeded(5)), actor.mode(features, seeded(6)))


def test_moments_are_those_of_many_draws():
    _, actor, _ = parts()
    features = torch.randn(1, 16, generator=seeded())
    mean, std = actor.moments(features)
    drawn = actor.sample(features.expand(20_000, -1), seeded(1))
    torch.testing.assert_close(mean[0], drawn.mean(0), atol=0.03, rtol=0)
    torch.testing.assert_close(std[0], drawn.std(0), atol=0.03, rtol=0)


def test_discrete_actions_are_one_hot_with_the_gradient_of_probabilities():
    _, actor, _ = parts(CHOICE)
    features = torch.randn(6, 16, generator=seeded())
    action = actor.sample(features, seeded(1))
    torch.testing.assert_close(action.amax(-1), torch.ones(6))
    torch.testing.assert_close(action.sum(-1), torch.ones(6))
    weight = torch.randn(6, 3, generator=seeded(2))
    got = torch.autograd.grad((action * weight).sum(), actor.network[0].weight)[0]
    probs = actor.log_probs(features).exp()
    expected = torch.autograd.grad((probs * weight).sum(), actor.network[0].weight)[0]
    torch.testing.assert_close(got, expected)
    mean, std = actor.moments(features)
    torch.testing.assert_close(mean, probs.detach(), check_stride=False)
    assert not std.any()
    assert torch.equal(actor.mode(features).argmax(-1), probs.argmax(-1))


def test_exploration_adds_noise_within_the_bounds():
    quiet = dataclasses.replace(CONFIG, init_std=1e-3, explore_std=0.3)
    actor = Actor(quiet, 16, 2, discrete=False, generator=seeded())
    features = torch.zeros(4000, 16)
    explored = actor.explore(features, seeded(1))
    off = (explored - actor.mode(features)).detach()
    assert float(off.std()) == pytest.approx(0.3, rel=0.05)
    assert explored.abs().max() <= 1
    always = dataclasses.replace(CONFIG, explore_share=1.0)
    actor = Actor(always, 16, 3, discrete=True, generator=seeded())
    shares = actor.explore(torch.zeros(6000, 16), seeded(1)).mean(0)
    torch.testing.assert_close(shares, torch.full((3,), 1 / 3), atol=0.03, rtol=0)


def test_losses_by_hand():
    """The weights and targets of equations 6 to 8, with plain loops."""
    model, actor, critic = parts(continue_head=True)
    counts = torch.tensor([1.0, 0.0, 1.0])
    features, entropy = imagine_trajectories(model, actor, starts(3), 4, seeded(9))
    features = features.detach()
    losses = actor_critic_losses(CONFIG, model, actor, critic, starts(3), counts, seeded(9))
    actor_loss, critic_loss, uncertain = 0.0, 0.0, 0.0
    for row in (0, 2):
        reward = model.scaled_reward(features[row]).tolist()
        discount = model.discounts(features[row]).tolist()
        value = critic(features[row]).tolist()
        later, returns = value[3], [0.0, 0.0, 0.0]
        for t in (2, 1, 0):
            mixed = 0.05 * value[t + 1] + 0.95 * later
            returns[t] = later = reward[t] + discount[t] * mixed
        weights = [1.0, discount[0], discount[0] * discount[1]]
        for t in range(3):
            actor_loss -= weights[t] * returns[t] / 6
            uncertain += weights[t] * entropy[row, t].item() / 6
            critic_loss += weights[t] * 0.5 * (value[t] - returns[t]) ** 2 / 6
    assert losses.actor.item() == pytest.approx(actor_loss, rel=1e-4)
    assert losses.critic.item() == pytest.approx(critic_loss, rel=1e-4)
    # In units of rewards, which the model predicts tenfold.
    model.config = dataclasses.replace(model.config, reward_scale=10.0)
    worth = dataclasses.replace(CONFIG, entropy=0.3)
    losses = actor_critic_losses(worth, model, actor, critic, starts(3), counts, seeded(9))
    assert losses.actor.item() == pytest.approx(actor_loss - 3.0 * uncertain, rel=1e-4)


def test_entropies_of_what_actions_are_drawn_from():
    _, actor, _ = parts()
    features = torch.randn(2, 16, generator=seeded())
    mean, std = actor.normal(features)
    drawn, estimates = actor.sample_and_entropy(features.repeat(20_000, 1), seeded(1))
    assert torch.equal(drawn, actor.sample(features.repeat(20_000, 1), seeded(1)))
    # By quadrature over the Normal that tanh squashes.
    grid = torch.linspace(-8, 8, 4001)[:, None, None]
    value = mean + std * grid
    density = torch.exp(-0.5 * grid.square()) / (2 * torch.pi) ** 0.5 / std
    summed = density * squashed_log_prob(value, mean, std) * std * 16 / 4000
    found = estimates.reshape(20_000, 2).mean(0)
    torch.testing.assert_close(found, -summed.sum(0).sum(-1), atol=0, rtol=0.02)

    _, actor, _ = parts(CHOICE)
    _, entropy = actor.sample_and_entropy(features, seeded(1))
    chosen = torch.distributions.Categorical(logits=actor.log_probs(features))
    torch.testing.assert_close(entropy, chosen.entropy())


def test_entropy_pulls_a_mean_back_from_where_tanh_has_no_slope():
    """Whatever the model rewards: at a mean of 4 next to nothing of its gradient is left."""
    model, actor, critic = parts()
    with torch.no_grad():
        actor.network[-1].bias[0] = 4.0  # tanh has a slope of 0.001 there
    gradients = []
    for entropy in (0.0, 0.1):
        config = dataclasses.replace(CONFIG, entropy=entropy)
        start = starts(200)
        losses = actor_critic_losses(config, model, actor, critic, start, torch.ones(200), seeded())
        (gradient,) = torch.autograd.grad(losses.actor, actor.network[-1].bias)
        gradients.append(float(gradient[0]))
    assert gradients[1] > 10 * abs(gradients[0])


def test_without_a_continue_head_returns_are_discounted_sums():
    model, actor, critic = parts()
    for head in (model.reward_head, critic.network):
        torch.nn.init.zeros_(head[-1].weight)
    torch.nn.init.constant_(model.reward_head[-1].bias, 1.0)
    torch.nn.init.constant_(critic.network[-1].bias, 100.0)  # 1 / (1 - 0.99): consistent
    losses = actor_critic_losses(CONFIG, model, actor, critic, starts(2), torch.ones(2), seeded())
    expected = -100.0 * np.mean([1.0, 0.99, 0.99**2])
    assert losses.actor.item() == pytest.approx(expected, rel=1e-5)
    assert losses.critic.item() == pytest.approx(0.0, abs=1e-4)


@pytest.mark.parametrize("action_space", [BOX, CHOICE])
def test_the_actors_gradient_passes_through_the_dynamics_and_leaves_their_weights_alone(
    action_space: spaces.Space,
):
    model, actor, critic = parts(action_space)
    losses = actor_critic_losses(CONFIG, model, actor, critic, starts(3), torch.ones(3), seeded())
    losses.actor.backward()
    assert all(p.grad.abs().sum() > 0 for p in actor.parameters())
    assert all(p.grad is None for p in [*model.parameters(), *critic.parameters()])
    losses.critic.backward()
    assert all(p.grad is not None for p in critic.parameters())
    assert all(p.grad is None for p in model.parameters())
    assert all(p.requires_grad for p in [*model.parameters(), *critic.parameters()])


def test_the_actors_gradient_is_that_of_finite_differences():
    """One weight of the actor, moved a little, changes reward and value as the gradient says.

    After one imagined action the features that the actor has read are the start itself, which
    nothing moves: stopping their gradient then loses nothing.
    """
    model, actor, critic = parts()
    for module in (model, actor, critic):
        module.double()
    start = {name: value[:1].double() for name, value in starts(1).items()}

    def first_return() -> Tensor:
        features, _ = imagine_trajectories(model, actor, start, 1, seeded(4))
        return model.scaled_reward(features).sum() + critic(features).sum()

    bias = actor.network[-1].bias
    gradient = torch.autograd.grad(first_return(), bias)[0][0]
    with torch.no_grad():
        bias[0] += 1e-4
        above = first_return()
        bias[0] -= 2e-4
        below = first_return()
    assert float(gradient) == pytest.approx(float(above - below) / 2e-4, rel=1e-4)
