"""Fitting: keep-best, exact resumption, and files that are whole or not there."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import nn

from mbrl_agents import make_world_model
from mbrl_agents.training.checkpoints import atomic, load_tensors
from mbrl_agents.training.fitting import TrainingConfig, fit_world_model, optimise, prepare
from toy_grasp import demonstrations

ACTIONS = spaces.Box(-1.0, 1.0, (7,), np.float32)
POSES = spaces.Dict({"pose": spaces.Box(-np.inf, np.inf, (21,), np.float32)})


class Stop(Exception):
    pass


SMALL = {
    "simple": {"hidden": (16,), "head_hidden": (16,)},
    "dreamer_v3": {"deter": 16, "hidden": 8, "classes": 4, "units": 8, "stoch": 4},
}


@pytest.mark.parametrize(("name", "optimizer"), [("simple", "adamw"), ("dreamer_v3", "laprop")])
def test_an_interrupted_fit_resumes_exactly(tmp_path, name, optimizer):
    config = TrainingConfig(
        model_steps=30,
        batch_size=32 if name == "simple" else 4,
        evaluate_every=10,
        checkpoint_every=7,
        sequence_length=3,
        optimizer=optimizer,
    )
    train, held = prepare(demonstrations(5), config)

    def fresh():
        return make_world_model(name, POSES, ACTIONS, **SMALL[name])

    whole = fresh()
    expected = fit_world_model(whole, train, held, config)

    def interrupt(phase, done, total, metrics):
        if done == 20:
            raise Stop

    file = tmp_path / "fit.safetensors"
    with pytest.raises(Stop):
        fit_world_model(fresh(), train, held, config, progress=interrupt, checkpoint=file)
    resumed = make_world_model(name, POSES, ACTIONS, seed=9, **SMALL[name])
    result = fit_world_model(resumed, train, held, config, checkpoint=file)
    for key, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key
    assert result.metrics == expected.metrics
    assert result.history == expected.history
    again = fit_world_model(fresh(), train, held, config, checkpoint=file)
    assert again.metrics == expected.metrics
    with pytest.raises(ValueError, match="another fit"):
        fit_world_model(fresh(), train, held, config, steps=31, checkpoint=file)


class Scalar(nn.Module):
    """Learns to be 1; held-out data say 0.5 was best."""

    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.zeros(1))


@pytest.mark.parametrize("keep", [True, False])
def test_the_best_weights_are_kept(keep):
    module = Scalar()

    def loss(generator):
        error = (module.value - 1).square().sum()
        return error, {"loss": error.detach()}

    config = TrainingConfig(learning_rate=0.02, weight_decay=0.0, evaluate_every=5, keep_best=keep)
    result = optimise(
        module,
        loss,
        steps=200,
        config=config,
        phase="x",
        held_out=lambda: {"loss": (module.value - 0.5).abs().item()},
    )
    assert module.value.item() == pytest.approx(0.5 if keep else 1.0, abs=0.1)
    assert result.metrics["held_out/loss"] == pytest.approx(abs(module.value.item() - 0.5))
    assert not module.training


def test_a_gradient_that_is_not_finite_stops_the_fit():
    module = Scalar()

    def loss(generator):
        bad = (module.value * torch.nan).sum()
        return bad, {"loss": bad.detach()}

    with pytest.raises(FloatingPointError, match="not finite at step 0"):
        optimise(module, loss, steps=3, config=TrainingConfig(), phase="x")


def test_files_are_replaced_whole_or_not_at_all(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("old")

    def write_and_fail():
        with atomic(file) as temporary:
            temporary.write_text("half")
            raise Stop

    with pytest.raises(Stop):
        write_and_fail()
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_files_that_hold_no_weights_are_named(tmp_path):
    file = tmp_path / "w.safetensors"
    with pytest.raises(FileNotFoundError):
        load_tensors(tmp_path / "none.safetensors")
    file.write_bytes(b"broken")
    with pytest.raises(ValueError, match="not a readable safetensors"):
        load_tensors(file)
