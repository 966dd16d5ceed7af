"""DreamerV1's world model: sizes, losses against values by hand, resets, the protocol."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor, nn
from torch.distributions import Normal
from torch.distributions import kl_divergence as reference_kl

from mbrl_agents.algorithms.dreamer_v1.actor import Actor
from mbrl_agents.algorithms.dreamer_v1.actor_critic import Critic
from mbrl_agents.algorithms.dreamer_v1.config import ActorCriticConfig, DreamerV1Config
from mbrl_agents.algorithms.dreamer_v1.model import DreamerV1Model
from mbrl_agents.algorithms.dreamer_v1.rssm import Gaussian, kl_divergence
from mbrl_agents.protocols import Batch, WorldModel

PIXELS = spaces.Box(0, 255, (64, 64, 3), np.uint8)
VECTOR = spaces.Box(-1, 1, (5,), np.float32)
BOX = spaces.Box(-1, 1, (2,), np.float32)
SMALL = DreamerV1Config(deter=12, stoch=4, hidden=10, depth=2, units=16, vector_layers=1)


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def small(config: DreamerV1Config = SMALL, action_space: spaces.Space = BOX) -> DreamerV1Model:
    return DreamerV1Model(config, VECTOR, action_space)


def batch_of(
    obs: Tensor, actions: int = 2, *, first: tuple[int, ...] = (0,), reward: float = 0.0
) -> Batch:
    shape = obs.shape[:2]
    is_first = torch.zeros(shape, dtype=torch.bool)
    is_first[:, list(first)] = True
    no = torch.zeros(shape, dtype=torch.bool)
    action = torch.rand(*shape, actions, generator=seeded(5)) * 2 - 1
    return Batch(
        obs={"obs": obs},
        prev_action=action,
        reward=torch.full(shape, reward),
        is_first=is_first,
        is_last=no,
        terminal=no,
        steps_to_go=torch.full(shape, math.nan),
        label=torch.full((*shape, actions), math.nan),
        mask=~no,
    )


@pytest.mark.parametrize(
    ("units", "layers", "continues", "world_model", "actor", "critic"),
    [
        (400, (2, 4, 3), False, 5_296_820, 578_412, 413_601),
        (400, (2, 4, 3), True, 5_710_421, 578_412, 413_601),
        (300, (3, 3, 3), False, 5_293_820, 253_512, 250_201),
    ],
)
def test_parameters_are_those_of_the_authors(
    units: int,
    layers: tuple[int, int, int],
    continues: bool,
    world_model: int,
    actor: int,
    critic: int,
):
    config = DreamerV1Config(units=units, reward_layers=layers[0], continue_head=continues)
    model = DreamerV1Model(config, PIXELS, spaces.Box(-1, 1, (6,), np.float32))
    policy = ActorCriticConfig(units=units, actor_layers=layers[1], critic_layers=layers[2])
    assert model.feature_size == 230
    assert count(model) == world_model
    assert count(Actor(policy, 230, 6, discrete=False, generator=seeded())) == actor
    assert count(Critic(policy, 230, generator=seeded())) == critic


def test_kl_divergence_of_gaussians_by_hand():
    left = Gaussian(torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 2.0]]))
    right = Gaussian(torch.tensor([[0.0, 0.0]]), torch.tensor([[1.0, 1.0]]))
    expected = 0.0 + (0.5 * (4.0 + 1.0 - 1.0) - math.log(2.0))
    torch.testing.assert_close(kl_divergence(left, right), torch.tensor([expected]))
    generator = seeded()
    mean, std = torch.randn(2, 3, 4, generator=generator), torch.rand(2, 3, 4, generator=generator)
    std = std + 0.1
    torch.testing.assert_close(
        kl_divergence(Gaussian(mean[0], std[0]), Gaussian(mean[1], std[1])),
        reference_kl(Normal(mean[0], std[0]), Normal(mean[1], std[1])).sum(-1),
    )


def test_free_nats_apply_to_the_mean_of_the_batch():
    batch = batch_of(torch.randn(3, 6, 5, generator=seeded()))

    def losses(free_nats: float, kl_weight: float = 1.0) -> tuple[Tensor, Tensor]:
        model = small(dataclasses.replace(SMALL, free_nats=free_nats, kl_weight=kl_weight))
        learned = model.compute_loss(batch, seeded(1))
        rest = learned.metrics["vectors"] + learned.metrics["reward"]
        return learned.loss.detach() - rest, learned.metrics["kl"]

    counted, divergence = losses(0.0)
    torch.testing.assert_close(counted, divergence)
    # Single steps lie on both sides of their mean; the mean alone decides.
    counted, divergence = losses(0.99 * float(divergence))
    torch.testing.assert_close(counted, divergence)
    counted, divergence = losses(1.01 * float(divergence))
    torch.testing.assert_close(counted, 1.01 * divergence)
    counted, divergence = losses(0.0, kl_weight=3.0)
    torch.testing.assert_close(counted, 3.0 * divergence)


def test_free_nats_stop_the_gradient_of_the_divergence():
    batch = batch_of(torch.randn(3, 6, 5, generator=seeded()))
    for free_nats, expected in [(1e6, False), (0.0, True)]:
        model = small(dataclasses.replace(SMALL, free_nats=free_nats))
        model.compute_loss(batch, seeded(1)).loss.backward()
        assert bool(model.rssm.prior_output.weight.grad.any()) is expected


def test_losses_of_rewards_and_ends_by_hand():
    config = dataclasses.replace(
        SMALL, continue_head=True, reward_scale=0.5, discount=0.9, free_nats=100.0, vector_weight=7
    )
    model = small(config)
    batch = batch_of(torch.zeros(1, 4, 5), reward=3.0)
    batch.terminal[0, 2] = True
    for head, output in [(model.reward_head, 1.0), (model.continue_head, 0.3)]:
        nn.init.zeros_(head[-1].weight)
        nn.init.constant_(head[-1].bias, output)
    learned = model.compute_loss(batch, seeded())
    reward = 0.5 * (1.0 - 1.5) ** 2
    p = 1 / (1 + math.exp(-0.3))
    goes_on, ends = -(0.9 * math.log(p) + 0.1 * math.log(1 - p)), -math.log(1 - p)
    continues = (3 * goes_on + ends) / 4
    assert float(learned.metrics["reward"]) == pytest.approx(reward, rel=1e-5)
    assert float(learned.metrics["continue"]) == pytest.approx(continues, rel=1e-5)
    total = 7 * float(learned.metrics["vectors"]) + reward + 10 * continues + 100.0
    assert learned.loss.item() == pytest.approx(total, rel=1e-5)
    # Outside the algorithm, rewards are the environment's and chances to go on probabilities.
    rollout = model.imagine(model.initial(1), torch.zeros(1, 2, 2))
    torch.testing.assert_close(rollout.reward, torch.full((1, 2), 2.0))
    torch.testing.assert_close(rollout.continues, torch.full((1, 2), p / 0.9))


def test_padded_steps_do_not_count():
    model = small()
    batch = batch_of(torch.randn(2, 6, 5, generator=seeded()))
    batch.mask[1, 4:] = False
    before = model.compute_loss(batch, seeded()).loss
    batch.reward[1, 4:] = 100.0
    torch.testing.assert_close(model.compute_loss(batch, seeded()).loss, before)
    batch.reward[1, 3] = 100.0
    assert model.compute_loss(batch, seeded()).loss > before + 100.0


def test_an_episode_inside_a_sequence_begins_from_nothing():
    model = small()
    obs = torch.randn(2, 6, 5, generator=seeded())
    tokens = model.encoder({"obs": obs.flatten(0, 1)}).unflatten(0, (2, 6))
    batch = batch_of(obs, first=(0, 3))
    noise = torch.randn(2, 6, 4, generator=seeded(2))
    whole, _ = model.rssm.observe(
        model.initial(2), tokens, batch.prev_action, batch.is_first, noise
    )
    tail, _ = model.rssm.observe(
        model.initial(2),
        tokens[:, 3:],
        batch.prev_action[:, 3:],
        batch.is_first[:, 3:],
        noise[:, 3:],
    )
    torch.testing.assert_close(whole["deter"][:, 3:], tail["deter"])
    torch.testing.assert_close(whole["stoch"][:, 3:], tail["stoch"])


def test_filtering_step_by_step_equals_filtering_a_sequence():
    model = small()
    obs = torch.randn(2, 5, 5, generator=seeded())
    batch = batch_of(obs, first=(0, 2))
    tokens = model.encoder({"obs": obs.flatten(0, 1)}).unflatten(0, (2, 5))
    whole, _ = model.rssm.observe(model.initial(2), tokens, batch.prev_action, batch.is_first, None)
    state = model.initial(2)
    for t in range(5):
        state = model.observe(
            state, {"obs": obs[:, t]}, batch.prev_action[:, t], batch.is_first[:, t]
        )
        torch.testing.assert_close(state["deter"], whole["deter"][:, t])
        torch.testing.assert_close(state["stoch"], whole["stoch"][:, t])


def test_it_is_a_world_model_and_imagines_as_it_steps():
    model = small(dataclasses.replace(SMALL, continue_head=True), spaces.Discrete(3))
    assert isinstance(model, WorldModel)
    assert model.actions.discrete
    actions = torch.eye(3)[torch.tensor([[0, 2], [1, 1]])]
    state = model.observe(
        model.initial(2), {"obs": torch.ones(2, 5)}, torch.zeros(2, 3), torch.ones(2).bool()
    )
    rollout = model.imagine(state, actions, generator=seeded(3), keep_features=True)
    generator, stepped = seeded(3), state
    for t in range(2):
        stepped = model.imagine_step(stepped, actions[:, t], generator=generator)
        torch.testing.assert_close(rollout.features[:, t], model.features(stepped))
    assert rollout.reward.shape == rollout.continues.shape == (2, 2)
    assert rollout.continues.min() >= 0
    assert rollout.continues.max() <= 1
    assert model.imagine(state, actions).features is None
    assert model.decode(state)["obs"].shape == (2, 5)


def test_without_a_generator_stochastic_states_are_means():
    model = small()
    state = model.initial(3)
    action = torch.rand(3, 2, generator=seeded())
    stepped = model.imagine_step(state, action)
    prior = model.rssm.prior(stepped["deter"])
    torch.testing.assert_close(stepped["stoch"], prior.mean)
    drawn = model.imagine_step(state, action, generator=seeded())
    assert not torch.allclose(drawn["stoch"], prior.mean)


@pytest.mark.parametrize("size", [64, 32])
def test_images_of_a_batch_are_learned(size: int):
    config = DreamerV1Config(deter=32, stoch=8, hidden=32, depth=8, units=32, free_nats=0.0)
    model = DreamerV1Model(config, spaces.Box(0, 255, (size, size, 1), np.uint8), BOX)
    images = torch.zeros(1, 4, size, size, 1, dtype=torch.uint8)
    for t in range(4):
        at = t * size // 6
        images[0, t, at : at + size // 4, size // 4 : size // 2] = 255
    batch = batch_of(images)
    optimizer, generator = torch.optim.Adam(model.parameters(), lr=3e-3), seeded()
    errors = []
    for _ in range(80):
        learned = model.compute_loss(batch, generator)
        optimizer.zero_grad()
        learned.loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 100.0)
        optimizer.step()
        errors.append(float(learned.metrics["images"]))
    assert np.mean(errors[-5:]) < 0.15 * errors[0]


@pytest.mark.parametrize(
    "values", [{"deter": 0}, {"discount": 0.0}, {"activation": "gelu"}, {"reward_scale": 0.0}]
)
def test_impossible_settings_are_refused(values: dict):
    with pytest.raises(ValueError, match=next(iter(values))):
        DreamerV1Config(**values)
