"""The command line: what it prints, where, and with which exit code."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from mbrl_agents.cli.collect import run_digest
from mbrl_agents.cli.main import app
from mbrl_agents.data.dataset import count_episodes, read_infos
from mbrl_agents.data.locks import locked

TOY = "toy_reach:ToyReach-v0"
QUICK = ["training.model_steps=10", "training.policy_steps=10"]


def mbrl(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    result = mbrl("collect", folder, "--env", TOY, "--task", "1", "--episodes", 4, "--workers", 1)
    assert result.exit_code == 0, result.output
    return folder


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "first"
    result = mbrl("train", "simple-policy-cem", "--data", data, "--out", folder, *QUICK)
    assert result.exit_code == 0, result.output
    return folder


def cpu_seconds() -> float:
    """CPU time of the processes this one has started and waited for."""
    used = os.times()
    return used.children_user + used.children_system


def test_help_needs_no_torch() -> None:
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom mbrl_agents.cli.main import app\n"
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0\n"
        "heavy = {'torch', 'stable_baselines3', 'mujoco', 'pyarrow'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    began = cpu_seconds()
    subprocess.run([sys.executable, "-c", code], check=True)
    # Half a second.  Not by the clock, which counts what runs beside the tests as well.
    assert cpu_seconds() - began < 3.0


@pytest.mark.parametrize(
    "verb", ["collect", "train", "eval", "bench", "inspect", "methods", "assets"]
)
def test_every_verb_explains_itself(verb: str) -> None:
    result = mbrl(verb, "--help")
    assert result.exit_code == 0
    assert len(result.stdout) > 150


def test_methods_are_listed() -> None:
    names = [m["name"] for m in json.loads(mbrl("methods", "--json").stdout)]
    assert {"simple-policy-cem", "sb3-sac", "random", "expert"} <= set(names)
    assert "| simple-cem" in mbrl("methods").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "simple-polcy"], "did you mean 'simple-policy'"),
        (["train", "simple-policy"], "--data"),
        (["train", "simple-policy", "--env", TOY], "mbrl collect"),
        (["train", "random", "--env", TOY], "nothing to train"),
        (["train", "sb3-ppo", "--env", TOY], "--steps"),
        (["train", "sb3-ppo", "--env", TOY, "--steps", "9", "baseline.gama=1"], "baseline.gamma"),
        (["train", "sb3-ppo", "--env", TOY, "--steps", "9", "gamma"], "KEY=VALUE"),
        (["train", "simple-policy", "--data", "nowhere"], "nowhere"),
        (["collect", "x", "--env", "mbrl/LiberoSpatil-v0"], "did you mean 'mbrl/LiberoSpatial-v0'"),
        (["collect", "x", "--task", "77"], "its tasks are"),
        (["collect", "x", "--source", "exprt"], "noisy_expert"),
        (["collect", "x", "--source", "agent"], "--agent"),
        (["collect", "x", "noise.claen=1"], "noise settings are"),
        (["collect", "x", "planner.horizon=1"], "env. or noise."),
        (["collect", "x", "env.init=benchmark"], "test set"),
        (["eval", "nowhere"], "does not exist"),
        (["eval", "simple-cem"], "is a method"),
        (["eval", "random", "--env", TOY, "--init", "offical"], "benchmark or random"),
        (["bench", "quikc"], "no suite"),
        (["bench", "quick", "data.episode=3"], "did you mean 'episodes'"),
        (["bench", "quick", "--methods", "simpel-cem"], "did you mean 'simple-cem'"),
        (["bench", "speed", "data.episodes=3"], "mbrl bench budget KEY=VALUE"),
        (["bench", "speed", "--methods", "cem_mlpp"], "valid: pose_step_primitive, "),
        (["bench", "speed", "--methods", ","], "no row is named"),
        (["bench", "speed", "--methods", "act", "--fresh"], "about success_ms"),
        (["bench", "speed", "--methods", "act", "--workers", "1"], "about success_ms"),
        (["inspect", "simple-cem", "planner.horzon=3"], "planner.horizon"),
        (["inspect", "simple-cem", "training.log_every=0"], "log_every must be at least 1, got 0"),
        *(
            (
                ["train", "simple-cem", "--env", TOY, "--data", "x", f"training.{name}={value}"],
                f"training: {name} must be at least 1, got {value}",
            )
            for name, value in {
                "batch_size": 0,
                "policy_batch_size": 0,
                "model_steps": -5,
                "policy_steps": 0,
                "log_every": 0,
                "checkpoint_every": 0,
            }.items()
        ),
    ],
)
def test_wrong_commands_exit_2_and_say_what_is_right(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = mbrl(*arguments)
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert result.stdout == ""
    assert not list(tmp_path.iterdir())  # nothing was begun


def test_a_run_that_fails_exits_1(tmp_path: Path) -> None:
    result = mbrl("collect", tmp_path, "--env", TOY, "env.has_expert=false", "--workers", 1)
    assert result.exit_code == 1
    assert "no scripted demonstrator" in result.stderr
    assert "Traceback" not in result.stderr


def test_collect_reports_and_resumes(data: Path) -> None:
    command = ["collect", data, "--env", TOY, "--task", "1", "--workers", 1, "--json"]
    result = mbrl(*command, "--episodes", 4)
    assert json.loads(result.stdout)["added"] == 0
    assert count_episodes(data) == 4
    assert {info["task"] for info in read_infos(data)} == {1}
    assert result.stderr == "collecting 4/4\n"  # no bar off a terminal


def test_train_is_not_repeated_and_other_settings_are_refused(run: Path, data: Path) -> None:
    weights = (run / "world_model.safetensors").stat().st_mtime_ns
    command = ["train", "simple-policy-cem", "--data", data, "--out", run]
    result = mbrl(*command, *QUICK, "--json")
    assert result.exit_code == 0
    report = json.loads(result.stdout)
    assert set(report["parameters"]) == {"world_model", "policy"}
    assert (run / "world_model.safetensors").stat().st_mtime_ns == weights
    result = mbrl(*command, *QUICK, "--seed", 5)
    assert result.exit_code == 1
    assert "another run (seed: 0, not 5)" in result.stderr
    assert mbrl(*command, *QUICK, "--seed", 0, "--fresh").exit_code == 0
    assert (run / "world_model.safetensors").stat().st_mtime_ns != weights
    for name in ("config.yaml", "overrides.yaml", "policy.safetensors", "training_logs.csv",
                 "versions.json", "run.json"):  # fmt: skip
        assert (run / name).is_file()
    assert list(run.glob("events.out.tfevents.*"))


def test_eval_of_a_run_another_method_and_the_expert(run: Path, tmp_path: Path) -> None:
    result = mbrl("eval", run, "planner.horizon=2", "--episodes", 3, "--json", "--out", tmp_path)
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert (summary["method"], summary["episodes"]) == ("simple-policy-cem", 3)
    assert list(summary["per_task"]) == ["1"]  # the run's own task
    assert len((tmp_path / "episodes.jsonl").read_text().splitlines()) == 3
    assert json.loads((tmp_path / "evaluation.json").read_text()) == summary

    result = mbrl("eval", run, "--method", "simple-policy", "--episodes", 2)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("simple-policy on ")

    result = mbrl("eval", "expert", "--env", TOY, "--task", "0-1", "--episodes", 2)
    assert "4/4 = 100 %" in result.stdout
    assert "| 1 " in result.stdout


def test_an_environment_of_other_spaces_is_answered_with_both(
    run: Path, data: Path, tmp_path: Path
) -> None:
    result = mbrl("eval", run, "--env", "Pendulum-v1", "--episodes", 1)
    assert result.exit_code == 1
    assert f"the run in {run} was trained on the observations {{'pose': (14,)}}" in result.stderr
    assert "this environment shows {'obs': (3,)}" in result.stderr
    result = mbrl("train", "simple-cem", "--data", data, "--env", "Pendulum-v1", "--out", tmp_path)
    assert result.exit_code == 1
    assert "record episodes in this environment" in result.stderr


def test_baselines_are_trained_and_read_back(tmp_path: Path) -> None:
    command = ["train", "sb3-ppo", "--env", TOY, "--out", tmp_path / "ppo", "--steps", 32]
    result = mbrl(*command, "baseline.n_steps=16", "baseline.batch_size=16")
    assert result.exit_code == 0, result.output
    result = mbrl("eval", tmp_path / "ppo", "--episodes", 1, "--json")
    assert json.loads(result.stdout)["method"] == "sb3-ppo"
    result = mbrl("eval", tmp_path / "ppo", "--episodes", 1, "--method", "simple-cem")
    assert result.exit_code == 1
    assert "cannot use its weights" in result.stderr


def test_agents_collect_with_labels(run: Path, tmp_path: Path) -> None:
    result = mbrl("collect", tmp_path, "--env", TOY, "--agent", run, "--label", "--episodes", 2,
                  "--workers", 1, "--task", 1)  # fmt: skip
    assert result.exit_code == 0, result.output
    assert {info["source"] for info in read_infos(tmp_path)} == {"agent"}
    # A copy is the same agent; one with other weights or settings is another.
    other = tmp_path / "other"
    shutil.copytree(run, other)
    assert run_digest(other) == run_digest(run)
    with (other / "config.yaml").open("a") as stream:
        stream.write("# changed\n")
    assert run_digest(other) != run_digest(run)
    (signature,) = {info["collection"] for info in read_infos(tmp_path)}
    assert json.loads(signature)["agent"] == run_digest(run)
    result = mbrl("collect", tmp_path, "--env", TOY, "--agent", tmp_path / "none", "--episodes", 1)
    assert result.exit_code == 1
    assert "does not exist" in result.stderr


def test_inspect_tells_what_would_be_built() -> None:
    result = mbrl("inspect", "simple-policy-cem", "planner.horizon=7", "--env", TOY, "--json")
    report = json.loads(result.stdout)
    assert report["config"]["planner"]["horizon"] == 7
    assert report["components"]["planner"] == "policy-guided-cem"
    parameters = report["parameters"]
    assert parameters["total"] == parameters["world_model"] + parameters["policy"]
    assert report["observation_space"]["pose"]["shape"] == [14]
    assert mbrl("inspect", "random", "--env", TOY).exit_code == 0


def test_bench_prints_the_table_and_fails_with_its_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    support = str(Path(__file__).parent.parent / "support")
    monkeypatch.setenv("PYTHONPATH", support + os.pathsep + os.environ.get("PYTHONPATH", ""))
    suite = tmp_path / "own.yaml"
    suite.write_text(f"env: {TOY}\nmethods: [random, simple-policy]\n")
    out = tmp_path / "out"
    command = ["bench", suite, "--out", out, "evaluation.episodes=2", "env_kwargs.has_expert=false"]
    result = mbrl(*command)
    assert result.exit_code == 1
    assert "| random" in result.stdout
    assert "failed: simple-policy" in result.stderr
    result = mbrl(*command, "--methods", "random", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["methods"][0]["episodes"] == 2


def test_measured_speeds_outlive_an_interruption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mbrl_agents.benchmarks.speed import runner
    from mbrl_agents.benchmarks.speed.rows import SpeedRow

    def measure(name: str) -> SpeedRow:
        if name == "c" and interrupted:
            raise KeyboardInterrupt
        return SpeedRow(name, 1.0, 2.0, "ms", 2.0, 1, "fake")

    monkeypatch.setattr(runner, "measures", lambda *_, **__: dict.fromkeys("abc", measure))
    interrupted = True
    assert mbrl("bench", "speed", "--out", tmp_path).exit_code not in (0, 2)
    (file,) = tmp_path.iterdir()
    assert [row["id"] for row in json.loads(file.read_text())["rows"]] == ["a", "b"]
    interrupted = False
    result = mbrl("bench", "speed", "--out", tmp_path, "--methods", "c,a")
    assert result.exit_code == 0, result.output
    assert [line[:4] for line in result.stdout.splitlines()[2:]] == ["| a ", "| c "]
    result = mbrl("bench", "speed", "--out", tmp_path, "--methods", "a", "--json")
    assert [row["id"] for row in json.loads(result.stdout)["rows"]] == ["a", "b", "c"]
    with locked(tmp_path):
        result = mbrl("bench", "speed", "--out", tmp_path, "--methods", "a")
    assert result.exit_code == 1
    assert "is in use by process" in result.stderr


def test_asset_commands() -> None:
    folder = mbrl("assets", "primitive").stdout.strip()
    assert Path(folder).is_dir()
    assert mbrl("assets", "which").stdout.split()[0] in ("primitive", "official")
