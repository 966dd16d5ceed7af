"""Training DreamerV2: updates, schedule, target critic, saving and resuming, acting."""

from __future__ import annotations

import copy
import math
from types import SimpleNamespace

import pytest
import torch
from gymnasium import spaces

from mbrl_agents.algorithms.dreamer_v2 import (
    ActorCriticConfig,
    DreamerV2,
    DreamerV2Config,
    DreamerV2TrainingConfig,
)
from mbrl_agents.protocols import ActionPrior, Algorithm, Batch, Phase, WorldModel

MODEL = {"deter": 16, "hidden": 16, "stoch": 3, "classes": 4, "units": 16, "layers": 1}


class Recorded:
    """A buffer of one recorded walk, from which sequences are drawn anywhere."""

    def __init__(self, action_size: int, discrete: bool, steps: int = 60) -> None:
        draws = torch.Generator().manual_seed(7)
        action = 2 * torch.rand(steps, action_size, generator=draws) - 1
        if discrete:
            action = torch.eye(action_size)[action.argmax(-1)]
        is_first = torch.arange(steps) % 10 == 0
        nan = torch.full((steps,), math.nan)
        self.whole = Batch(
            obs={"obs": torch.randn(steps, 3, generator=draws)},
            prev_action=action * ~is_first[:, None],
            reward=torch.randn(steps, generator=draws) * ~is_first,
            is_first=is_first,
            is_last=torch.arange(steps) % 10 == 9,
            terminal=torch.arange(steps) % 20 == 9,
            steps_to_go=nan,
            label=nan[:, None].expand(steps, action_size),
            mask=torch.ones(steps, dtype=torch.bool),
        )

    def sample(self, size: int, length: int, generator: torch.Generator) -> SimpleNamespace:
        starts = torch.randint(len(self.whole) - length + 1, (size,), generator=generator)
        rows = starts[:, None] + torch.arange(length)
        return SimpleNamespace(batch=self.whole[rows], before={}, place=None)


def build(discrete: bool = False, *, seed: int = 0, **training) -> tuple[DreamerV2, Recorded]:
    actions = spaces.Discrete(3) if discrete else spaces.Box(-1, 1, (2,))
    sections = {
        "world_model": DreamerV2Config(**MODEL, discount=0.9),
        "actor_critic": ActorCriticConfig(units=16, layers=1, horizon=3, target_every=3),
        "training": DreamerV2TrainingConfig(batch_size=3, sequence_length=6, **training),
    }
    algorithm = DreamerV2(sections, spaces.Box(-1, 1, (3,)), actions, seed=seed)
    return algorithm, Recorded(algorithm.model.action_size, discrete)


def weights(algorithm: DreamerV2) -> dict[str, torch.Tensor]:
    return {
        f"{name}.{key}": value.clone()
        for name, module in algorithm.modules.items()
        for key, value in module.state_dict().items()
    }


def test_it_is_what_the_protocols_say():
    algorithm, _ = build()
    assert isinstance(algorithm, Algorithm)
    assert isinstance(algorithm.world_model, WorldModel)
    assert isinstance(algorithm.prior, ActionPrior)
    assert isinstance(algorithm.phases[0], Phase)
    assert algorithm.extras == {}


def test_the_schedule_is_what_the_settings_say():
    schedule = build(
        train_every=5, updates_per_turn=0.5, pretrain=100, random_steps=1000, updates=77
    )[0].phases[0].schedule  # fmt: skip
    assert (schedule.updates, schedule.start, schedule.every) == (77, 1000, 5)
    assert (schedule.per_turn, schedule.first) == (0.5, 100)


@pytest.mark.parametrize("discrete", [True, False])
def test_an_update_trains_every_module_and_reports_finite_numbers(discrete):
    algorithm, buffer = build(discrete)
    before = weights(algorithm)
    metrics = algorithm.phases[0].update(buffer)
    after = weights(algorithm)
    assert all(torch.isfinite(value) and not value.requires_grad for value in metrics.values())
    for part in ("world_model.rssm", "world_model.encoder", "actor.", "critic.network"):
        changed = [not torch.equal(before[k], after[k]) for k in before if k.startswith(part)]
        assert any(changed), part


def test_updates_are_the_same_for_the_same_seed_and_differ_for_another():
    found = []
    for seed in (0, 0, 1):
        algorithm, buffer = build(seed=seed)
        for _ in range(2):
            algorithm.phases[0].update(buffer)
        found.append(weights(algorithm))
    assert all(torch.equal(found[0][key], found[1][key]) for key in found[0])
    assert not all(torch.equal(found[0][key], found[2][key]) for key in found[0])


def test_the_target_critic_is_copied_after_the_first_and_then_every_third_update():
    algorithm, buffer = build(critic_learning_rate=1e-2)
    critic, copied = algorithm.critic, []
    for _ in range(7):
        algorithm.phases[0].update(buffer)
        now, slow = critic.network[0].weight, critic.target[0].weight
        copied.append(torch.equal(now, slow))
    assert copied == [True, False, False, True, False, False, True]


def test_weight_decay_does_not_depend_on_the_learning_rate():
    algorithm, _ = build(weight_decay=1e-3, learning_rate=1e-4, actor_learning_rate=1e-2)
    for name, optimizer in algorithm.phases[0].optimizers.items():
        group = optimizer.param_groups[0]
        assert group["lr"] * group["weight_decay"] == pytest.approx(1e-3), name


def test_all_learning_rates_fall_linearly_to_a_twentieth_where_asked():
    algorithm, buffer = build(decay_updates=4, learning_rate=1e-3, actor_learning_rate=1e-4)
    (phase,) = algorithm.phases
    found = []
    for _ in range(6):
        phase.update(buffer)
        found.append([phase.optimizers[n].param_groups[0]["lr"] for n in ("world_model", "actor")])
    shares = [1.0, 0.75, 0.5, 0.25, 0.05, 0.05]
    assert found == [pytest.approx([1e-3 * share, 1e-4 * share]) for share in shares]


def test_a_module_whose_gradient_is_not_finite_stops_the_training():
    algorithm, buffer = build()
    buffer.whole.reward[:] = math.inf
    with pytest.raises(FloatingPointError, match="gradient of world_model"):
        algorithm.phases[0].update(buffer)


def test_training_goes_on_from_a_checkpoint_as_if_it_had_not_stopped():
    straight, buffer = build()
    for _ in range(2):
        straight.phases[0].update(buffer)
    tensors, meta = copy.deepcopy(straight.phases[0].tensors())
    kept = copy.deepcopy({k: m.state_dict() for k, m in straight.modules.items()})
    for _ in range(3):
        straight.phases[0].update(buffer)
    resumed, _ = build(seed=5)
    for name, module in resumed.modules.items():
        module.load_state_dict(kept[name])
    resumed.phases[0].restore(tensors, meta)
    for _ in range(3):
        resumed.phases[0].update(buffer)
    expected, found = weights(straight), weights(resumed)
    assert all(torch.equal(expected[key], found[key]) for key in expected)


def test_statistics_of_actions_are_taken_before_the_first_turn_alone():
    algorithm, buffer = build()
    phase, scale = algorithm.phases[0], algorithm.model.actions.scale
    buffer.whole.prev_action[:, 1] *= 0.1
    phase.begin(buffer, 1, seed=0, refit=False)
    first = scale.clone()
    assert float(first[1]) < 0.3
    buffer.whole.prev_action[:, 1] = 0.0
    phase.begin(buffer, 1, seed=0, refit=True)
    assert torch.equal(scale, first)


@pytest.mark.parametrize("discrete", [True, False])
def test_acting_takes_the_mode_without_a_generator_and_draws_with_one(discrete):
    algorithm, _ = build(discrete)
    obs = {"obs": torch.randn(4, 3, generator=torch.Generator().manual_seed(0))}
    inputs = algorithm.initial(4), obs, torch.zeros(4, algorithm.model.action_size)
    is_first = torch.ones(4, dtype=torch.bool)
    first, carry = algorithm.act(*inputs, is_first)
    second, _ = algorithm.act(*inputs, is_first)
    assert torch.equal(first, second)
    assert torch.equal(first, algorithm.actor(algorithm.model.features(carry)).mode)
    drawn = [
        algorithm.act(*inputs, is_first, generator=torch.Generator().manual_seed(seed))[0]
        for seed in range(4)
    ]
    assert any(not torch.equal(drawn[0], other) for other in drawn[1:])
    assert float(first.abs().max()) <= 1.0
    if discrete:
        assert torch.equal(first.sum(-1), torch.ones(4))


def test_the_value_a_planner_reads_leaves_out_the_reward_on_arrival():
    algorithm, _ = build()
    features = torch.randn(5, algorithm.model.feature_size)
    expected = algorithm.critic(features) - algorithm.model.rewards(features)
    torch.testing.assert_close(algorithm.value(features), expected / 0.9)


@pytest.mark.parametrize("discrete", [True, False])
def test_the_actor_proposes_plans(discrete):
    algorithm, _ = build(discrete)
    proposal = algorithm.prior.propose(algorithm.model, algorithm.model.initial(2), 4)
    assert proposal.mean.shape == proposal.std.shape == (2, 4, algorithm.model.action_size)
    if discrete:
        torch.testing.assert_close(proposal.mean.sum(-1), torch.ones(2, 4))
        assert float(proposal.std.abs().max()) == 0.0
    else:
        assert 0.0 < float(proposal.std.min()) <= float(proposal.std.max()) < 1.0
