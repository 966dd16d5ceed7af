"""Actor, critic and the phases: losses beside naive ones, burn-in, acting, starts."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from gymnasium import spaces

from mbrl_agents.algorithms.iris import Iris
from mbrl_agents.algorithms.iris.imagination import Imagination
from mbrl_agents.config import resolve_config
from mbrl_agents.data.buffer import SequenceBuffer
from mbrl_agents.nn.categorical import gumbel
from mbrl_agents.training.trainer import Trainer

IMAGES = spaces.Box(0, 255, (16, 16, 3), np.uint8)
DISCRETE, BOX = spaces.Discrete(3), spaces.Box(-1, 1, (2,))
KINDS = pytest.mark.parametrize("actions", [DISCRETE, BOX], ids=["discrete", "box"])
H = 4


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def settings(actor: dict, training: dict) -> dict:
    return {
        "world_model": {
            "channels": 4, "levels": 4, "residual_blocks": 1, "attention": [4], "codes": 8,
            "code_size": 4, "layers": 1, "heads": 2, "width": 8, "window": 4,
        },
        "actor_critic": {"convolutions": [4, 4], "units": 6, "horizon": H, "burn_in": 3, **actor},
        "training": {
            "batch_size": 3, "sequence_length": 4, "tokenizer_batch_size": 5,
            "actor_critic_batch_size": 6, "learning_rate": 1e-3, "tokenizer_start": 10,
            "world_model_start": 20, "actor_critic_start": 30, "train_every": 5,
            "tokenizer_updates": 2, "world_model_updates": 1, "actor_critic_updates": 0.5,
            "random_steps": 30, **training,
        },
    }  # fmt: skip


def build(actions=DISCRETE, training: dict | None = None, **actor) -> Iris:
    config = resolve_config("iris", settings(actor, training or {}))
    algorithm = Iris(config.sections, IMAGES, actions, seed=0)
    with torch.no_grad():  # fresh heads say much the same of everything
        for module in (algorithm.model.dynamics, algorithm.actor_critic):
            for parameter in module.parameters():
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=seeded(9)))
    return algorithm


def filled(actions=DISCRETE, steps: int = 80) -> SequenceBuffer:
    buffer, draws = SequenceBuffer(IMAGES, actions), np.random.default_rng(0)
    for t in range(steps):
        action = draws.uniform(-1, 1, 2)
        if actions is DISCRETE:
            action = np.eye(3)[draws.integers(3)]
        image = draws.integers(0, 256, (16, 16, 3), np.uint8)
        buffer.own.add(
            0, {"obs": image}, action, float(t % 3 - 1),
            is_first=t % 8 == 0, is_last=t % 8 == 7, terminal=t % 16 == 7,
        )  # fmt: skip
    return buffer


def log_prob(algorithm: Iris, raw: torch.Tensor, draw: torch.Tensor) -> tuple:
    """Log-probability and entropy of one row, by torch's own distributions."""
    if algorithm.model.actions.discrete:
        policy = torch.distributions.Categorical(logits=raw)
        return policy.log_prob(draw), policy.entropy()
    std = torch.nn.functional.softplus(raw[2:]) + 0.1
    policy = torch.distributions.Normal(2 * torch.tanh(raw[:2] / 2), std)
    return policy.log_prob(draw).sum(), policy.entropy().sum()


@KINDS
@pytest.mark.parametrize("past_end", [True, False])
@torch.no_grad()
def test_returns_and_losses_are_those_of_a_naive_version(actions, past_end):
    algorithm = build(actions, past_end=past_end, entropy=0.1, discount=0.9)
    batch = filled(actions).sample(6, 4, seeded(3)).batch
    imagined = algorithm.phases[2].imagined
    found = imagined.imagine(batch, seeded(2))
    loss, metrics = imagined.losses(batch, seeded(2))
    actor = algorithm.actor_critic
    # The same trajectories again, one by one, from what was drawn.
    tokens = algorithm.model.tokenizer.encode(
        algorithm.model.images({"obs": batch.obs["obs"].flatten(0, 1)})
    ).tokens.unflatten(0, (6, 4))
    total = {"actor": 0.0, "critic": 0.0, "entropy": 0.0}
    weights = 0.0
    hidden = imagined.burn_in(tokens, batch.is_first)
    run = Imagination(
        algorithm.model.dynamics,
        algorithm.model.state_of(tokens, batch.prev_action, batch.is_first),
    )
    draws = seeded(2)
    raws, values = [], []
    for t in range(H):
        images = algorithm.model.tokenizer.decode(run.state["tokens"][:, -1])
        raw, value, hidden = actor(images, hidden)
        raws.append(raw)
        values.append(value)
        if t == H - 1:
            break
        draw = found.draw[:, t]
        policy = actor.policy(raw)
        assert torch.equal(policy.draw(draws), draw)
        answer = run.step(policy.action(draw), generator=draws)
        reward = (answer.reward + gumbel(answer.reward.shape, draws, "cpu")).argmax(-1) - 1
        end = (answer.end + gumbel(answer.end.shape, draws, "cpu")).argmax(-1) == 1
        assert torch.equal(found.reward[:, t], reward.float())
        assert torch.equal(found.end[:, t], end)
    for row in range(6):
        target = float(values[H - 1][row])
        targets = []
        for t in reversed(range(H - 1)):
            rest = 0.05 * float(values[t + 1][row]) + 0.95 * target
            target = float(found.reward[row, t]) + 0.9 * (not found.end[row, t]) * rest
            targets.insert(0, target)
        weight = 0.0 if batch.terminal[row, -1] else 1.0
        for t in range(H - 1):
            chance, spread = log_prob(algorithm, raws[t][row], found.draw[row, t])
            value = values[t][row]
            total["actor"] -= weight * float(chance * (targets[t] - value))
            total["critic"] += weight * float((value - targets[t]).square())
            total["entropy"] += weight * float(spread)
            weights += weight
            if not past_end and found.end[row, t]:
                weight = 0.0
    assert found.end.any()
    naive = {name: value / weights for name, value in total.items()}
    assert float(metrics["actor_loss"]) == pytest.approx(naive["actor"], rel=1e-4)
    assert float(metrics["critic_loss"]) == pytest.approx(naive["critic"], rel=1e-4)
    assert float(metrics["entropy"]) == pytest.approx(naive["entropy"], rel=1e-4)
    whole = naive["actor"] + naive["critic"] - 0.1 * naive["entropy"]
    assert float(loss) == pytest.approx(whole, rel=1e-4)


def test_the_lstm_has_seen_the_last_episode_of_a_sequence_and_nothing_before():
    algorithm = build()
    imagined, actor = algorithm.phases[2].imagined, algorithm.actor_critic
    tokens = torch.randint(8, (4, 4, 4), generator=seeded(1))
    is_first = torch.zeros(4, 4, dtype=torch.bool)
    is_first[0, 0] = is_first[1, 2] = is_first[2, 3] = is_first[3, 1] = True
    found = imagined.burn_in(tokens, is_first)
    for row, begin in enumerate([0, 2, 3, 1]):
        hidden = actor.initial(1)
        for t in range(begin, 3):
            image = algorithm.model.tokenizer.decode(tokens[row, t][None])
            hidden = actor(image, hidden)[2]
        torch.testing.assert_close(found[0][row], hidden[0][0])
        torch.testing.assert_close(found[1][row], hidden[1][0])


@KINDS
def test_actor_and_critic_learn_without_changing_the_model(actions):
    algorithm = build(actions)
    loss, _ = algorithm.phases[2].imagined.losses(
        filled(actions).sample(6, 4, seeded(3)).batch, seeded(2)
    )
    loss.backward()
    assert all(p.grad is None for p in algorithm.model.parameters())
    assert all(p.grad.any() for p in algorithm.actor_critic.parameters())


def test_phases_begin_one_after_another_and_train_their_part_alone():
    algorithm, buffer = build(), filled()
    config = resolve_config("iris", settings({}, {}))
    trainer = Trainer(algorithm, config.training, seed=0)
    updates, changed = {}, {}
    for step in range(1, 61):
        parts = {
            "tokenizer": algorithm.model.tokenizer,
            "transformer": algorithm.model.dynamics,
            "actor_critic": algorithm.actor_critic,
        }
        before = {name: _copied(part) for name, part in parts.items()}
        done = {phase.name: phase.updates for phase in algorithm.phases}
        trainer.advance(buffer, step, 1)
        for phase in algorithm.phases:
            trained = phase.updates > done[phase.name]
            if trained:
                updates.setdefault(phase.name, step)
            moved = any(
                not torch.equal(x, y)
                for x, y in zip(before[phase.name], parts[phase.name].parameters(), strict=True)
            )
            assert moved == trained, (phase.name, step)
            changed[phase.name] = changed.get(phase.name, 0) + phase.updates - done[phase.name]
    # A turn every five steps, the first five after the start; half an update every other turn.
    assert updates == {"tokenizer": 14, "transformer": 24, "actor_critic": 39}
    assert changed == {"tokenizer": 20, "transformer": 8, "actor_critic": 3}


def _copied(module: torch.nn.Module) -> list[torch.Tensor]:
    return [p.detach().clone() for p in module.parameters()]


def test_less_heat_makes_likely_actions_likelier_and_noise_is_epsilon():
    algorithm = build(temperature=0.25, epsilon=0.4)
    obs = {"obs": torch.randint(256, (1, 16, 16, 3), generator=seeded(1)).byte()}
    obs["obs"] = obs["obs"].expand(2000, -1, -1, -1)
    carry, first = algorithm.initial(2000), torch.ones(2000, dtype=torch.bool)
    nothing = torch.zeros(2000, 3)
    with torch.no_grad():
        images = algorithm.model.tokenizer.reconstruct(algorithm.model.images(obs)[:1])
        raw = algorithm.actor_critic(images, algorithm.actor_critic.initial(1))[0][0]
        shares = {}
        for name, explore in (("cool", False), ("noisy", True)):
            action, _ = algorithm.act(
                carry, obs, nothing, first, explore=explore, generator=seeded(3)
            )
            shares[name] = action.mean(0)
        greedy, _ = algorithm.act(carry, obs, nothing, first)
    torch.testing.assert_close(shares["cool"], (raw / 0.25).softmax(-1), atol=0.04, rtol=0)
    expected = 0.6 * raw.softmax(-1) + 0.4 / 3
    torch.testing.assert_close(shares["noisy"], expected, atol=0.04, rtol=0)
    assert (greedy.argmax(-1) == raw.argmax()).all()


def test_continuous_actions_lie_within_their_bounds():
    algorithm = build(BOX)
    policy = algorithm.actor_critic.policy(100 * torch.randn(50, 4, generator=seeded(1)))
    draw = policy.draw(seeded(2))
    assert policy.action(draw).abs().max() <= 1
    assert torch.equal(policy.draw(None), policy.mean)
    assert policy.mean.abs().max() <= 2
    assert policy.std.min() >= 0.1
    expected = (policy.std.log() + 0.5 * math.log(2 * math.pi * math.e)).sum(-1)
    torch.testing.assert_close(policy.entropy(), expected)


def test_it_shows_reconstructions_codes_and_play_inside_the_model():
    algorithm, buffer = build(), filled()
    episodes = [buffer.sample(1, 6, seeded(n)).batch[0] for n in range(2)]
    found = {one.name: one for one in algorithm.illustrate(episodes, generator=seeded(1))}
    assert set(found) == {"reconstructions", "codebook", "play", "play-curves"}
    assert found["reconstructions"].images.shape == (3, 8, 16, 16, 3)
    share = found["codebook"].curves["share"]
    assert float(share.sum()) == pytest.approx(1.0)
    assert (share[:-1] >= share[1:]).all()
    assert 1 <= found["codebook"].numbers["perplexity"] <= found["codebook"].numbers["codes_used"]
    assert found["play"].frames.shape[1:] == (16, 32, 3)
    assert all(x.isfinite().all() for x in found["play-curves"].curves.values())
