"""Runs of every kind from the command line, off LIBERO too."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from mbrl_agents.cli.main import app
from mbrl_agents.registry import METHODS

TOY = "toy_reach:ToyReach-v0"
TINY = [
    "world_model.deter=32",
    "world_model.hidden=16",
    "world_model.units=16",
    "world_model.stoch=4",
    "training.batch_size=4",
    "training.sequence_length=8",
    "training.learning_starts=40",
    "training.train_ratio=2",
    "actor_critic.imagination=3",
]


def mbrl(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.mark.parametrize("env", [TOY, "Pendulum-v1"])
def test_a_dreamer_run_is_evaluated(env: str, tmp_path: Path) -> None:
    result = mbrl("train", "dreamer", "--env", env, "--steps", 60, "--out", tmp_path, *TINY)
    assert result.exit_code == 0, result.output
    result = mbrl("eval", tmp_path, "--episodes", 1, "--json")
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert summary["method"] == "dreamer"
    assert summary["init"] == ("benchmark" if env == TOY else "random")
    assert mbrl("eval", tmp_path, "--episodes", 1, "--method", "dreamer").exit_code == 0
    result = mbrl("eval", tmp_path, "--episodes", 1, "--method", "dreamer-cem")
    assert result.exit_code == 1
    assert "cannot use its weights" in result.stderr
    result = mbrl("eval", tmp_path, "world_model.deter=16")
    assert result.exit_code == 2
    assert "only planner. and objective. settings can change" in result.stderr


def test_an_actor_learned_in_imagination_is_evaluated(tmp_path: Path) -> None:
    data, run = tmp_path / "data", tmp_path / "run"
    command = ["collect", data, "--env", TOY, "--episodes", 4, "--workers", 1]
    assert mbrl(*command).exit_code == 0
    settings = [
        *TINY[:6],
        "imagination.imagination=3",
        "actor.units=16",
        "training.policy_batch_size=32",
    ]
    steps = ["training.model_steps=4", "training.policy_steps=4"]
    command = ["train", "dreamer-actor-cem", "--data", data, "--out", run, *settings, *steps]
    result = mbrl(*command)
    assert result.exit_code == 0, result.output
    assert "imagination: 3" in (run / "config.yaml").read_text()
    # Its world model serves a search without a prior; a cloned policy is another one.
    quick = ["planner.horizon=4", "planner.samples=12", "planner.elites=3"]
    for method in ("dreamer-actor-cem", "dreamer-cem"):
        result = mbrl("eval", run, "--episodes", 1, "--method", method, "--json", *quick)
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)["method"] == method
    result = mbrl("eval", run, "--episodes", 1, "--method", "dreamer-policy")
    assert result.exit_code == 1
    assert "cannot use its weights" in result.stderr
    result = mbrl("eval", run, "imagination.imagination=5")
    assert result.exit_code == 2


def test_a_reference_policy_is_evaluated_off_libero() -> None:
    result = mbrl("eval", "random", "--env", "Pendulum-v1", "--episodes", 2)
    assert result.exit_code == 0, result.output
    # Which knows no success: the return is the figure.
    assert re.search(r"return -\d+\.\d ± \d+\.\d over 2 episodes", result.stdout)
    assert "%" not in result.stdout
    result = mbrl("eval", "random", "--env", "Pendulum-v1", "--episodes", 1, "--json")
    assert json.loads(result.stdout)["success_rate"] is None


ELSEWHERE = {
    "iris": "toy_images:ToyImages-v0",
    "iris-cem": "toy_images:ToyImages-v0",
    "sb3-dqn": "CartPole-v1",
    "world-models": "toy_images:ToyImages-v0",
    "world-models-cem": "toy_images:ToyImages-v0",
}
"""Environments for methods that do not take vectors and a Box of actions."""


@pytest.mark.parametrize("method", METHODS)
def test_every_method_can_be_inspected(method: str) -> None:
    result = mbrl("inspect", method, "--env", ELSEWHERE.get(method, TOY), "--json")
    assert result.exit_code == 0, result.output
    total = json.loads(result.stdout)["parameters"]["total"]
    assert (total == 0) == (METHODS[method].kind == "reference")


def test_one_task_of_several_has_to_be_chosen(tmp_path: Path) -> None:
    data = tmp_path / "data"
    command = ["collect", data, "--env", TOY, "--task", "0,1", "--episodes", 2, "--workers", 1]
    assert mbrl(*command).exit_code == 0
    command = ["train", "simple-cem", "training.model_steps=5", "--data", data, "--out",
               tmp_path / "run"]  # fmt: skip
    for more in ([], ["--env", TOY]):
        result = mbrl(*command, *more)
        assert result.exit_code == 2, result.output
        assert "choose one with --task" in result.stderr
    result = mbrl(*command, "--task", 7)
    assert result.exit_code == 2
    assert "no episodes of task 7" in result.stderr
    assert mbrl(*command, "--task", 1).exit_code == 0
    spec = json.loads((tmp_path / "run" / "run.json").read_text())["spec"]
    assert (spec["env_kwargs"]["task"], spec["data_episodes"]) == (1, 2)


def test_training_on_the_test_states_is_refused(tmp_path: Path) -> None:
    result = mbrl("train", "sb3-ppo", "--env", TOY, "--steps", 16, "env.init=benchmark", "--out",
                  tmp_path / "run")  # fmt: skip
    assert result.exit_code == 2
    assert "test set" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "seed"), [((), 0), (("training.seed=7",), 7), (("--seed", 3), 3)]
)
def test_the_seed_is_the_options_or_the_settings(
    arguments: tuple[object, ...], seed: int, tmp_path: Path
) -> None:
    command = ("train", "dreamer", "--env", "Pendulum-v1", "--steps", 8, "--out", tmp_path)
    result = mbrl(*command, *TINY, *arguments)
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "run.json").read_text())["spec"]["seed"] == seed
