"""The transformer: losses beside naive ones, the cache beside none, learning."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch.nn import functional as F

from mbrl_agents.algorithms.iris import IrisConfig, IrisModel
from mbrl_agents.algorithms.iris.imagination import Imagination
from mbrl_agents.nn.drawing import drawing_from
from mbrl_agents.protocols import Batch, tree_map

SMALL = {
    "channels": 2, "levels": 3, "residual_blocks": 1, "attention": (), "codes": 7, "code_size": 4,
    "layers": 2, "heads": 2, "width": 16, "window": 5,
}  # fmt: skip
DISCRETE, BOX = spaces.Discrete(3), spaces.Box(-1, 1, (2,))
KINDS = pytest.mark.parametrize("actions", [DISCRETE, BOX], ids=["discrete", "box"])


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def build(actions=DISCRETE, **settings) -> IrisModel:
    """A model with four tokens an image, far from its initial weights."""
    box = spaces.Box(0, 255, (8, 8, 3), np.uint8)
    model = IrisModel(IrisConfig(**SMALL | settings), box, actions, generator=seeded())
    with torch.no_grad():
        for parameter in model.dynamics.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=seeded(9)))
    return model


def drawn_actions(model: IrisModel, *shape: int, seed: int = 2) -> torch.Tensor:
    if model.actions.discrete:
        return torch.eye(3)[torch.randint(3, shape, generator=seeded(seed))]
    return 2 * torch.rand(*shape, 2, generator=seeded(seed)) - 1


def sequences(model: IrisModel, size: int = 4, length: int = 6) -> tuple[torch.Tensor, Batch]:
    """Tokens ``(B, L - 1, K)`` and a batch ``(B, L)`` of several episodes, one of them padded."""
    draw = seeded(1)
    tokens = torch.randint(7, (size, length - 1, 4), generator=draw)
    is_first = torch.rand(size, length, generator=draw) < 0.3
    is_first[0] = False
    mask = torch.ones(size, length, dtype=torch.bool)
    mask[1, -2:] = False
    nothing = torch.full((size, length), torch.nan)
    prev_action = drawn_actions(model, size, length) * ~is_first[..., None]
    return tokens, Batch(
        obs={}, prev_action=prev_action, reward=torch.randn(size, length, generator=draw).round(),
        is_first=is_first, is_last=is_first.roll(-1, 1),
        terminal=torch.rand(size, length, generator=draw) < 0.3, steps_to_go=nothing,
        label=prev_action * torch.nan, mask=mask,
    )  # fmt: skip


@KINDS
def test_losses_are_those_of_every_episode_by_itself(actions):
    model = build(actions)
    tokens, batch = sequences(model)
    found, metrics = model.dynamics.losses(tokens, batch)
    totals = {name: [0.0, 0, 0] for name in ("tokens", "reward", "end")}

    def add(name: str, logits: torch.Tensor, wanted: int) -> None:
        totals[name][0] -= float(logits.detach().log_softmax(-1)[wanted])
        totals[name][1] += 1
        totals[name][2] += int(logits.argmax()) == wanted

    dynamics = model.dynamics
    for row in range(4):
        begins = [0, *(t for t in range(1, 5) if batch.is_first[row, t]), 5]
        for first, end in zip(begins[:-1], begins[1:], strict=True):
            # Of one episode, cut out and read from its beginning: an action for every block.
            after = batch.prev_action[row, first + 1 : end + 1][None]
            outputs = dynamics(tokens[row, first:end][None], after)[0]
            for t in range(first, end):
                output = outputs[t - first]
                if batch.mask[row, t]:
                    for k in range(3):
                        add("tokens", dynamics.next_token(output[k]), int(tokens[row, t, k + 1]))
                if batch.is_first[row, t + 1] or not batch.mask[row, t + 1]:
                    continue
                if t + 1 < 5:
                    add("tokens", dynamics.next_token(output[4]), int(tokens[row, t + 1, 0]))
                sign = int(np.sign(float(batch.reward[row, t + 1])))
                add("reward", dynamics.reward(output[4]), sign + 1)
                add("end", dynamics.end(output[4]), int(batch.terminal[row, t + 1]))
    for name, (total, count, right) in totals.items():
        assert float(found[name].detach()) == pytest.approx(total / count, rel=1e-4), name
        named = {"tokens": "tokens_right", "reward": "rewards_right", "end": "ends_right"}[name]
        assert float(metrics[named]) == pytest.approx(right / count), name


def test_a_token_sees_nothing_of_later_ones_nor_of_another_episode():
    model = build()
    tokens, batch = sequences(model)
    actions = batch.prev_action[:, 1:]
    begins = torch.zeros(4, 5, dtype=torch.bool)
    begins[:, 2] = True
    before = model.dynamics(tokens, actions, begins)
    changed = tokens.clone()
    changed[:, 3, 2] = (changed[:, 3, 2] + 1) % 7
    after = model.dynamics(changed, actions, begins)
    same = (before == after).all(-1).all(0).flatten()
    assert same[: 3 * 5 + 2].all()
    assert not same[3 * 5 + 2 :].any()
    changed = tokens.clone()
    changed[:, 0, 0] = (changed[:, 0, 0] + 1) % 7
    after = model.dynamics(changed, actions, begins)
    torch.testing.assert_close(before[:, 2:], after[:, 2:])
    assert not torch.allclose(before[:, 1], after[:, 1])


@KINDS
def test_imagining_with_a_cache_is_imagining_without(actions):
    """Rows of unequal length, past the end of the window: all logits within 1e-5."""
    model = build(actions, context=4)
    dynamics, window = model.dynamics, model.config.window
    state = model.initial(3)
    state["tokens"] = torch.randint(7, state["tokens"].shape, generator=seeded(3))
    state["actions"] = drawn_actions(model, 3, window)
    state["actions"][:, -1] = 0.0
    state["length"] = torch.tensor([1, 4, 2])
    run = Imagination(dynamics, state)
    for step in range(9):
        action = drawn_actions(model, 3, seed=20 + step)
        past = tree_map(torch.clone, run.state)
        found = run.step(action)
        for row in range(3):
            length = int(past["length"][row])
            tokens = past["tokens"][row, -length:][None]
            done = torch.cat([past["actions"][row, -length:-1], action[row : row + 1]])[None]
            output = dynamics(tokens, done)[0, -1, -1]
            torch.testing.assert_close(
                found.reward[row], dynamics.reward(output), atol=1e-5, rtol=0
            )
            torch.testing.assert_close(found.end[row], dynamics.end(output), atol=1e-5, rtol=0)
            if length == window:  # a full window goes on from its last block alone
                tokens, done = tokens[:, -1:], done[:, -1:]
            grown = tokens
            for k in range(4):
                # Everything is read again for each token.
                padded = torch.zeros(1, 1, 4, dtype=torch.long)
                padded[0, 0, :k] = found.tokens[row, :k]
                whole = torch.cat([grown, padded], 1)
                acted = torch.cat([done, torch.zeros_like(done[:, :1])], 1)
                if k == 0:
                    output = dynamics(grown, done)[0, -1, -1]
                else:
                    output = dynamics(whole, acted)[0, -1, k - 1]
                logits = dynamics.next_token(output)
                assert logits[found.tokens[row, k]] >= logits.max() - 1e-5
    assert int(run.state["length"].max()) <= window


def test_the_cache_gives_the_outputs_of_reading_at_once():
    transformer = build(layers=3).dynamics.transformer
    x = torch.randn(2, 9, 16, generator=seeded(1))
    whole, cache = transformer(x), transformer.cache(2, 9)
    parts = [transformer(part, cache=cache) for part in x.split([4, 1, 1, 2, 1], 1)]
    torch.testing.assert_close(torch.cat(parts, 1), whole, atol=1e-5, rtol=0)


@KINDS
def test_states_go_on_as_trajectories_do(actions):
    model = build(actions, context=3)
    draw = seeded(4)
    state = model.initial(2)
    for step in range(4):
        seen = {"obs": torch.randint(256, (2, 8, 8, 3), generator=draw).byte()}
        before = drawn_actions(model, 2, seed=step)
        state = model.observe(state, seen, before, torch.tensor([step == 0, step in (0, 3)]))
    assert state["length"].tolist() == [3, 1]
    taken = drawn_actions(model, 2, 7, seed=8)
    rollout = model.imagine(state, taken, keep_features=True)
    stepped = state
    for step in range(7):
        short = model.imagine(stepped, taken[:, step : step + 1])
        torch.testing.assert_close(short.reward[:, 0], rollout.reward[:, step], atol=1e-5, rtol=0)
        torch.testing.assert_close(
            short.continues[:, 0], rollout.continues[:, step], atol=1e-5, rtol=0
        )
        stepped = model.imagine_step(stepped, taken[:, step])
        assert torch.equal(model.features(stepped), rollout.features[:, step])


@pytest.mark.parametrize("context", [1, 3])
def test_a_state_of_a_sequence_is_the_state_of_seeing_it(context):
    model = build(context=context)
    images = torch.randint(256, (3, 4, 8, 8, 3), generator=seeded(5)).byte()
    is_first = torch.tensor([[True, False, False, False], [False, False, True, False],
                             [False, False, False, True]])  # fmt: skip
    prev_action = drawn_actions(model, 3, 4) * ~is_first[..., None]
    state = model.initial(3)
    for t in range(4):
        first = is_first[:, t] | (t == 0)
        state = model.observe(state, {"obs": images[:, t]}, prev_action[:, t], first)
    flat = model.images({"obs": images.flatten(0, 1)})
    tokens = model.tokenizer.encode(flat).tokens.unflatten(0, (3, 4))
    found = model.state_of(tokens, prev_action, is_first)
    for key, value in state.items():
        assert torch.equal(found[key], value), key


def test_without_a_generator_rewards_are_expected_signs():
    model = build()
    state, taken = model.initial(2), drawn_actions(model, 2, 1)
    found = Imagination(model.dynamics, state).step(taken[:, 0])
    chances = F.softmax(found.reward, -1)
    rollout = model.imagine(state, taken)
    torch.testing.assert_close(rollout.reward[:, 0], chances[:, 2] - chances[:, 0])
    torch.testing.assert_close(rollout.continues[:, 0], F.softmax(found.end, -1)[:, 0])


@KINDS
def test_it_learns_one_batch_by_heart(actions):
    model = build(actions, dropout=0.0)
    tokens, batch = sequences(model)
    tokens[:, :, 0] = batch.prev_action[:, :-1].argmax(-1)  # the first token follows the action
    optimizer = torch.optim.Adam(model.dynamics.parameters(), 1e-2)
    for _ in range(100):
        losses, metrics = model.dynamics.losses(tokens, batch)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    assert float(metrics["rewards_right"]) == 1.0
    assert float(metrics["ends_right"]) == 1.0
    # Nothing tells the first image's tokens apart from others, so not all can be known.
    assert float(metrics["first_tokens_right"]) == 1.0
    assert float(losses["tokens"].detach()) < 0.6


def test_dropout_draws_from_its_generator_and_in_training_alone():
    dynamics = build(dropout=0.5).dynamics
    tokens, batch = sequences(build())
    assert not dynamics.training

    def outputs(seed: int) -> torch.Tensor:
        with drawing_from(seeded(seed)):
            return dynamics(tokens, batch.prev_action[:, 1:])

    assert torch.equal(outputs(1), outputs(2))
    dynamics.train()
    assert torch.equal(outputs(1), outputs(1))
    assert not torch.equal(outputs(1), outputs(2))


def test_weight_decay_acts_on_matrices_alone():
    dynamics = build().dynamics
    names = {id(p): name for name, p in dynamics.named_parameters()}
    decayed = {names[id(p)] for p in dynamics.decayed()}
    assert all(name.endswith("weight") for name in decayed)
    assert not [n for n in decayed if n.split(".")[0] in ("position", "token", "action")]
    assert not [n for n in decayed if "norm" in n]
    assert len(decayed) == 2 * 4 + 3 * 2
