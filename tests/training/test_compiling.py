"""Compiled training steps: the same numbers, the same weights by name, nothing left behind.

The graphs are run as they are captured: generating code for them takes minutes.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces

import toy_grasp
from mbrl_agents import make_world_model
from mbrl_agents.algorithms.dreamer_v3 import DreamerV3, FittedDreamerV3
from mbrl_agents.config import resolve_config
from mbrl_agents.data.buffer import SequenceBuffer
from mbrl_agents.training import compiling
from mbrl_agents.training.compiling import CompiledParts

SPACE = spaces.Dict(
    {
        "image": spaces.Box(0, 255, (16, 16, 3), np.uint8),
        "pose": spaces.Box(-1.0, 1.0, (3,), np.float32),
    }
)
ACTIONS = spaces.Box(-1.0, 1.0, (2,), np.float32)
POSES = spaces.Dict({"pose": spaces.Box(-np.inf, np.inf, (21,), np.float32)})
ACTIONS_7 = spaces.Box(-1.0, 1.0, (7,), np.float32)
TINY = {"deter": 32, "hidden": 16, "units": 16, "depth": 2, "stoch": 4, "classes": 4}
SETTINGS = {"batch_size": 3, "sequence_length": 4, "learning_rate": 1e-3, "warmup": 0}


@pytest.fixture(autouse=True)
def quick_backend(monkeypatch):
    monkeypatch.setattr(compiling, "BACKEND", "eager")
    yield
    torch.compiler.reset()


def build(compile: bool) -> tuple[DreamerV3, SequenceBuffer]:
    settings = {
        "world_model": TINY,
        "actor_critic": {"imagination": 2},
        "training": {"compile": compile, **SETTINGS},
    }
    sections = resolve_config("dreamer", settings).sections
    algorithm = DreamerV3(sections, SPACE, ACTIONS, seed=0)
    buffer = SequenceBuffer(SPACE, ACTIONS, extras=algorithm.extras, capacity=80)
    rng = np.random.default_rng(0)
    for step in range(60):
        obs = {"image": rng.integers(0, 256, (16, 16, 3)), "pose": rng.normal(size=3)}
        buffer.own.add(0, obs, rng.normal(size=2), rng.normal(), is_first=step % 20 == 0)
    return algorithm, buffer


def test_compiled_and_eager_steps_agree():
    plain, steps = build(False)
    compiled, same_steps = build(True)
    graphs = torch._dynamo.utils.counters
    graphs.clear()
    for _ in range(2):
        expected = plain.phases[0].update(steps)
        found = compiled.phases[0].update(same_steps)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert torch.allclose(found[name], value, rtol=1e-3, atol=1e-4), name
    assert graphs["stats"]["unique_graphs"] > 0
    assert not graphs["graph_break"]
    for name, module in plain.modules.items():
        weights, others = module.state_dict(), compiled.modules[name].state_dict()
        assert list(weights) == list(others)
        # LaProp divides by the gradient's size: where that is nothing, rounding decides the sign.
        assert all(torch.allclose(weights[key], others[key], atol=3e-3) for key in weights)


def test_outside_of_a_training_step_nothing_is_compiled():
    model = make_world_model("dreamer_v3", SPACE, ACTIONS, **TINY)
    before = model.rssm.filter_step
    with CompiledParts([model]) as parts:
        assert model.rssm.filter_step != before
        with pytest.raises(RuntimeError, match="stop"), parts:
            raise RuntimeError("stop")
    assert model.rssm.filter_step == before
    assert "filter_step" not in vars(model.rssm)
    with CompiledParts([model], enabled=False):
        assert model.rssm.filter_step == before
    with CompiledParts([torch.nn.Linear(1, 1)]):
        pass


def test_an_offline_fit_can_be_compiled():
    losses = []
    buffer = SequenceBuffer(POSES, ACTIONS_7, recorded=toy_grasp.demonstrations(2))
    for compile in (False, True):
        settings = {
            "world_model": TINY,
            "training": {"compile": compile, "batch_size": 2, "sequence_length": 6, "holdout": 0},
        }
        sections = resolve_config("dreamer-cem", settings).sections
        phase = FittedDreamerV3(sections, POSES, ACTIONS_7, seed=0).phases[0]
        graphs = torch._dynamo.utils.counters
        graphs.clear()
        phase.begin(buffer, 2, seed=0, refit=False)
        losses.append([phase.update(buffer)["loss"].item() for _ in range(2)])
        assert bool(graphs["stats"]) == compile
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
