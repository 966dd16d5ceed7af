"""The world model of DreamerV2: recurrence, KL balancing, straight-through gradients, losses."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor

from mbrl_agents.algorithms.dreamer_v2 import DreamerV2Config, DreamerV2Model
from mbrl_agents.algorithms.dreamer_v2.model import transformed
from mbrl_agents.algorithms.dreamer_v2.rssm import GRUCell, balanced_kl
from mbrl_agents.nn.categorical import one_hot_sample
from mbrl_agents.protocols import Batch, tree_map

SMALL = {"deter": 24, "hidden": 24, "stoch": 4, "classes": 4, "units": 24, "layers": 1, "depth": 4}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def small_model(images: bool = False, discrete: bool = False, **config) -> DreamerV2Model:
    space = spaces.Box(0, 255, (32, 32, 3), np.uint8) if images else spaces.Box(-1, 1, (3,))
    actions = spaces.Discrete(2) if discrete else spaces.Box(-1, 1, (2,))
    return DreamerV2Model(DreamerV2Config(**{**SMALL, **config}), space, actions)


def random_batch(model: DreamerV2Model, size: int = 2, length: int = 5, seed: int = 0) -> Batch:
    draws = generator(seed)
    if model.layout.images:
        obs = torch.randint(0, 256, (size, length, 32, 32, 3), generator=draws, dtype=torch.uint8)
    else:
        obs = torch.randn(size, length, 3, generator=draws)
    is_first = torch.zeros(size, length, dtype=torch.bool)
    is_first[:, 0] = True
    nan = torch.full((size, length), math.nan)
    return Batch(
        obs={"obs": obs},
        prev_action=2 * torch.rand(size, length, model.action_size, generator=draws) - 1,
        reward=torch.randn(size, length, generator=draws),
        is_first=is_first,
        is_last=torch.zeros_like(is_first),
        terminal=torch.zeros_like(is_first),
        steps_to_go=nan,
        label=nan[..., None].expand(size, length, model.action_size),
        mask=torch.ones_like(is_first),
    )


def log_probs(*rows: list[float]) -> Tensor:
    """One entry with a categorical for each row."""
    return torch.tensor([rows], requires_grad=True)


# -- KL balancing ---------------------------------------------------------------------------


def kl_pair() -> tuple[Tensor, Tensor, float]:
    """Logits of a posterior (3/4, 1/4) and a prior (1/2, 1/2), and their divergence."""
    posterior = log_probs([math.log(3.0), 0.0])
    prior = log_probs([0.0, 0.0])
    return posterior, prior, 0.75 * math.log(1.5) + 0.25 * math.log(0.5)


@pytest.mark.parametrize("balance", [0.0, 0.5, 0.8, 1.0])
def test_balancing_leaves_the_value_of_the_divergence_alone(balance):
    posterior, prior, expected = kl_pair()
    loss, kl = balanced_kl(
        posterior.log_softmax(-1), prior.log_softmax(-1), torch.ones(1), balance=balance,
        free_nats=0.0,
    )  # fmt: skip
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-6)
    assert float(kl) == pytest.approx(expected, rel=1e-6)


def test_balancing_shares_the_gradient_between_prior_and_posterior():
    posterior, prior, divergence = kl_pair()
    loss, _ = balanced_kl(
        posterior.log_softmax(-1), prior.log_softmax(-1), torch.ones(1), balance=0.8, free_nats=0.0
    )
    loss.backward()
    # For logits of the prior the gradient of the divergence is p - q; for those of the posterior
    # it is q (log q / p - KL).
    torch.testing.assert_close(prior.grad, 0.8 * torch.tensor([[[-0.25, 0.25]]]))
    inner = 0.75 * (math.log(1.5) - divergence)
    torch.testing.assert_close(posterior.grad, 0.2 * torch.tensor([[[inner, -inner]]]))


def test_free_nats_bound_the_mean_over_the_batch_and_not_each_entry():
    posterior = torch.tensor([[[math.log(3.0), 0.0]], [[0.0, 0.0]]], requires_grad=True)
    prior = torch.zeros(2, 1, 2, requires_grad=True)
    large = kl_pair()[2]  # of the first entry; the second has none, so the mean is half of it

    def loss(free: float) -> Tensor:
        return balanced_kl(
            posterior.log_softmax(-1), prior.log_softmax(-1), torch.ones(2), balance=0.8,
            free_nats=free,
        )[0]  # fmt: skip

    assert float(loss(0.6 * large)) == pytest.approx(0.6 * large)
    loss(0.6 * large).backward()
    assert float(posterior.grad.abs().sum() + prior.grad.abs().sum()) == 0.0
    assert float(loss(0.4 * large)) == pytest.approx(0.5 * large)
    loss(0.4 * large).backward()
    assert float(prior.grad[0].abs().sum()) > 0.0


# -- latents and recurrence -------------------------------------------------------------------


def test_a_drawn_latent_is_one_hot_and_carries_the_gradient_of_the_probabilities():
    logits = torch.tensor([[0.3, -0.2, 0.9]], requires_grad=True)
    weights = torch.tensor([[1.0, 2.0, 4.0]])
    drawn = one_hot_sample(logits.log_softmax(-1), torch.zeros(1, 3))
    torch.testing.assert_close(drawn.detach(), torch.tensor([[0.0, 0.0, 1.0]]))
    (weights * drawn).sum().backward()
    probs = logits.detach().softmax(-1)
    expected = probs * (weights - (weights * probs).sum())
    torch.testing.assert_close(logits.grad, expected)


def test_a_fresh_recurrent_unit_keeps_most_of_its_state():
    cell = GRUCell(2, 3, generator=generator())
    with torch.no_grad():
        cell.linear.weight.zero_()
    state = torch.tensor([[1.0, -1.0, 0.5]])
    # All gates are at their bias: the candidate is 0 and the update gate sigmoid(-1).
    keep = 1.0 - 1.0 / (1.0 + math.e)
    torch.testing.assert_close(cell(torch.ones(1, 2), state), keep * state)


def test_an_episode_that_begins_inside_a_sequence_forgets_what_was_before():
    model = small_model()
    batch = random_batch(model, size=1, length=6)
    batch.is_first[0, 3] = True
    tokens = model.encoder(tree_map(lambda x: x[0], batch.obs))[None]

    def filtered(begin: int, action: Tensor) -> Tensor:
        states, _ = model.rssm.observe(
            model.initial(1), tokens[:, begin:], action[:, begin:], batch.is_first[:, begin:]
        )
        return model.features(states)

    other = batch.prev_action.clone()
    other[0, 3] = 0.7  # the action before an episode begins is none of its business
    torch.testing.assert_close(
        filtered(0, batch.prev_action)[:, 3:], filtered(3, other), rtol=1e-5, atol=1e-6
    )


def test_filtering_step_by_step_gives_what_training_sees():
    model = small_model()
    batch = random_batch(model, size=2, length=4)
    tokens = model.encoder(tree_map(lambda x: x.flatten(0, 1), batch.obs)).unflatten(0, (2, 4))
    together, _ = model.rssm.observe(model.initial(2), tokens, batch.prev_action, batch.is_first)
    state = model.initial(2)
    for step in range(4):
        seen = batch[:, step]
        state = model.observe(state, seen.obs, seen.prev_action, seen.is_first)
    torch.testing.assert_close(
        model.features(state), model.features(together)[:, -1], rtol=1e-5, atol=1e-6
    )


def test_without_a_generator_the_most_likely_is_imagined_and_with_one_it_is_drawn():
    model = small_model()
    state, actions = model.initial(3), torch.zeros(3, 4, 2)
    first, second = (model.imagine(state, actions, keep_features=True) for _ in range(2))
    assert torch.equal(first.features, second.features)
    drawn = [
        model.imagine(state, actions, generator=generator(seed), keep_features=True).features
        for seed in (1, 1, 2)
    ]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_actions_beyond_the_bounds_count_as_at_the_bounds():
    model = small_model()
    actions = torch.tensor([[[1.0, -1.0]], [[3.0, -2.0]]])
    rollout = model.imagine(model.initial(2), actions, keep_features=True)
    torch.testing.assert_close(rollout.features[0], rollout.features[1])


# -- heads and losses -------------------------------------------------------------------------


def test_continuation_is_the_predicted_discount_over_the_true_one():
    model = small_model(discount=0.9)
    rollout = model.imagine(model.initial(2), torch.zeros(2, 3, 2), keep_features=True)
    expected = (model.discounts(rollout.features) / 0.9).clamp(max=1.0)
    torch.testing.assert_close(rollout.continues, expected)


def test_a_model_without_the_discount_head_knows_no_ends():
    model = small_model(predict_discount=False, discount=0.9)
    rollout = model.imagine(model.initial(2), torch.zeros(2, 3, 2), keep_features=True)
    assert rollout.continues is None
    assert float(model.discounts(rollout.features).mean()) == pytest.approx(0.9)
    assert "discount" not in model.compute_loss(random_batch(model)).metrics


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("identity", [-2.0, 0.0, 0.5]), ("sign", [-1.0, 0.0, 1.0]), ("tanh", None)],
)
def test_rewards_are_transformed_as_asked(kind, expected):
    reward = torch.tensor([-2.0, 0.0, 0.5])
    wanted = [math.tanh(float(r)) for r in reward] if expected is None else expected
    torch.testing.assert_close(transformed(reward, kind), torch.tensor(wanted))


def test_the_loss_is_the_weighted_sum_of_its_parts():
    model = small_model(kl_scale=0.1, vector_scale=3.0, reward_scale=2.0, discount_scale=5.0)
    batch = random_batch(model)
    batch.terminal[0, 4] = True
    learned = model.compute_loss(batch, generator=generator())
    parts = learned.metrics
    expected = (
        0.1 * parts["kl_loss"]
        + 3.0 * parts["vectors"]
        + 2.0 * parts["reward"]
        + 5.0 * parts["discount"]
    )
    torch.testing.assert_close(learned.loss.detach(), expected)


def test_reward_and_discount_losses_are_those_of_normal_and_bernoulli():
    model = small_model(reward="tanh", discount=0.9)
    with torch.no_grad():
        for head, value in ((model.reward, 0.25), (model.discount, 0.0)):
            head[-1].weight.zero_()
            head[-1].bias.fill_(value)
    batch = random_batch(model, size=1, length=2)
    batch.reward[:] = torch.tensor([[0.0, 1.0]])
    batch.terminal[:] = torch.tensor([[False, True]])
    parts = model.compute_loss(batch).metrics
    off = (0.25**2 + (0.25 - math.tanh(1.0)) ** 2) / 4.0
    assert float(parts["reward"]) == pytest.approx(off, rel=1e-5)
    # A logit of 0 is wrong by log 2 whatever the target, here 0.9 and 0.
    assert float(parts["discount"]) == pytest.approx(math.log(2.0), rel=1e-5)


def test_masked_steps_do_not_count():
    model = small_model()
    batch = random_batch(model, length=4)
    batch.mask[:, 3] = False
    before = model.compute_loss(batch).loss
    batch.obs["obs"][:, 3] = 100.0
    batch.reward[:, 3] = 100.0
    torch.testing.assert_close(model.compute_loss(batch).loss, before)


def test_decoding_gives_observations_in_their_own_units():
    model = small_model(images=True)
    image = model.decode(model.initial(2))["obs"]
    assert image.shape == (2, 32, 32, 3)
    assert 0.0 <= float(image.min()) <= float(image.max()) <= 1.0
    assert small_model().decode(small_model().initial(2))["obs"].shape == (2, 3)


def test_a_batch_of_images_can_be_learned_by_heart():
    model = small_model(images=True, depth=8, units=64, layers=1, deter=64, hidden=64)
    batch = random_batch(model, size=2, length=3)
    # Each image is of one colour, drawn anew for every step.
    batch.obs["obs"][:] = batch.obs["obs"][:, :, :1, :1]
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    draws = generator()
    first = last = math.nan
    for update in range(150):
        learned = model.compute_loss(batch, generator=draws)
        optimizer.zero_grad()
        learned.loss.backward()
        optimizer.step()
        last = float(learned.metrics["images"])
        first = last if update == 0 else first
    assert last < 0.1 * first


def test_statistics_of_actions_leave_out_what_was_not_executed():
    model = small_model()
    batch = random_batch(model, size=4, length=10)
    batch.prev_action[..., 1] *= 0.1
    batch.prev_action[:, 0] = 1.0  # no action leads to the first observation
    model.fit_statistics(batch)
    assert float(model.actions.scale[0]) == 1.0
    assert 0.05 <= float(model.actions.scale[1]) < 0.2


def test_normalised_vectors_are_read_and_predicted_in_their_own_units():
    model, plain = small_model(normalise=True), small_model()
    batch = random_batch(model, size=8, length=20)
    batch.obs["obs"].mul_(torch.tensor([0.01, 1.0, 100.0])).add_(3.0)
    model.fit_statistics(batch)
    flat = batch.obs["obs"].flatten(0, 1)
    scaled = (flat - flat.mean(0)) / flat.std(0, correction=0)
    batch_scaled = random_batch(model, size=8, length=20)
    batch_scaled.obs["obs"][:] = scaled.unflatten(0, (8, 20))
    # The same weights see the same numbers, whichever units they came in.
    torch.testing.assert_close(
        model.compute_loss(batch).loss, plain.compute_loss(batch_scaled).loss, rtol=1e-4, atol=1e-4
    )
    state = model.initial(2)
    expected = plain.decode(state)["obs"] * flat.std(0, correction=0) + flat.mean(0)
    torch.testing.assert_close(model.decode(state)["obs"], expected, rtol=1e-4, atol=1e-3)
