"""A run that goes on from the weights of another one with its own experience."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner, Result

from mbrl_agents.agents.agent import Agent
from mbrl_agents.agents.saving import read_saved
from mbrl_agents.cli.main import app
from mbrl_agents.data.collect import Collection, collect_to_folder
from mbrl_agents.runs.spec import RunInfo, RunSpec
from mbrl_agents.runs.training import train_run

TOY = "toy_reach:ToyReach-v0"
SMALL = ("world_model.hidden=[16]", "policy.hidden=[16]")
QUICK = (*SMALL, "training.model_steps=20", "training.policy_steps=20")
REFITS = (
    "training.round_steps=30",
    "training.refit_steps=3",
    "training.checkpoint_every=20",
    "planner.samples=8",
    "planner.elites=2",
    "planner.iterations=1",
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    collect_to_folder(folder, Collection(TOY, source="noisy_expert", episodes=6), workers=1)
    return folder


@pytest.fixture(scope="module")
def start(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("start")
    train_run(RunSpec("simple-policy-cem", TOY, overrides=QUICK, data=str(data)), folder)
    return folder


def spec_of(start: Path, data: Path | None = None, **changes: object) -> RunSpec:
    spec = RunSpec(
        "simple-cem",
        TOY,
        overrides=(SMALL[0], *REFITS),
        steps=20,
        start=str(start),
        data=None if data is None else str(data),
    )
    return replace(spec, **changes)  # type: ignore[arg-type]


def test_without_a_refit_the_weights_are_those_of_the_start(start, tmp_path):
    info = train_run(spec_of(start), tmp_path)
    there, here = read_saved(start), read_saved(tmp_path)
    assert here.weights.keys() < there.weights.keys()  # no policy
    for name, value in here.weights["world_model"].items():
        assert torch.equal(value, there.weights["world_model"][name]), name
    found = RunInfo.read(start)
    assert info.env_steps == found.env_steps + 20
    assert info.train_seconds > found.train_seconds


def test_refits_go_on_from_these_weights_and_the_recorded_episodes(start, data, tmp_path):
    info = train_run(spec_of(start, data, steps=40), tmp_path)
    there, here = (read_saved(run).weights["world_model"] for run in (start, tmp_path))
    changed = [name for name in here if not torch.equal(here[name], there[name])]
    assert changed
    # Three gradient steps: a model of fresh weights would be elsewhere altogether.
    for name in changed:
        assert (here[name] - there[name]).abs().max() < 0.05, name
    # Its episodes are those of the start, which are counted once, here and in what follows it.
    assert info.env_steps == RunInfo.read(start).env_steps + 40
    third = train_run(spec_of(tmp_path, data), tmp_path / "third")
    assert third.env_steps == info.env_steps + 20


def test_an_interrupted_one_ends_like_one_that_was_not(start, data, tmp_path, monkeypatch):
    spec = spec_of(start, data, steps=80)
    train_run(spec, tmp_path / "whole")
    step = Agent._save_online

    def dies(self: Agent, *arguments: object) -> None:
        step(self, *arguments)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Agent, "_save_online", dies)
        with pytest.raises(KeyboardInterrupt):
            train_run(spec, tmp_path / "cut")
    train_run(spec, tmp_path / "cut")
    whole, cut = (read_saved(tmp_path / name).weights for name in ("whole", "cut"))
    for module, tensors in whole.items():
        for name, value in tensors.items():
            assert torch.equal(value, cut[module][name]), name


def test_what_does_not_fit_is_refused_and_nothing_is_written(start, data, tmp_path):
    run = tmp_path / "run"
    with pytest.raises(ValueError, match="own steps: give some"):
        train_run(spec_of(start, data, steps=0), run)
    with pytest.raises(FileNotFoundError, match="is not a finished run"):
        train_run(spec_of(tmp_path), run)
    with pytest.raises(ValueError, match="run of simple-policy-cem: dreamer needs other weights"):
        train_run(spec_of(start, method="dreamer", overrides=()), run)
    with pytest.raises(ValueError, match="sb3-sac does not start from"):
        train_run(spec_of(start, method="sb3-sac", overrides=()), run)
    assert not run.exists()
    with pytest.raises(ValueError, match="does not fit"):
        train_run(spec_of(start, overrides=("world_model.hidden=[8]",)), run)
    with pytest.raises(ValueError, match="saw the observations"):
        train_run(
            spec_of(start, env_id="Pendulum-v1", overrides=("world_model.hidden=[16]",)),
            tmp_path / "other",
        )


def mbrl(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_the_command_takes_over_the_settings_of_the_start(start, data, tmp_path):
    run = tmp_path / "run"
    command = ["train", "simple-cem", "--from", start, "--data", data, "--out", run]
    refused = mbrl(*command)
    assert refused.exit_code == 2
    assert "--from goes on with the run's own experience: give --steps" in refused.stderr
    result = mbrl(*command, "--steps", 20, "--json", *REFITS)
    assert result.exit_code == 0, result.output
    found = RunInfo.read(run)
    assert "world_model.hidden=[16]" in found.spec.overrides
    assert found.env_steps == json.loads(result.stdout)["env_steps"]
    assert mbrl("eval", run, "--episodes", 1).exit_code == 0
    wrong = mbrl("train", "dreamer", "--from", start, "--env", TOY, "--steps", 20)
    assert wrong.exit_code == 2
    assert "dreamer needs other weights" in wrong.stderr
    none = mbrl("train", "simple-cem", "--from", tmp_path / "no", "--env", TOY, "--steps", 20)
    assert none.exit_code == 2
    assert "does not exist" in none.stderr
