"""Sizes of DreamerV2's modules, which tell whether the architecture is the authors'."""

from __future__ import annotations

from importlib.resources import files

import numpy as np
import pytest
import yaml
from gymnasium import spaces
from torch import nn

from mbrl_agents.algorithms.dreamer_v2 import (
    ActorCriticConfig,
    DreamerV2,
    DreamerV2Config,
    DreamerV2TrainingConfig,
)

SECTIONS = {
    "world_model": DreamerV2Config,
    "actor_critic": ActorCriticConfig,
    "training": DreamerV2TrainingConfig,
}


def presets() -> dict:
    text = files("mbrl_agents.algorithms.dreamer_v2").joinpath("presets.yaml").read_text()
    return yaml.safe_load(text)


def sections(preset: str) -> dict:
    tree = presets()[preset]
    return {name: kind(**tree.get(name, {})) for name, kind in SECTIONS.items()}


def trained(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


@pytest.mark.parametrize(
    ("preset", "channels", "actions", "counts"),
    [
        ("atari", 1, spaces.Discrete(6), (19_968_179, 1_133_606, 1_131_601)),
        ("atari", 1, spaces.Discrete(18), (19_975_379, 1_138_418, 1_131_601)),
        ("atari", 1, spaces.Discrete(4), (19_966_979, 1_132_804, 1_131_601)),
        ("dmc", 3, spaces.Box(-1, 1, (6,)), (13_656_772, 976_012, 971_601)),
    ],
    ids=["pong", "all-actions", "breakout", "dmc"],
)
def test_modules_have_as_many_parameters_as_the_authors(preset, channels, actions, counts):
    images = spaces.Box(0, 255, (64, 64, channels), np.uint8)
    modules = DreamerV2(sections(preset), images, actions, seed=0).modules
    found = tuple(trained(modules[name]) for name in ("world_model", "actor", "critic"))
    assert found == counts


def test_every_preset_sets_fields_that_exist():
    for name, tree in presets().items():
        assert set(tree) <= set(SECTIONS), name
        assert sections(name)


@pytest.mark.parametrize(
    ("preset", "expected"),
    [
        ("atari", (2e-4, 4e-5, 1e-4, 16, 50_000, 0.999, 0.1, 0.0, 1e-3, "tanh", True)),
        ("dmc", (3e-4, 8e-5, 8e-5, 5, 1_000, 0.99, 1.0, 1.0, 1e-4, "identity", False)),
    ],
)
def test_presets_are_the_official_settings(preset, expected):
    found = sections(preset)
    model, learner, training = (found[name] for name in SECTIONS)
    assert expected == (
        training.learning_rate,
        training.actor_learning_rate,
        training.critic_learning_rate,
        training.train_every,
        training.random_steps,
        model.discount,
        model.kl_scale,
        model.free_nats,
        learner.entropy,
        model.reward,
        model.predict_discount,
    )
    assert (training.batch_size, training.sequence_length) == (16, 50)
    assert (training.epsilon, training.clip, training.weight_decay) == (1e-5, 100.0, 1e-6)
    assert (learner.horizon, learner.lambda_, learner.target_every) == (15, 0.95, 100)
    assert model.kl_balance == 0.8
    assert (model.stoch, model.classes, model.layers, model.units) == (32, 32, 4, 400)


@pytest.mark.parametrize(
    ("kind", "wrong", "message"),
    [
        (DreamerV2Config, {"classes": 1}, "classes"),
        (DreamerV2Config, {"reward": "log"}, "reward must be one of identity, sign, tanh"),
        (DreamerV2Config, {"kl_balance": 1.5}, "kl_balance"),
        (DreamerV2Config, {"discount": 1.0}, "discount"),
        (DreamerV2Config, {"kl_scale": -1.0}, "kl_scale"),
        (ActorCriticConfig, {"gradient": "sum"}, "gradient must be one of"),
        (ActorCriticConfig, {"horizon": 1}, "horizon"),
        (ActorCriticConfig, {"min_std": 0.0}, "min_std"),
        (DreamerV2TrainingConfig, {"sequence_length": 1}, "sequence_length"),
        (DreamerV2TrainingConfig, {"clip": 0.0}, "clip"),
        (DreamerV2TrainingConfig, {"replay_size": 0}, "replay_size"),
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(kind, wrong, message):
    with pytest.raises(ValueError, match=message):
        kind(**wrong)
