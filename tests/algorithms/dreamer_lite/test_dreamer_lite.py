"""Dreamer-Lite: sizes, losses beside naive ones, actor and critic, training."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from gymnasium import spaces

from mbrl_agents.algorithms.dreamer_lite import (
    ActorCriticConfig,
    DreamerLite,
    DreamerLiteConfig,
    DreamerLiteModel,
    DreamerLiteTrainingConfig,
)
from mbrl_agents.config import resolve_config
from mbrl_agents.data.buffer import SequenceBuffer

BOX, DISCRETE = spaces.Box(-1, 1, (1,)), spaces.Discrete(2)


def vectors(size: int) -> spaces.Box:
    return spaces.Box(-np.inf, np.inf, (size,))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("size", "actions", "counts"),
    [(4, DISCRETE, (25_408, 29_248, 21_121)), (3, BOX, (25_280, 29_120, 20_993))],
    ids=["cartpole", "pendulum"],
)
def test_networks_have_as_many_parameters_as_the_document_says(size, actions, counts):
    config = resolve_config("dreamer-lite", ["preset=course"]).world_model
    model = DreamerLiteModel(config, vectors(size), actions)
    parts = (model.encoder, model.transition, model.reward, model.end)
    found = [sum(p.numel() for p in part.parameters()) for part in parts]
    assert found == [*counts, counts[-1]]


def test_the_preset_course_is_the_documents():
    config = resolve_config("dreamer-lite", ["preset=course"])
    model, actor, training = config.world_model, config.actor_critic, config.training
    assert (model.latent, model.hidden, actor.horizon, training.batch_size) == (32, 128, 15, 64)
    rates = training.learning_rate, training.actor_learning_rate, training.critic_learning_rate
    assert (*rates, config.model_free.learning_rate) == (3e-4,) * 4
    assert training.replay_size == 100_000


def build(actions=DISCRETE, *, seed: int = 0, **settings) -> DreamerLite:
    config = resolve_config(
        "dreamer-lite",
        {
            "world_model": {"latent": 4, "hidden": 8},
            "actor_critic": {"units": 8, "horizon": 3, "starts": 6, **settings},
            "model_free": {"hidden": [8], "batch_size": 8},
            "training": {"batch_size": 4, "sequence_length": 4},
        },
    )
    return DreamerLite(config.sections, vectors(3), actions, seed=seed)


def filled(actions=DISCRETE, steps: int = 80) -> SequenceBuffer:
    buffer, draws = SequenceBuffer(vectors(3), actions), np.random.default_rng(0)
    for t in range(steps):
        action = draws.uniform(-1, 1, 1)
        if actions is DISCRETE:
            action = np.eye(2)[draws.integers(2)]
        buffer.own.add(
            0, {"obs": draws.normal(size=3)}, action, float(t % 3),
            is_first=t % 8 == 0, is_last=t % 8 == 7, terminal=t % 16 == 7,
        )  # fmt: skip
    return buffer


def test_losses_are_those_of_a_naive_version():
    model, sample = build().model, filled().sample(5, 4, seeded(3)).batch
    model.fit_statistics(sample)
    found = model.compute_loss(sample)
    totals = {name: [0.0, 0] for name in ("decode", "kl", "reward", "end")}

    def add(name: str, value: torch.Tensor) -> None:
        totals[name][0] += float(value.detach())
        totals[name][1] += 1

    def gaussian(raw):
        mean, spread = raw[:4], raw[4:]
        return mean, (1 + (spread - 2).exp()).log() + model.config.min_std

    for row in range(5):
        for t in range(4):
            if t and bool(sample.is_first[row, 1 : t + 1].any()):
                break
            seen = (sample.obs["obs"][row, t] - model.normaliser.mean) / model.normaliser.std
            mean, std = gaussian(model.encoder(seen))
            if t == 0:
                z = mean
            else:
                both = torch.cat([z, sample.prev_action[row, t]])
                reward = (sample.reward[row, t] - model.rewards.mean) / model.rewards.std
                add("reward", (model.reward(both) - reward).square()[0])
                chance = torch.sigmoid(model.end(both))[0]
                add("end", -(chance if sample.terminal[row, t] else 1 - chance).log())
                change, spread = gaussian(model.transition(both))
                z = z + change
                here, there = (
                    torch.distributions.Normal(mean, std),
                    torch.distributions.Normal(z, spread),
                )
                add("kl", torch.distributions.kl_divergence(here, there).sum())
            add("decode", (model.decoder(z) - seen).square().sum())
    for name, (total, count) in totals.items():
        assert float(found.metrics[name]) == pytest.approx(total / count, rel=1e-4), name
    scales = {"decode": 1.0, "kl": 0.01, "reward": 1.0, "end": 1.0}
    loss = sum(scales[name] * total / count for name, (total, count) in totals.items())
    assert float(found.loss) == pytest.approx(loss, rel=1e-4)


def test_what_follows_an_episodes_end_is_not_learned():
    model, sample = build().model, filled().sample(30, 4, seeded(3)).batch
    before = float(model.compute_loss(sample).loss)
    other = copy.deepcopy(sample)
    after = sample.is_first.clone()
    after[:, 0] = False
    later = after.long().cumsum(1) > 0
    assert later.any()
    other.obs["obs"][later] = 50.0
    other.reward[later] = 50.0
    other.terminal[later] = True
    assert float(model.compute_loss(other).loss) == pytest.approx(before, rel=1e-5)


@pytest.mark.parametrize("actions", [DISCRETE, BOX], ids=["discrete", "box"])
def test_returns_and_losses_of_imagination_are_those_of_a_naive_version(actions):
    algorithm = build(actions, entropy=0.0)
    model, actor, critic = algorithm.model, algorithm.actor, algorithm.critic
    learning, z = algorithm.phases[0].learning, torch.randn(5, 4, generator=seeded(1))
    weight = torch.tensor([1.0, 0, 1, 1, 1])
    found = learning.imagined(z, weight, seeded(2))
    draws, state = seeded(2), z
    states, chosen, rewards, lives = [z], [], [], []
    for _ in range(3):
        action = actor.act(state, draws)
        reward, goes_on = model.outcome(state, action)
        state = model.imagine_step({"z": state}, action, generator=draws)["z"]
        states.append(state)
        chosen.append(action)
        rewards.append(reward)
        lives.append(goes_on)
    target = critic.slow(states[3])
    targets = [target]
    for t in (2, 1, 0):
        mixed = 0.05 * critic.slow(states[t + 1]) + 0.95 * targets[0]
        targets.insert(0, rewards[t] + 0.99 * lives[t] * mixed)
    reached, off, gain, total = weight.clone(), 0.0, 0.0, 0.0
    slow = torch.stack([critic.slow(s) for s in states[:3]])
    advantage = torch.stack(targets[:3]) - slow
    for t in range(3):
        off = off + (reached * 0.5 * (critic(states[t]) - targets[t]).square()).sum()
        if actions is DISCRETE:
            log_prob = (actor.log_probs(states[t]) * chosen[t]).sum(-1)
            gain = gain + (reached * log_prob * advantage[t]).sum() / advantage.abs().mean()
        else:
            gain = gain + (reached * targets[t]).sum() / advantage.abs().mean()
        total = total + reached.sum()
        reached = reached * 0.99 * lives[t]
    torch.testing.assert_close(found.critic_loss.detach(), (off / total).detach())
    torch.testing.assert_close(found.actor_loss.detach(), (-gain / total).detach())


@pytest.mark.parametrize("actions", [DISCRETE, BOX], ids=["discrete", "box"])
def test_the_actor_climbs_what_it_imagines_without_changing_the_model(actions):
    algorithm = build(actions)
    z = torch.randn(6, 4, generator=seeded(1))
    found = algorithm.phases[0].learning.imagined(z, torch.ones(6), seeded(2))
    for loss in (found.actor_loss, found.critic_loss):
        loss.backward()
    assert all(p.grad is None for p in algorithm.model.parameters())
    assert all(p.grad is None for p in algorithm.critic.target.parameters())
    assert any(p.grad.any() for p in algorithm.actor.parameters())
    assert all(p.requires_grad for p in algorithm.model.parameters())


def test_on_real_states_the_actor_comes_to_prefer_what_the_replay_agent_does():
    algorithm = build()
    z, seen = torch.randn(64, 4, generator=seeded(1)), torch.randn(64, 3, generator=seeded(2))
    learning, actor = algorithm.phases[0].learning, algorithm.actor
    algorithm.replay.policy.q_net = _Values(z)
    optimizer = torch.optim.Adam(actor.parameters(), 1e-2)
    for _ in range(200):
        optimizer.zero_grad()
        learning.real(z, seen).backward()
        optimizer.step()
    assert ((actor.log_probs(z)[:, 0] > math.log(0.5)) == (z[:, 0] > 0)).float().mean() > 0.9


def test_a_unit_of_return_weighs_alike_on_real_states_and_in_imagination():
    algorithm = build()
    z, seen = torch.randn(64, 4, generator=seeded(1)), torch.randn(64, 3, generator=seeded(2))
    learning = algorithm.phases[0].learning
    algorithm.replay.policy.q_net = _Values(z)
    own = learning.real(z, seen)
    one, ten = (learning.real(z, seen, torch.tensor(scale)) for scale in (1.0, 10.0))
    torch.testing.assert_close(one, 10.0 * ten)
    algorithm.replay.policy.q_net = _Values(1e-3 * z)
    torch.testing.assert_close(learning.real(z, seen), own)
    torch.testing.assert_close(learning.real(z, seen, torch.tensor(1.0)), 1e-3 * one)


class _Values(torch.nn.Module):
    def __init__(self, z: torch.Tensor) -> None:
        super().__init__()
        self.z = z

    def forward(self, obs: torch.Tensor) -> torch.Tensor:
        return torch.stack([self.z[:, 0], -self.z[:, 0]], -1)


def test_without_real_states_the_replay_agent_is_not_trained():
    algorithm, buffer = build(real_weight=0.0), filled()
    before = {k: v.clone() for k, v in algorithm.replay.state_dict().items()}
    actor = [p.clone() for p in algorithm.actor.parameters()]
    algorithm.phases[0].update(buffer)
    assert all(torch.equal(v, before[k]) for k, v in algorithm.replay.state_dict().items())
    assert any(not torch.equal(a, b) for a, b in zip(
        actor, algorithm.actor.parameters(), strict=True))  # fmt: skip


def test_the_entropy_of_continuous_actions_is_that_of_the_squashed_ones():
    actor = build(BOX).actor
    for wide in (-1.0, 1.0, 3.0):
        with torch.no_grad():
            actor.network[-1].weight.zero_()
            actor.network[-1].bias.copy_(torch.tensor([0.7, wide]))
        z = torch.zeros(1, 4)
        mean, std = actor.gaussian(z)
        normal = torch.distributions.Normal(mean, std)
        squash = torch.distributions.TransformedDistribution(
            normal, torch.distributions.TanhTransform(cache_size=1)
        )
        torch.manual_seed(0)
        with torch.no_grad():
            sampled = -squash.log_prob(squash.sample((200_000,))).mean()
        torch.testing.assert_close(actor.entropy(z)[0].detach(), sampled, atol=0.03, rtol=0.02)


def test_without_imagination_the_critic_is_neither_trained_nor_asked():
    algorithm, buffer = build(real_weight=1.0), filled()
    before = {k: v.clone() for k, v in algorithm.critic.state_dict().items()}
    actor = [p.clone() for p in algorithm.actor.parameters()]
    algorithm.phases[0].update(buffer)
    assert algorithm.value is None
    assert all(torch.equal(v, before[k]) for k, v in algorithm.critic.state_dict().items())
    assert any(not torch.equal(a, b) for a, b in zip(
        actor, algorithm.actor.parameters(), strict=True))  # fmt: skip


def test_the_target_critic_follows_at_its_rate():
    critic = build(slow_rate=0.25).critic
    before = [p.clone() for p in critic.target.parameters()]
    with torch.no_grad():
        for p in critic.network.parameters():
            p.add_(1.0)
    critic.follow()
    for old, new in zip(before, critic.target.parameters(), strict=True):
        torch.testing.assert_close(new, old + 0.25)


@pytest.mark.parametrize(
    ("kind", "wrong", "message"),
    [
        (DreamerLiteConfig, {"latent": 0}, "latent"),
        (DreamerLiteConfig, {"kl_scale": -1.0}, "kl_scale"),
        (ActorCriticConfig, {"horizon": 0}, "horizon"),
        (ActorCriticConfig, {"real_weight": 2.0}, "real_weight"),
        (ActorCriticConfig, {"min_std": 1.0}, "min_std must lie between 0 and max_std"),
        (DreamerLiteTrainingConfig, {"sequence_length": 1}, "sequence_length"),
        (DreamerLiteTrainingConfig, {"clip": 0.0}, "clip"),
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(kind, wrong, message):
    with pytest.raises(ValueError, match=message):
        kind(**wrong)
