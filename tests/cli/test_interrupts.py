"""Ctrl-C, progress without a terminal, and devices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner, Result

import mbrl_agents
from mbrl_agents.cli.main import app
from mbrl_agents.data.collect import Collection, collect
from mbrl_agents.training import trainer
from mbrl_agents.training.checkpoints import load_tensors

TOY = "toy_reach:ToyReach-v0"
SIMPLE = [
    "world_model.hidden=[8]",
    "world_model.head_hidden=[8]",
    "world_model.outcome_hidden=[8]",
    "planner.horizon=2",
    "planner.samples=4",
    "planner.elites=2",
    "planner.iterations=1",
    "planner.replan=1",
    "training.model_steps=12",
    "training.batch_size=8",
]
PPO = ["--env", TOY, "--steps", 16, "baseline.n_steps=8", "baseline.net_arch=[8]"]


def mbrl(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def interrupting(monkeypatch: pytest.MonkeyPatch, where: Any, name: str, after: int) -> None:
    """Let a function be interrupted when it has been called so often."""
    work, calls = getattr(where, name), []

    def interrupted(*arguments: Any, **named: Any) -> Any:
        calls.append(None)
        if len(calls) > after:
            raise KeyboardInterrupt
        return work(*arguments, **named)

    monkeypatch.setattr(where, name, interrupted)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    command = ("collect", tmp_path / "data", "--env", TOY, "--episodes", 4, "--workers", 1)
    assert mbrl(*command).exit_code == 0
    return tmp_path / "data"


def test_a_collection_keeps_its_episodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mbrl_agents.data import collect as module

    command = ("collect", tmp_path, "--env", TOY, "--episodes", 5, "--workers", 1)
    with monkeypatch.context() as patch:
        interrupting(patch, module, "run_episode_with_views", 2)
        result = mbrl(*command)
    assert result.exit_code == 130
    assert f"interrupted: 2 episodes are kept in {tmp_path}" in result.stderr
    assert "3 added" in mbrl(*command).stdout


def test_an_evaluation_says_how_far_it_came(monkeypatch: pytest.MonkeyPatch) -> None:
    from mbrl_agents.evaluation import rollouts

    interrupting(monkeypatch, rollouts, "run_episode", 2)
    result = mbrl("eval", "expert", "--env", TOY, "--episodes", 5)
    assert result.exit_code == 130
    assert "interrupted: 2 of 5 episodes were evaluated, 2 of them successful" in result.stderr


def test_a_benchmark_keeps_finished_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mbrl_agents.benchmarks import runner

    interrupting(monkeypatch, runner._Scheduler, "run", 0)
    file = tmp_path / "suite.yaml"
    file.write_text(f"env: {TOY}\nmethods: [random]\n")
    result = mbrl("bench", file, "--out", tmp_path / "out")
    assert result.exit_code == 130
    assert f"finished jobs are kept in {tmp_path / 'out'}" in result.stderr


def test_a_fit_keeps_a_checkpoint_of_the_last_minute(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def command(out: str) -> tuple[object, ...]:
        return ("train", "simple-cem", "--data", data, "--out", tmp_path / out, *SIMPLE)

    assert mbrl(*command("undisturbed")).exit_code == 0
    with monkeypatch.context() as patch:
        interrupting(patch, trainer.Trainer, "_update", 7)
        result = mbrl(*command("early"))
        assert result.exit_code == 130
        assert f"{tmp_path / 'early'} holds no checkpoint" in result.stderr
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "SAVE_SECONDS", 0.0)
        interrupting(patch, trainer.Trainer, "_update", 7)
        result = mbrl(*command("late"))
        assert result.exit_code == 130
        assert "keeps a checkpoint (7 updates of phase 1 of" in result.stderr
    assert mbrl(*command("late")).exit_code == 0
    name = "world_model.safetensors"
    expected, found = (load_tensors(tmp_path / run / name)[0] for run in ("undisturbed", "late"))
    assert all(torch.equal(expected[key], found[key]) for key in expected)


def test_a_pipe_is_told_the_progress(data: Path, tmp_path: Path) -> None:
    again = mbrl("collect", data, "--env", TOY, "--episodes", 6, "--workers", 1)
    assert "collecting 4/6\n" in again.stderr
    assert "collecting 6/6 success 2/2\n" in again.stderr
    assert "evaluating 2/2" in mbrl("eval", "random", "--env", TOY, "--episodes", 2).stderr
    command = ("train", "sb3-ppo", "--out", tmp_path / "ppo", *PPO)
    assert "environment steps 16/16" in mbrl(*command).stderr


def test_a_fit_in_python_tells_its_progress(capsys: pytest.CaptureFixture[str]) -> None:
    import gymnasium

    episodes = collect(Collection(TOY, source="expert", episodes=3))
    tiny = {"training": {"model_steps": 4, "log_every": 2, "batch_size": 4}}
    for verbose in (0, 1):
        env = gymnasium.make(TOY)
        agent = mbrl_agents.make_agent("simple-cem", env, verbose=verbose, **tiny)
        agent.fit(episodes)
        assert ("train/" in capsys.readouterr().out) == bool(verbose)


def test_the_device_is_the_users_choice(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import gymnasium
    from stable_baselines3.common import base_class

    asked: list[str] = []

    def get_device(device: Any) -> torch.device:
        asked.append(str(device))
        return torch.device("cpu")

    monkeypatch.setattr(base_class, "get_device", get_device)
    for method in ("simple-cem", "sb3-sac"):
        mbrl_agents.make_agent(method, gymnasium.make("Pendulum-v1"))
    run = tmp_path / "run"
    assert asked == ["auto"] * 2
    command = ("train", "simple-cem", "--data", data, "--out", run, *SIMPLE)
    assert mbrl(*command, "--device", "cpu").exit_code == 0
    mbrl_agents.load(run)
    assert asked[2:] == ["cpu", "auto"]
    others = [
        ("eval", run, "--episodes", 1),
        ("collect", tmp_path / "own", "--agent", run, "--env", TOY, "--episodes", 1,
         "--workers", 1),
        ("imagine", run, "--episodes", 1, "--horizon", 3),
    ]  # fmt: skip
    for other in others:
        result = mbrl(*other, "--device", "cpu")
        assert result.exit_code == 0, result.output
    assert asked[4:] == ["cpu"] * 3
    if not torch.cuda.is_available():
        result = mbrl("eval", run, "--device", "cuda")
        assert result.exit_code == 2
        assert "torch finds no GPU here; auto takes one" in result.stderr
