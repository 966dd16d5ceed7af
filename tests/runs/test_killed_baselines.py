"""Baselines of Stable-Baselines3 go on from their checkpoints as if nothing had happened."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from killable import train

from mbrl_agents.agents.saving import CHECKPOINT
from mbrl_agents.evaluation.learning_curve import read_curve
from mbrl_agents.runs.spec import BASELINE_FILE, RunSpec
from mbrl_agents.runs.training import interrupted_at, train_run
from mbrl_agents.training.checkpoints import load_tensors

SMALL = ["baseline.net_arch=[8]", "baseline.checkpoint_every=60", "baseline.batch_size=8"]
KINDS = {
    "sb3-sac": ["Pendulum-v1", "baseline.learning_starts=20", "baseline.buffer_size=100"],
    "sb3-dqn": ["CartPole-v1", "baseline.learning_starts=20", "baseline.target_update_interval=30"],
    "sb3-ppo": ["CartPole-v1", "baseline.n_steps=32", "baseline.n_epochs=2"],
}


def command(kind: str, out: Path) -> list:
    env, *settings = KINDS[kind]
    return [kind, "--env", env, "--steps", 320, "--eval-every", 80, "--eval-episodes", 2,
            "--out", out, *SMALL, *settings]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_killed_while_it_writes_checkpoints(kind, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert train(command(kind, whole)) == 0
    assert train(command(kind, killed), kill_at_file=CHECKPOINT, nth=2) == -9
    assert interrupted_at(killed) is not None
    assert train(command(kind, killed), kill_at_file=CHECKPOINT, nth=2, half=True) == -9
    assert train(command(kind, killed)) == 0
    left, right = (load_tensors(run / BASELINE_FILE) for run in (whole, killed))
    assert left[1] == right[1]
    assert left[0].keys() == right[0].keys()
    assert all(torch.equal(left[0][key], right[0][key]) for key in left[0])
    curves = [read_curve(run / "learning_curve.csv") for run in (whole, killed)]
    assert [p[:3] for p in curves[0]] == [p[:3] for p in curves[1]]
    assert (whole / "checks.csv").read_text() == (killed / "checks.csv").read_text()
    infos = [json.loads((run / "run.json").read_text()) for run in (whole, killed)]
    assert infos[0]["updates"]["train"][0] == infos[1]["updates"]["train"][0] > 0
    assert not (killed / CHECKPOINT).exists()
    assert not [p for p in killed.rglob(".*") if p.is_file() and "safetensors" in p.name]


def test_a_checkpoint_of_another_training_is_refused(tmp_path, monkeypatch):
    def spec(seed: int) -> RunSpec:
        settings = (*SMALL, *KINDS["sb3-ppo"][1:])
        return RunSpec("sb3-ppo", "CartPole-v1", overrides=settings, steps=160, seed=seed)

    def interrupted(phase: str, done: int, total: int, metrics) -> None:
        if (tmp_path / CHECKPOINT).is_file():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_run(spec(0), tmp_path, progress=interrupted)
    with pytest.raises(ValueError, match="belongs to another training"):
        train_run(spec(1), tmp_path)
    assert train_run(spec(0), tmp_path).env_steps == 160


def test_an_interval_of_nothing_is_refused():
    from mbrl_agents.agents.sb3 import PPOSettings

    with pytest.raises(ValueError, match="checkpoint_every must be at least 1"):
        PPOSettings(checkpoint_every=0)
