"""Actor and critic in imagination: returns, their scale, and what is output from them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from gymnasium import spaces

from mbrl_agents import make_world_model
from mbrl_agents.algorithms.dreamer_v3.actor import Actor, ActorConfig
from mbrl_agents.algorithms.dreamer_v3.actor_critic import (
    ActorCritic,
    ActorCriticConfig,
    ReturnScale,
)
from mbrl_agents.nn.returns import lambda_returns
from mbrl_agents.nn.symlog import TwoHot, symexp_bins, two_hot
from mbrl_agents.protocols import Batch, tree_map

VECTOR = spaces.Box(-np.inf, np.inf, (7,), np.float32)
CONTINUOUS = spaces.Box(-1.0, 1.0, (7,), np.float32)
TINY = {"deter": 32, "hidden": 16, "classes": 4, "depth": 2, "units": 16, "stoch": 4}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def build(actions=CONTINUOUS, settings=TINY, space=VECTOR, **overrides):
    model = make_world_model("dreamer_v3", space, actions, **settings)
    actor_critic = ActorCritic.fresh(
        ActorCriticConfig(**overrides),
        model,
        discrete=isinstance(actions, spaces.Discrete),
        generator=generator(),
    )
    return model, actor_critic


def random_batch(model, size: int = 3, length: int = 5) -> Batch:
    no = torch.zeros(size, length, dtype=torch.bool)
    return Batch(
        obs={"obs": torch.randn(size, length, 7, generator=generator(1))},
        prev_action=torch.zeros(size, length, model.action_size),
        reward=torch.ones(size, length),
        is_first=no,
        is_last=no,
        terminal=no,
        steps_to_go=torch.full((size, length), torch.nan),
        label=torch.full((size, length, model.action_size), torch.nan),
        mask=~no,
    )


@pytest.mark.parametrize(
    ("size", "space", "expected"),
    [
        ("1M", VECTOR, 638_868),
        ("1M", spaces.Box(0, 255, (64, 64, 3), np.uint8), 687_040),
        ("12M", VECTOR, 9_730_068),
        ("12M", spaces.Box(0, 255, (64, 64, 3), np.uint8), 10_494_928),
    ],
)
def test_parameters_of_the_whole(size, space, expected):
    parts = build(settings={"size": size}, space=space)
    total = sum(p.numel() for part in parts for p in part.parameters() if p.requires_grad)
    assert total == expected


class TestReturns:
    def test_by_hand(self):
        reward = torch.tensor([[1.0, 2.0, 3.0]])
        live = torch.tensor([[0.9, 0.8, 0.5]])
        value = torch.tensor([[10.0, 20.0, 30.0]])
        last = 3 + 0.5 * (0.25 * 30 + 0.75 * 40)
        middle = 2 + 0.8 * (0.25 * 20 + 0.75 * last)
        first = 1 + 0.9 * (0.25 * 10 + 0.75 * middle)
        got = lambda_returns(reward, live, value, torch.tensor([40.0]), 0.75)
        assert torch.allclose(got, torch.tensor([[first, middle, last]]))

    def test_an_end_stops_reward_and_a_cut_stops_trust(self):
        reward, value = torch.tensor([[1.0, 5.0]]), torch.tensor([[7.0, 9.0]])
        dead = lambda_returns(reward, torch.tensor([[0.0, 1.0]]), value, torch.ones(1), 0.95)
        assert dead[0, 0] == 1.0
        cut = lambda_returns(
            reward, torch.ones(1, 2), value, torch.ones(1), torch.tensor([[0.0, 0.95]])
        )
        assert cut[0, 0] == 8.0

    def test_their_scale(self):
        scale = ReturnScale(ActorCriticConfig())
        returns = torch.arange(1001.0)
        scale.update(returns)
        assert scale.low.item() == pytest.approx(0.5)
        assert scale.high.item() == pytest.approx(9.5)
        assert scale().item() == pytest.approx(9.0)
        scale.update(returns)
        assert scale().item() == pytest.approx(9.0 * 1.99, rel=1e-4)
        small = ReturnScale(ActorCriticConfig())
        small.update(torch.linspace(0, 1e-3, 100))
        assert small() == 1.0
        assert "scale.low" in build()[1].state_dict()


class TestActor:
    def test_continuous_actions_are_wide_and_central_at_first(self):
        _, actor_critic = build()
        actions = actor_critic.actor(torch.randn(50, 48))
        assert actions.mean.abs().max() < 0.1
        # 0.9 sigmoid(2) + 0.1
        assert actions.std.mean().item() == pytest.approx(0.89271, abs=0.005)
        normal = torch.distributions.Normal(actions.mean, actions.std)
        draw = actions.sample(generator())
        assert torch.allclose(actions.log_prob(draw), normal.log_prob(draw).sum(-1), atol=1e-5)
        assert torch.allclose(actions.entropy(), normal.entropy().sum(-1), atol=1e-5)

    def test_discrete_actions(self):
        _, actor_critic = build(spaces.Discrete(5))
        actions = actor_critic.actor(torch.randn(50, 48))
        draw = actions.sample(generator())
        assert draw.shape == (50, 5)
        assert (draw.sum(-1) == 1).all()
        assert actions.entropy().mean().item() == pytest.approx(np.log(5), abs=0.01)
        picked = actions.log_probs[torch.arange(50), draw.argmax(-1)]
        assert torch.equal(actions.log_prob(draw), picked)

    def test_it_proposes_plans(self):
        model, actor_critic = build()
        plan = actor_critic.actor.propose(model, model.initial(3), 4)
        assert plan.mean.shape == plan.std.shape == (3, 4, 7)
        assert plan.mean.abs().max() <= 1
        assert (plan.std >= 0.1).all()

    def test_it_proposes_probabilities_of_discrete_actions(self):
        model, _ = build(spaces.Discrete(5))
        actor = Actor(
            ActorConfig(output_scale=3.0),
            model.feature_size,
            5,
            units=16,
            discrete=True,
            generator=generator(),
        )
        state = {key: torch.rand_like(value) for key, value in model.initial(3).items()}
        plan = actor.propose(model, state, 4)
        assert plan.mean.shape == (3, 4, 5)
        assert torch.allclose(plan.mean.sum(-1), torch.ones(3, 4), atol=1e-5)
        assert not plan.std.any()
        # The model is led by the likeliest action.
        likeliest = torch.eye(5)[plan.mean[:, 0].argmax(-1)]
        after = model.features(model.imagine_step(state, likeliest))
        assert torch.allclose(plan.mean[:, 1], actor(after).log_probs.exp(), atol=1e-6)


class TestLearning:
    def test_only_the_critic_on_real_steps_reaches_the_world_model(self):
        model, actor_critic = build(replay_value_weight=0.0)
        # Zero at first: give the critic a slope.
        torch.nn.init.normal_(actor_critic.critic.network[1].weight)
        batch = random_batch(model)
        output = model.compute_loss(batch)
        loss, metrics = actor_critic.compute_loss(model, output, batch, generator=generator())
        loss.backward()
        assert all(p.grad is None or not p.grad.any() for p in model.parameters())
        assert all(p.grad.any() for p in actor_critic.parameters() if p.requires_grad)
        assert all(value.isfinite() for value in metrics.values())
        actor_critic.config = ActorCriticConfig()
        output = model.compute_loss(batch)
        actor_critic.compute_loss(model, output, batch, generator=generator())[0].backward()
        assert model.rssm.posterior[1].weight.grad.any()
        assert all(p.grad is None for p in actor_critic.slow_critic.parameters())

    def test_losses_are_those_of_the_authors(self):
        """Recomputed state by state, with an episode's end and a cut within the batch."""
        size, length, horizon = 2, 4, 3
        model, actor_critic = build(imagination=horizon, entropy=0.1)
        draw = generator(5)
        for module in (actor_critic.critic, actor_critic.slow_critic):
            torch.nn.init.normal_(module.network[1].weight, std=0.3, generator=draw)
        torch.nn.init.normal_(model.reward[1].weight, std=0.3, generator=draw)
        batch = random_batch(model, size, length)
        flags = {name: torch.zeros(size, length, dtype=torch.bool) for name in ("ends", "cut")}
        flags["ends"][0, 1] = flags["cut"][1, 2] = True
        first = torch.zeros(size, length, dtype=torch.bool)
        first[0, 2] = first[1, 3] = True
        reward = torch.randn(size, length, generator=draw) * ~first
        batch = dataclasses.replace(
            batch,
            reward=reward,
            is_first=first,
            is_last=flags["ends"] | flags["cut"],
            terminal=flags["ends"],
        )
        output = model.compute_loss(batch)
        imagined = actor_critic.imagine(
            model, tree_map(lambda x: x.flatten(0, 1), output.states), draw
        )
        actor_critic.imagine = lambda *_: imagined
        with torch.no_grad():
            _, metrics = actor_critic.compute_loss(model, output, batch, generator=generator())

            features = imagined.features
            rewards = TwoHot(model.reward(features)).mean
            discounts = torch.sigmoid(model.continues(features)[..., 0])
            critic, slow = actor_critic.critic, actor_critic.slow_critic
            values, mix = critic(features).mean, 0.95
            returns = torch.zeros(size * length, horizon)
            for n in range(size * length):
                later = values[n, horizon]
                for t in reversed(range(horizon)):
                    here = (1 - mix) * values[n, t + 1] + mix * later
                    later = rewards[n, t + 1] + discounts[n, t + 1] * here
                    returns[n, t] = later
            low, high = np.percentile(returns.numpy(), [5, 95])
            scale = max(1.0, 0.01 * (high - low))
            policy = actor_critic.actor(features[:, :-1])
            gain = (returns - values[:, :-1]) / scale
            wanted = policy.log_prob(imagined.actions) * gain + 0.1 * policy.entropy()
            weight = discounts.cumprod(1)[:, :-1]
            assert metrics["policy"].item() == pytest.approx(-(weight * wanted).mean().item())
            guess, anchor = critic(features[:, :-1]), slow(features[:, :-1]).mean
            off = guess.loss(returns) + guess.loss(anchor)
            value_loss = (weight * off).mean().item()
            assert metrics["value"].item() == pytest.approx(value_loss, rel=1e-5)

            start = returns[:, 0].reshape(size, length)
            real = torch.zeros(size, length - 1)
            for b in range(size):
                later = start[b, -1]
                for t in reversed(range(length - 1)):
                    trust = 0.0 if batch.is_last[b, t + 1] else mix
                    goes_on = 0.0 if batch.terminal[b, t + 1] else model.config.discount
                    here = (1 - trust) * start[b, t + 1] + trust * later
                    later = reward[b, t + 1] + goes_on * here
                    real[b, t] = later
            guess, anchor = critic(output.features[:, :-1]), slow(output.features[:, :-1]).mean
            off = (guess.loss(real) + guess.loss(anchor)) * ~batch.is_last[:, :-1]
            assert metrics["replay_value"].item() == pytest.approx(off.mean().item(), rel=1e-5)

    def test_the_slow_critic_follows(self):
        _, actor_critic = build()
        output = actor_critic.critic.network[1].bias
        with torch.no_grad():
            output.fill_(1.0)
        actor_critic.update_slow()
        actor_critic.update_slow()
        slow = actor_critic.slow_critic.network[1].bias
        assert torch.allclose(slow, torch.full_like(slow, 1 - 0.98**2))

    @pytest.mark.parametrize("actions", [CONTINUOUS, spaces.Discrete(4)])
    def test_it_finds_the_action_that_pays(self, actions):
        """The reward head is replaced by one that pays for what the last action left in ``h``."""
        model, actor_critic = build(actions, entropy=1e-3, imagination=3)
        batch = random_batch(model)
        output = model.compute_loss(batch)
        output = type(output)(
            output.loss.detach(), output.metrics, output.states, output.features.detach()
        )
        probe = torch.randn(model.rssm.deter, generator=generator(3))

        class Pays(torch.nn.Module):
            def forward(self, features):
                paid = 4 * torch.tanh(features[..., : model.rssm.deter] @ probe)
                return two_hot(paid, symexp_bins()).clamp_min(1e-20).log()

        model.reward = Pays()
        optimizer = torch.optim.Adam(
            [p for p in actor_critic.parameters() if p.requires_grad], 3e-3
        )
        draw = generator()
        paid = []
        for _ in range(120):
            loss, metrics = actor_critic.compute_loss(model, output, batch, generator=draw)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            actor_critic.update_slow()
            paid.append(float(metrics["imagined_reward"]))
        assert np.mean(paid[-10:]) > np.mean(paid[:10]) + 0.2
