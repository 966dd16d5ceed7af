"""The command line trains what Python trains, and a run keeps its planner and objective."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import gymnasium
import pytest
import torch
from stable_baselines3.common.monitor import Monitor
from typer.testing import CliRunner, Result

import mbrl_agents
from mbrl_agents.agents.origins import OtherTaskWarning
from mbrl_agents.cli.main import app
from mbrl_agents.runs.loading import RunPredictor, load_run
from mbrl_agents.runs.work import nested_overrides

PENDULUM = ["--env", "Pendulum-v1"]
SMALL = [
    "world_model.hidden=[8]", "world_model.head_hidden=[8]", "world_model.outcome_hidden=[8]",
    "world_model.ensemble=2", "planner.horizon=3", "planner.samples=8", "planner.elites=2",
    "training.model_steps=3", "training.refit_steps=2", "training.random_steps=200",
    "training.round_steps=100",
]  # fmt: skip


def mbrl(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "pendulum"
    result = mbrl("train", "simple-cem", *PENDULUM, "--steps", 400, "--out", folder, *SMALL)
    assert result.exit_code == 0, result.output
    return folder


def test_steps_alone_train_what_learn_trains(run: Path, tmp_path: Path) -> None:
    env = Monitor(gymnasium.make("Pendulum-v1", disable_env_checker=True))
    agent = mbrl_agents.make_agent("simple-cem", env, seed=0, **nested_overrides(SMALL))
    agent.learn(400, folder=tmp_path / "python")
    there = load_run(run)
    assert there.config == agent.config
    assert there.num_timesteps == agent.num_timesteps == 400
    for name, module in agent.algorithm.modules.items():
        other = there.algorithm.modules[name].state_dict()
        for key, value in module.state_dict().items():
            assert torch.equal(value, other[key]), (name, key)


def test_a_run_keeps_the_objective_of_its_environment(run: Path) -> None:
    assert load_run(run).config.search == {"planner": "cem", "objective": "return"}
    changed = load_run(run, overrides=["objective.discount=0.9", "planner.horizon=5"])
    assert changed.config.search["objective"] == "return"
    assert (changed.config.objective.discount, changed.config.planner.horizon) == (0.9, 5)
    other = load_run(run, overrides=["objective.name=progress"])
    assert other.config.planner.horizon == 3
    assert other.config.objective.mode == "mean"
    result = mbrl("eval", run, "--episodes", 1, "--objective", "progress")
    assert result.exit_code == 0, result.output
    result = mbrl("eval", run, "--episodes", 1, "--objective", "progres")
    assert result.exit_code == 2
    assert "unknown objective 'progres'; did you mean 'progress'?" in result.output
    assert "(valid: progress, return)" in result.output


def test_planner_and_objective_are_chosen_per_run(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    result = mbrl(
        "train", "dreamer-v1", "--env", "CartPole-v1", "--steps", 40, "--out", folder,
        "--planner", "cem", "--objective", "return", "planner.horizon=3", "planner.samples=8",
        "planner.elites=2", "world_model.deter=8", "training.learning_starts=30",
        "training.sequence_length=8", "training.batch_size=2", "actor_critic.horizon=2",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    agent = load_run(folder)
    assert agent.config.search == {"planner": "cem", "objective": "return"}
    assert agent.policy.planner.config.horizon == 3
    spec = json.loads((folder / "run.json").read_text())["spec"]
    assert "planner.name=cem" in spec["overrides"]
    # The run's settings of a planner stay with its name, and are none of another one's.
    assert load_run(folder, overrides=["planner.name=cem"]).config.planner.horizon == 3
    result = mbrl("eval", folder, "--planner", "policy", "--episodes", 1)
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["simple-cem", *PENDULUM], "--data FOLDER"),
        (["simple-policy-cem", *PENDULUM, "--steps", 9], "fit it to demonstrations"),
        (["sb3-sac-demos", *PENDULUM, "--steps", 9], "learns from recorded episodes"),
        (["sb3-sac", "--env", "CartPole-v1", "--steps", 9], "Discrete(2); for these spaces take"),
        (["iris", "--env", "CartPole-v1", "--steps", 9], "learns from images"),
        (["dreamer", "--env", "Blackjack-v1", "--steps", 9], "is a Tuple"),
        (["simple-cem", *PENDULUM, "--steps", 9, "--planner", "cme"], "did you mean 'cem'?"),
        (["simple-cem", *PENDULUM, "--steps", 9, "--planner", "policy"], "take the planner 'cem'"),
        (["dreamer", *PENDULUM, "--steps", 9, "--objective", "return"], "acts by itself"),
        (["simple-cem", *PENDULUM, "--steps", 9, "objective.mode=end"], "tells no success"),
        (["sb3-sac", *PENDULUM, "--steps", 9, "--planner", "cem"], "no setting 'planner.name'"),
    ],
)
def test_what_cannot_be_trained_is_a_usage_error(arguments, words, tmp_path: Path) -> None:
    result = mbrl("train", *arguments, "--out", tmp_path / "run")
    assert result.exit_code == 2, result.output
    assert words in result.output
    assert not (tmp_path / "run" / "run.json").exists()


def test_numbers_observed_by_command(tmp_path: Path) -> None:
    folder = tmp_path / "lake"
    result = mbrl(
        "train", "dreamer", "--env", "FrozenLake-v1", "--steps", 30, "--out", folder,
        "world_model.deter=16", "world_model.units=8", "training.learning_starts=25",
        "training.sequence_length=4", "training.batch_size=2",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    result = mbrl("eval", folder, "--episodes", 1)
    assert result.exit_code == 0, result.output
    assert "dreamer on FrozenLake-v1" in result.output


def test_a_run_is_told_from_another_task(run: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", OtherTaskWarning)
        RunPredictor(str(run))(gymnasium.make("Pendulum-v1"))

    gymnasium.register("SteepPendulum-v0", "gymnasium.envs.classic_control:PendulumEnv")
    with pytest.warns(OtherTaskWarning, match="in Pendulum-v1, and this is SteepPendulum-v0"):
        RunPredictor(str(run))(gymnasium.make("SteepPendulum-v0"))
    del gymnasium.registry["SteepPendulum-v0"]
