"""Training into a run folder: what is refused, resumed, counted and written."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import pytest

from mbrl_agents.data.collect import Collection, collect_to_folder
from mbrl_agents.data.dataset import read_episodes
from mbrl_agents.runs.loading import load_run
from mbrl_agents.runs.spec import RunInfo, RunSpec
from mbrl_agents.runs.training import train_run

TOY = "toy_reach:ToyReach-v0"
QUICK = ("training.model_steps=10", "training.policy_steps=10")
PPO = ("baseline.n_steps=16", "baseline.batch_size=16")


def record(folder, tasks, episodes=3, **kwargs):
    collect_to_folder(folder, Collection(TOY, kwargs, episodes=episodes, tasks=tasks))
    return str(folder)


def collect_steps(folder):
    return sum(map(len, read_episodes(folder)))


def test_official_initial_states_are_not_trained_on(tmp_path):
    spec = RunSpec("sb3-ppo", TOY, {"init": "benchmark"}, PPO, steps=16)
    with pytest.raises(ValueError, match="test set"):
        train_run(spec, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_steps_are_those_really_taken_and_settings_are_written(tmp_path):
    info = train_run(RunSpec("sb3-ppo", TOY, overrides=PPO, steps=20), tmp_path / "ppo")
    assert info.env_steps == 32
    assert json.loads((tmp_path / "ppo" / "versions.json").read_text())["torch"]
    assert "n_steps: 16" in (tmp_path / "ppo" / "config.yaml").read_text()
    assert '- "baseline.n_steps=16"' in (tmp_path / "ppo" / "overrides.yaml").read_text()

    data = record(tmp_path / "data", [0])
    spec = RunSpec("sb3-sac-demos", TOY, overrides=("baseline.net_arch=[8]",), data=data, steps=9)
    info = train_run(spec, tmp_path / "sac")
    episodes = collect_steps(data)
    assert info.env_steps == 9 + episodes
    assert info.algorithm == "SAC"
    load_run(tmp_path / "sac")


def test_a_grown_folder_is_not_the_same_run(tmp_path):
    data = record(tmp_path / "data", [0])
    spec = RunSpec("simple-cem", TOY, overrides=QUICK, data=data)
    info = train_run(spec, tmp_path / "run")
    assert info.spec.data_episodes == 3
    assert train_run(spec, tmp_path / "run") == RunInfo.read(tmp_path / "run")
    record(tmp_path / "data", [0], episodes=5)
    with pytest.raises(ValueError, match="data_episodes: 3, not 5"):
        train_run(spec, tmp_path / "run")
    limited = replace(spec, limit=2)
    train_run(limited, tmp_path / "limited")
    record(tmp_path / "data", [0], episodes=6)
    train_run(limited, tmp_path / "limited")


def test_time_of_an_interrupted_attempt_counts(tmp_path):
    data = record(tmp_path / "data", [0])
    overrides = ("training.model_steps=40", "training.checkpoint_every=10",
                 "training.log_every=10")  # fmt: skip
    spec = RunSpec("simple-cem", TOY, overrides=overrides, data=data)

    def stop(phase, done, total, metrics):
        if done == 30:
            time.sleep(1.5)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_run(spec, tmp_path / "run", progress=stop)
    began = time.perf_counter()
    info = train_run(spec, tmp_path / "run")
    assert info.train_seconds >= 1.5
    assert info.train_seconds <= time.perf_counter() - began + 30
    # Nothing of an attempt from scratch.
    assert train_run(spec, tmp_path / "run", fresh=True).train_seconds < info.train_seconds


def test_episodes_of_another_environment_are_refused(tmp_path):
    data = record(tmp_path / "data", [0], episodes=2)
    for method, steps in (("simple-cem", 0), ("sb3-sac-demos", 5)):
        spec = RunSpec(method, "Pendulum-v1", data=data, steps=steps)
        with pytest.raises(ValueError, match=r"holds the observations .*pose.*shows .*\(3,\)"):
            train_run(spec, tmp_path / method)
