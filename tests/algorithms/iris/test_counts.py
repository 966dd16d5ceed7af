"""Sizes of IRIS: the paper's parameters, and those of other images by formula."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium import spaces

from mbrl_agents.algorithms.iris import ActorCriticConfig, Iris, IrisConfig, IrisTrainingConfig
from mbrl_agents.config import resolve_config


def images(height: int, width: int, channels: int = 3) -> spaces.Box:
    return spaces.Box(0, 255, (height, width, channels), np.uint8)


def counts(config, observations, actions) -> tuple[int, int, int]:
    algorithm = Iris(config.sections, observations, actions, seed=0)
    modules = algorithm.model.tokenizer, algorithm.model.dynamics, algorithm.actor_critic
    return tuple(sum(p.numel() for p in module.parameters()) for module in modules)


@pytest.mark.parametrize(
    ("actions", "expected"),
    [(4, (4_027_523, 8_447_493, 3_217_957)), (6, (4_027_523, 8_448_005, 3_218_983))],
)
def test_the_papers_networks_have_the_papers_sizes(actions, expected):
    config = resolve_config("iris", ["preset=atari100k"])
    assert counts(config, images(64, 64), spaces.Discrete(actions)) == expected


def test_the_preset_of_the_paper_is_the_defaults():
    config = resolve_config("iris", ["preset=atari100k"])
    assert config.world_model == IrisConfig()
    assert config.actor_critic == ActorCriticConfig()
    assert config.training == IrisTrainingConfig()


def conv(before: int, after: int, kernel: int) -> int:
    return before * after * kernel**2 + after


def linear(before: int, after: int) -> int:
    return before * after + after


@pytest.mark.parametrize(
    ("size", "levels"), [((32, 32), 4), ((32, 32), 5), ((32, 64), 4), ((64, 64), 6)]
)
@pytest.mark.parametrize("actions", [spaces.Discrete(3), spaces.Box(-1, 1, (2,))], ids=str)
def test_other_grids_of_tokens_have_as_many_parameters_as_the_formula_says(size, levels, actions):
    config = resolve_config("iris", ["preset=small", f"world_model.levels={levels}"])
    model, actor = config.world_model, config.actor_critic
    c, e, d, a = model.channels, model.code_size, model.width, 3 if actions.shape == () else 2
    heights = [size[0] // 2**n for n in range(levels)]
    attended = sum(height in model.attention for height in heights)
    block = 2 * (2 * c + conv(c, c, 3))
    attention = 2 * c + 4 * conv(c, c, 1)
    ends = 2 * (conv(3, c, 3) - c) + c + 3 + 2 * (9 * c * e) + c + e + 2 * 2 * c
    r = model.residual_blocks
    tokenizer = ends + model.codes * e + 2 * conv(e, e, 1) + 2 * (levels - 1) * conv(c, c, 3)
    tokenizer += (4 + levels * (2 * r + 1)) * block + (2 + attended * (2 * r + 1)) * attention
    tokens = size[0] * size[1] // 4 ** (levels - 1)
    layer = 4 * d + 4 * linear(d, d) + linear(d, 4 * d) + linear(4 * d, d)
    dynamics = model.window * (tokens + 1) * d + model.codes * d + model.layers * layer + 2 * d
    dynamics += a * d if actions.shape == () else linear(a, d)
    dynamics += 3 * linear(d, d) + linear(d, model.codes) + linear(d, 3) + linear(d, 2)
    widths, units = [3, *actor.convolutions], actor.units
    cells = size[0] * size[1] // 4 ** len(actor.convolutions)
    critic = sum(conv(x, y, 3) for x, y in zip(widths[:-1], widths[1:], strict=True))
    critic += 4 * units * (widths[-1] * cells + units + 2) + linear(units, 1)
    critic += linear(units, a if actions.shape == () else 2 * a)
    assert counts(config, images(*size), actions) == (tokenizer, dynamics, critic)


@pytest.mark.parametrize(
    ("observations", "overrides", "message"),
    [
        (spaces.Box(-1, 1, (3,)), [], "learns from images"),
        (images(40, 40), [], "multiple of 16 pixels"),
        (images(64, 64), ["training.sequence_length=21"], "world_model.window"),
        (images(8, 8), ["world_model.levels=2"], "actor_critic.convolutions"),
    ],
)
def test_what_does_not_fit_is_refused_with_a_reason(observations, overrides, message):
    config = resolve_config("iris", overrides)
    with pytest.raises(ValueError, match=message):
        Iris(config.sections, observations, spaces.Discrete(2), seed=0)


@pytest.mark.parametrize(
    ("kind", "wrong", "message"),
    [
        (IrisConfig, {"channels": 5}, "channels"),
        (IrisConfig, {"width": 10, "heads": 4}, "heads"),
        (IrisConfig, {"dropout": 1.0}, "dropout"),
        (IrisConfig, {"context": 21}, "context"),
        (ActorCriticConfig, {"horizon": 1}, "horizon"),
        (ActorCriticConfig, {"convolutions": ()}, "convolutions"),
        (ActorCriticConfig, {"temperature": 0.0}, "temperature"),
        (IrisTrainingConfig, {"world_model_start": 10}, "must not fall"),
        (IrisTrainingConfig, {"sequence_length": 1}, "sequence_length"),
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(kind, wrong, message):
    with pytest.raises(ValueError, match=message):
        kind(**wrong)
