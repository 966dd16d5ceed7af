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
from mbrl_agents.training import compiling
from mbrl_agents.training.batches import EpisodeTensors
from mbrl_agents.training.compiling import CompiledParts
from mbrl_agents.training.dreamer import DreamerTrainer, DreamerTrainingConfig
from mbrl_agents.training.fitting import fit_world_model
from mbrl_agents.training.imagination import Behaviour, BehaviourConfig
from mbrl_agents.training.optimise import TrainingConfig
from mbrl_agents.training.replay import Replay

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


def build(compile: bool) -> tuple[DreamerTrainer, Replay]:
    model = make_world_model("dreamer_v3", SPACE, ACTIONS, **TINY)
    draw = torch.Generator().manual_seed(0)
    settings = BehaviourConfig(imagination=2)
    behaviour = Behaviour.fresh(settings, model, discrete=False, generator=draw)
    config = DreamerTrainingConfig(compile=compile, **SETTINGS)
    replay = Replay(
        80,
        1,
        4,
        {"image": ((16, 16, 3), np.uint8), "pose": ((3,), np.float32)},
        2,
        model.latent_sizes,
    )
    rng = np.random.default_rng(0)
    for step in range(60):
        obs = {"image": rng.integers(0, 256, (16, 16, 3)), "pose": rng.normal(size=3)}
        replay.add(0, obs, rng.normal(size=2), rng.normal(), is_first=step % 20 == 0)
    return DreamerTrainer(config, model, behaviour, seed=0), replay


def test_compiled_and_eager_steps_agree():
    plain, steps = build(False)
    compiled, same_steps = build(True)
    graphs = torch._dynamo.utils.counters
    graphs.clear()
    for _ in range(2):
        expected, found = plain.update(steps), compiled.update(same_steps)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert torch.allclose(found[name], value, rtol=1e-3, atol=1e-4), name
    assert graphs["stats"]["unique_graphs"] > 0
    assert not graphs["graph_break"]
    weights, others = plain.parts.state_dict(), compiled.parts.state_dict()
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
    for compile in (False, True):
        model = make_world_model("dreamer_v3", POSES, ACTIONS_7, **TINY)
        config = TrainingConfig(
            compile=compile, optimizer="laprop", batch_size=2, sequence_length=6, holdout=0.0
        )
        data = EpisodeTensors(toy_grasp.demonstrations(2))
        graphs = torch._dynamo.utils.counters
        graphs.clear()
        result = fit_world_model(model, data, None, config, steps=2)
        assert bool(graphs["stats"]) == compile
        losses.append(result.metrics["train/loss"])
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
