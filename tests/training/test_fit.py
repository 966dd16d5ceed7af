"""Fitting to episodes: schedule, keep-best, exact resumption, and files whole or not there."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import nn

from mbrl_agents.config import resolve_config
from mbrl_agents.data.buffer import SequenceBuffer
from mbrl_agents.names import resolve
from mbrl_agents.protocols import Algorithm, Schedule
from mbrl_agents.registry import agent_method
from mbrl_agents.training.checkpoints import atomic, load_tensors
from mbrl_agents.training.fit import FitPhase, FitSettings
from mbrl_agents.training.trainer import Trainer
from toy_grasp import demonstrations

ACTIONS = spaces.Box(-1.0, 1.0, (7,), np.float32)
POSES = spaces.Dict({"pose": spaces.Box(-np.inf, np.inf, (21,), np.float32)})

SIMPLE = {"world_model": {"hidden": (16,), "head_hidden": (16,)}, "policy": {"hidden": (16,)}}
LATENT = {
    "world_model": {"deter": 16, "hidden": 8, "classes": 4, "units": 8, "stoch": 4},
    "policy": {"hidden": (16,)},
}
METHODS = {
    "simple-policy-cem": (SIMPLE, {"batch_size": 32, "policy_batch_size": 64}),
    "dreamer-policy-cem": (LATENT, {"batch_size": 4, "sequence_length": 6, "policy_views": 2}),
}


class Stop(Exception):
    pass


def buffered(episodes) -> SequenceBuffer:
    return SequenceBuffer(POSES, ACTIONS, recorded=episodes)


class Fit:
    """An algorithm with a buffer and a trainer, whose fit writes checkpoints to a file."""

    def __init__(self, method: str, file: Path | None = None, **training) -> None:
        settings, own = METHODS[method]
        own = {
            "model_steps": 24,
            "policy_steps": 18,
            "log_every": 6,
            "checkpoint_every": 7,
            "holdout": 0.3,
            **own,
            **training,
        }
        config = resolve_config(method, {**settings, "training": own})
        build = resolve(agent_method(method).algorithm)
        self.algorithm: Algorithm = build(config.sections, POSES, ACTIONS, seed=0)
        self.buffer = buffered(demonstrations(5))
        self.trainer = Trainer(self.algorithm, config.training, seed=0)
        self.file = file
        self.logs: list[tuple] = []
        if file is not None and file.is_file():
            for weight in self.weights().values():
                weight.zero_()  # all of them have to come out of the file
            _, tensors, meta = self.trainer.restore(file, "this fit")
            self.buffer.restore(None, tensors, meta)

    def run(self, stop: tuple[str, int] | None = None) -> dict[str, float]:
        def report(phase, done, total, row):
            self.logs.append((phase, done, total, row))
            if (phase, done) == stop:
                raise Stop

        def save():
            extras = self.buffer.recorded_extras()
            self.trainer.save(self.file, "this fit", {}, extras, None)

        return self.trainer.fit(self.buffer, report, None if self.file is None else save)

    def weights(self) -> dict[str, torch.Tensor]:
        return {
            f"{name}.{key}": value
            for name, module in self.algorithm.modules.items()
            for key, value in module.state_dict().items()
        }


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("stop", [("world_model", 18), ("policy", 12)])
def test_an_interrupted_fit_resumes_exactly(tmp_path, method, stop):
    whole = Fit(method)
    expected = whole.run()
    assert [log[:3] for log in whole.logs] == [
        *(("world_model", done, 24) for done in (6, 12, 18, 24)),
        ("optimism", 1, 1),
        *(("policy", done, 18) for done in (6, 12, 18)),
    ]
    file = tmp_path / "checkpoint.safetensors"
    killed = Fit(method, file)
    with pytest.raises(Stop):
        killed.run(stop)
    resumed = Fit(method, file)
    metrics = resumed.run()
    for key, value in whole.weights().items():
        assert torch.equal(value, resumed.weights()[key]), key
    # Logs before the last checkpoint were written by the killed one.
    assert resumed.logs == whole.logs[-len(resumed.logs) :]
    assert len(resumed.logs) < len(whole.logs)
    assert metrics == expected
    again = Fit(method, file)
    assert again.run() == expected, "it was finished, and says what came of it"
    assert not again.logs
    other = Fit(method).trainer
    with pytest.raises(ValueError, match="belongs to another training"):
        other.restore(file, "another fit")
    other.phases = dict(reversed(other.phases.items()))
    with pytest.raises(ValueError, match="with the phases world_model, optimism, policy, not"):
        other.restore(file, "this fit")


class Scalar(nn.Module):
    """Learns to be 1; held-out data say 0.5 was best."""

    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.zeros(1))


class ScalarFit(FitPhase):
    """Notes the learning rate of every update."""

    def __init__(self, settings: FitSettings, *, factor: float = 1.0, keep: bool = True) -> None:
        self.scalar, self.factor = Scalar(), factor
        super().__init__(
            "scalar",
            Schedule(200),
            self.scalar,
            settings,
            seed=0,
            learning_rate=settings.learning_rate,
            keep_best=keep,
        )
        self.rates: list[float] = []

    def compute_loss(self, data, generator):
        self.rates.append(self.optimizers["all"].param_groups[0]["lr"])
        error = (self.scalar.value - 1).square().sum() * self.factor
        return error, {"loss": error.detach()}

    def held_out(self, data):
        return {"loss": (self.scalar.value - 0.5).abs().item()}


def turn(phase: FitPhase, updates: int = 200, every: int = 5, *, refit: bool = False):
    """One turn; returns the held-out metrics of its end."""
    buffer = buffered(demonstrations(2))
    phase.begin(buffer, updates, seed=0, refit=refit)
    for done in range(1, updates + 1):
        phase.update(buffer)
        if done % every == 0:
            phase.evaluate(buffer)
    return phase.end(buffer)


@pytest.mark.parametrize("keep", [True, False])
def test_the_best_weights_are_kept(keep):
    settings = FitSettings(learning_rate=0.02, weight_decay=0.0, holdout=0.5)
    phase = ScalarFit(settings, keep=keep)
    found = turn(phase)
    value = phase.scalar.value.item()
    assert value == pytest.approx(0.5 if keep else 1.0, abs=0.1)
    if keep:
        assert found["loss"] == pytest.approx(abs(value - 0.5))
    else:
        assert found == {}, "nothing was changed at the end"
    assert not phase.scalar.training


def test_a_later_turn_keeps_its_own_best_weights():
    settings = FitSettings(learning_rate=0.02, weight_decay=0.0, holdout=0.5)
    phase = ScalarFit(settings)
    turn(phase)
    with torch.no_grad():
        phase.scalar.value.fill_(0.9)  # no weights of this turn were as good as those of the last
    turn(phase, 20, refit=True)
    assert phase.scalar.value.item() > 0.8


def test_without_held_out_episodes_the_last_weights_stay():
    phase = ScalarFit(FitSettings(learning_rate=0.02, weight_decay=0.0, holdout=0.0))
    assert turn(phase) == {}
    assert phase.scalar.value.item() == pytest.approx(1.0, abs=0.05)


def test_the_learning_rate_rises_and_falls_in_every_turn():
    phase = ScalarFit(FitSettings(learning_rate=0.02, holdout=0.0))
    for refit in (False, True):
        phase.rates.clear()
        turn(phase, 200, refit=refit)
        warm, peak = phase.rates[1:20], max(phase.rates)
        assert phase.rates[0] == pytest.approx(0.02 / 20, rel=1e-2)
        assert warm == sorted(warm)
        assert peak == pytest.approx(0.02, rel=0.05)
        falling = phase.rates[20:]
        assert falling == sorted(falling, reverse=True)
        done = 110
        cosine = 0.05 + 0.95 * (1 + math.cos(math.pi * done / 200)) / 2
        assert phase.rates[done - 1] == pytest.approx(0.02 * cosine)
        assert phase.rates[-1] == pytest.approx(0.001)


def test_a_gradient_that_is_not_finite_stops_the_fit():
    phase = ScalarFit(FitSettings(holdout=0.0), factor=math.nan)
    with pytest.raises(FloatingPointError, match=r"scalar: .*not finite at update 0"):
        turn(phase)
    assert phase.scalar.value.item() == 0.0


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


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sequence_length": 1}, "sequence_length must be at least 2"),
        ({"optimizer": "sgd"}, "'adamw' or 'laprop'"),
        ({"model_steps": 0}, "model_steps must be at least 1"),
        ({"own_share": 1.5}, r"own_share must lie in \[0, 1\], got 1.5"),
        ({"refit_learning_rate": 0.0}, "refit_learning_rate must be positive"),
        ({"holdout": 1.0}, "holdout"),
        ({"learning_rate": -1.0}, "learning_rate must not be negative"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        FitSettings(**settings)
