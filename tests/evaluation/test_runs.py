"""Runs behind the command line: what they refuse, resume, count and write."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import pytest

from mbrl_agents.data.collect import Collection, collect_to_folder, run_episode, succeeded
from mbrl_agents.data.parallel import make_env
from mbrl_agents.evaluation import rollouts
from mbrl_agents.evaluation.runs import (
    BoundPredictor,
    RunInfo,
    RunSpec,
    env_of_data,
    load_run,
    train_run,
)

TOY = "toy_reach:ToyReach-v0"
QUICK = ("training.model_steps=10", "training.policy_steps=10")
PPO = ("baseline.n_steps=16", "baseline.batch_size=16")


def record(folder, tasks, episodes=3, **kwargs):
    collect_to_folder(folder, Collection(TOY, kwargs, episodes=episodes, tasks=tasks))
    return str(folder)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    data = record(folder / "data", [1])
    overrides = (*QUICK, "world_model.hidden=[24,24]", "planner.horizon=4")
    spec = RunSpec("simple-policy-cem", TOY, {"task": 1}, overrides, data=data)
    train_run(spec, folder / "run")
    return folder / "run"


def test_what_was_trained_stays_and_the_search_may_change(trained):
    own = load_run(trained)
    assert load_run(trained, "simple-policy-cem", ["planner.horizon=4"]).config == own.config
    changed = load_run(trained, "simple-policy-cem", ["planner.samples=40"])
    assert (changed.config.planner.samples, changed.config.planner.horizon) == (40, 4)
    other = load_run(trained, "simple-cem")
    assert other.config.world_model == own.config.world_model
    assert other.config.training == own.config.training
    # Said again as trained is fine: suites do; anything else is not.
    load_run(trained, "simple-policy-cem", [*QUICK, "world_model.hidden=[24,24]"])
    with pytest.raises(ValueError, match="was settled when the run"):
        load_run(trained, "simple-policy-cem", ["world_model.hidden=[32,32]"])
    for method in ("dreamer", "dreamer-cem", "sb3-sac"):
        with pytest.raises(ValueError, match="cannot use its weights"):
            load_run(trained, method)


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


def collect_steps(folder):
    from mbrl_agents.data.dataset import read_episodes

    return sum(map(len, read_episodes(folder)))


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


def test_a_run_is_on_one_task(tmp_path):
    data = record(tmp_path / "data", [0, 1])
    with pytest.raises(ValueError, match="several tasks"):
        env_of_data(data)
    assert env_of_data(data, 1)[1]["task"] == 1
    with pytest.raises(ValueError, match="several tasks"):
        train_run(RunSpec("simple-cem", TOY, overrides=QUICK, data=data), tmp_path / "run")
    spec = RunSpec("simple-cem", TOY, {"task": 1}, overrides=QUICK, data=data)
    info = train_run(spec, tmp_path / "run")
    assert info.spec.data_episodes == 3
    assert info.env_steps < collect_steps(data)
    with pytest.raises(ValueError, match="no episodes of task 7"):
        train_run(replace(spec, env_kwargs={"task": 7}), tmp_path / "other")


def test_time_of_an_interrupted_attempt_counts(tmp_path):
    data = record(tmp_path / "data", [0])
    overrides = ("training.model_steps=40", "training.checkpoint_every=10",
                 "training.evaluate_every=10")  # fmt: skip
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


def test_an_end_alone_is_no_success():
    assert not succeeded({})
    assert succeeded({"is_success": True})
    env = make_env("CartPole-v1", {})

    class Left:
        def predict(self, observation, state=None, episode_start=None, deterministic=False):
            return 0, None

    # Fell, and so terminated; the environment says nothing of success.
    assert rollouts.run_episode(env, Left(), seed=0).success is None

    class Ends(make_env(TOY, {}).unwrapped.__class__):
        def step(self, action):
            obs, reward, *_ = super().step(action)
            return obs, reward, True, False, {}

    import numpy as np

    assert not run_episode(Ends(), source="random", seed=np.random.SeedSequence(0)).success


def test_official_states_by_default_where_there_are_some():
    assert rollouts.default_init(TOY) == "benchmark"
    assert rollouts.default_init("mbrl/LiberoSpatial-v0") == "benchmark"
    assert rollouts.default_init("Pendulum-v1") == "random"
    records = rollouts.evaluate(BoundPredictor("random"), "Pendulum-v1", episodes=1)
    assert records[0].init_state is None
