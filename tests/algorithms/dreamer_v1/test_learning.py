"""DreamerV1 as an algorithm: updates, exact resumption, acting, presets."""

from __future__ import annotations

import copy
import dataclasses
import math
from importlib.resources import files
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from gymnasium import spaces

from mbrl_agents.algorithms.dreamer_v1 import (
    ActorCriticConfig,
    DreamerV1,
    DreamerV1Config,
    DreamerV1TrainingConfig,
)
from mbrl_agents.protocols import Algorithm, Batch, Phase

VECTOR = spaces.Box(-1, 1, (3,), np.float32)
BOX, CHOICE = spaces.Box(-1, 1, (1,), np.float32), spaces.Discrete(2)
CLASSES = {
    "world_model": DreamerV1Config,
    "actor_critic": ActorCriticConfig,
    "training": DreamerV1TrainingConfig,
}
SECTIONS = {
    "world_model": DreamerV1Config(
        deter=16, stoch=4, hidden=16, units=16, vector_layers=1, continue_head=True, free_nats=0.1
    ),
    "actor_critic": ActorCriticConfig(units=16, actor_layers=1, critic_layers=1, horizon=3),
    "training": DreamerV1TrainingConfig(
        batch_size=8, sequence_length=5, learning_rate=3e-3, actor_learning_rate=3e-3,
        critic_learning_rate=3e-3,
    ),
}  # fmt: skip


class PushedPoint:
    """A point that actions push; the reward is the push.  Sequences as the phases read them."""

    def __init__(self, actions: int, *, discrete: bool) -> None:
        self.actions, self.discrete = actions, discrete

    def sample(self, size: int, length: int, generator: torch.Generator) -> Any:
        shape = (size, length)
        push = torch.rand(*shape, generator=generator) * 2 - 1
        action = push[..., None]
        if self.discrete:
            choice = (push > 0).long()
            push, action = choice * 2.0 - 1.0, torch.eye(2)[choice]
        first = torch.zeros(shape, dtype=torch.bool)
        first[:, 0] = True
        push = push * ~first
        place = 0.2 * push.cumsum(1)
        no = torch.zeros(shape, dtype=torch.bool)
        batch = Batch(
            obs={"obs": torch.stack([place, push, torch.ones(shape)], -1)},
            prev_action=action * ~first[..., None],
            reward=push,
            is_first=first,
            is_last=no,
            terminal=no,
            steps_to_go=torch.full(shape, math.nan),
            label=torch.full((*shape, self.actions), math.nan),
            mask=~no,
        )
        return SimpleNamespace(batch=batch, before={}, place=None)


def made(action_space: spaces.Space = BOX, seed: int = 0) -> DreamerV1:
    return DreamerV1(SECTIONS, VECTOR, action_space, seed=seed)


def weights(algorithm: DreamerV1) -> list[torch.Tensor]:
    return [p.detach() for m in algorithm.modules.values() for p in m.parameters()]


@pytest.mark.parametrize("action_space", [BOX, CHOICE])
def test_the_rewarded_action_is_learned_in_imagination(action_space: spaces.Space):
    algorithm = made(action_space)
    phase = algorithm.phases[0]
    discrete = isinstance(action_space, spaces.Discrete)
    buffer: Any = PushedPoint(2 if discrete else 1, discrete=discrete)
    phase.begin(buffer, 100, seed=0, refit=False)
    metrics = [phase.update(buffer) for _ in range(100)]
    assert metrics[-1]["model"] < 0.5 * metrics[0]["model"]
    assert metrics[-1]["imagined_reward"] > 0.6
    obs = {"obs": torch.tensor([[0.0, 0.0, 1.0]]).expand(4, -1)}
    none = torch.zeros(4, algorithm.model.action_size)
    with torch.no_grad():
        action, _ = algorithm.act(algorithm.initial(4), obs, none, torch.ones(4).bool())
    assert (action[:, -1] > 0.5).all()


def test_images_and_vectors_are_learned_together():
    both = spaces.Dict({"image": spaces.Box(0, 255, (3, 32, 32), np.uint8), "obs": VECTOR})
    sections = SECTIONS | {"world_model": dataclasses.replace(SECTIONS["world_model"], depth=2)}
    algorithm = DreamerV1(sections, both, BOX, seed=0)
    point = PushedPoint(1, discrete=False)

    def sample(size: int, length: int, generator: torch.Generator) -> Any:
        drawn = point.sample(size, length, generator)
        image = torch.full((size, length, 3, 32, 32), 200, dtype=torch.uint8)
        batch = dataclasses.replace(drawn.batch, obs=drawn.batch.obs | {"image": image})
        return SimpleNamespace(batch=batch, before={}, place=None)

    buffer: Any = SimpleNamespace(sample=sample)
    metrics = algorithm.phases[0].update(buffer)
    assert metrics["images"] > 0
    assert metrics["vectors"] > 0
    decoded = algorithm.world_model.decode(algorithm.initial(2))
    assert decoded["image"].shape == (2, 32, 32, 3)


def test_a_restored_phase_goes_on_exactly():
    buffer: Any = PushedPoint(1, discrete=False)
    algorithm = made()
    phase = algorithm.phases[0]
    for _ in range(3):
        phase.update(buffer)
    tensors, meta = copy.deepcopy(phase.tensors())
    other = made(seed=5)
    for name, module in other.modules.items():
        module.load_state_dict(algorithm.modules[name].state_dict())
    other.phases[0].restore(tensors, meta)
    for _ in range(2):
        phase.update(buffer)
        other.phases[0].update(buffer)
    assert all(map(torch.equal, weights(algorithm), weights(other)))


@pytest.mark.slow
def test_compiled_steps_learn_the_same(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("mbrl_agents.training.compiling.BACKEND", "eager")
    training = dataclasses.replace(SECTIONS["training"], compile=True)
    buffer: Any = PushedPoint(1, discrete=False)
    plain, compiled = made(), DreamerV1(SECTIONS | {"training": training}, VECTOR, BOX, seed=0)
    for _ in range(2):
        metrics = [algorithm.phases[0].update(buffer) for algorithm in (plain, compiled)]
    for name, value in metrics[0].items():
        torch.testing.assert_close(value, metrics[1][name], rtol=1e-4, atol=1e-5)


def test_seeds_decide_the_weights_and_nothing_else_does():
    before = torch.get_rng_state()
    first, again, other = made(), made(), made(seed=1)
    assert all(map(torch.equal, weights(first), weights(again)))
    assert not all(map(torch.equal, weights(first), weights(other)))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("action_space", [BOX, CHOICE])
def test_acting_is_a_function_of_its_inputs_unless_it_explores(action_space: spaces.Space):
    algorithm = made(action_space)
    assert isinstance(algorithm, Algorithm)
    assert isinstance(algorithm.phases[0], Phase)
    size = algorithm.model.action_size
    obs = {"obs": torch.randn(6, 3, generator=torch.Generator().manual_seed(0))}

    def act(seed: int | None, explore: bool) -> torch.Tensor:
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        with torch.no_grad():
            action, carry = algorithm.act(
                algorithm.initial(6), obs, torch.zeros(6, size), torch.ones(6).bool(),
                explore=explore, generator=generator,
            )  # fmt: skip
        assert action.shape == (6, size)
        assert action.abs().max() <= 1
        assert not algorithm.extras_of(carry)
        return action

    assert torch.equal(act(None, False), act(None, False))
    assert torch.equal(act(3, True), act(3, True))
    assert not torch.equal(act(3, True), act(4, True))


def test_planners_get_a_prior_and_the_return_that_follows():
    algorithm = made()
    assert algorithm.prior is not None
    state = algorithm.initial(5)
    proposal = algorithm.prior.propose(algorithm.world_model, state, 3)
    assert proposal.mean.shape == proposal.std.shape == (5, 3, 1)
    features = algorithm.model.features(state)
    model, critic = algorithm.model, algorithm.critic
    for head, output in [(model.reward_head, 2.0), (critic.network, 12.0)]:
        torch.nn.init.zeros_(head[-1].weight)
        torch.nn.init.constant_(head[-1].bias, output)
    expected = 10.0 / model.discounts(features).clamp_min(0.495)
    torch.testing.assert_close(algorithm.value(features), expected)


def test_a_step_that_is_not_finite_is_an_error():
    algorithm = made()
    with torch.no_grad():
        algorithm.model.reward_head[-1].bias.fill_(math.nan)
    with pytest.raises(FloatingPointError, match="not finite"):
        algorithm.phases[0].update(PushedPoint(1, discrete=False))


def test_presets_are_settings_that_exist():
    folder = files("mbrl_agents.algorithms.dreamer_v1")
    presets = yaml.safe_load(folder.joinpath("presets.yaml").read_text())
    assert set(presets) == {"dmc", "paper", "cpu", "images"}
    for sections in presets.values():
        for name, values in sections.items():
            CLASSES[name](**values)
    assert all(
        CLASSES[name](**values) == CLASSES[name]() for name, values in presets["dmc"].items()
    )


def test_the_schedule_counts_environment_steps():
    schedule = DreamerV1TrainingConfig().schedule
    assert (schedule.start, schedule.every, schedule.per_turn, schedule.first) == (
        2500, 500, 100.0, 100,
    )  # fmt: skip
    later = dataclasses.replace(DreamerV1TrainingConfig(), learning_starts=4000, first_updates=0)
    assert later.schedule.start == 4000
    assert later.schedule.first is None
    with pytest.raises(ValueError, match="updates_per_step"):
        DreamerV1TrainingConfig(updates_per_step=0.0)
