"""One run on all tasks from the command line: collect, train, evaluate, imagine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from mbrl_agents.cli.main import app

TOY = "toy_tasks:ToyTasks-v0"
QUICK = ["training.model_steps=10", "training.policy_steps=10", "planner.horizon=2"]


def mbrl(*arguments: object) -> Result:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    return result


def done(*arguments: object) -> str:
    result = mbrl(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def spec_of(run: Path) -> dict[str, Any]:
    spec: dict[str, Any] = json.loads((run / "run.json").read_text())["spec"]
    return spec


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "all"
    done("collect", folder, "--env", TOY, "--task", "0-2", "--episodes", 2, "--workers", 1)
    return folder


def test_a_run_on_all_tasks_is_tested_on_each(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    done("train", "simple-policy-cem", "--data", data, "--task", "all", "--out", run, *QUICK)
    assert spec_of(run)["env_kwargs"]["task"] is None
    assert spec_of(run)["data_episodes"] == 6

    def tested(*arguments: object) -> dict[str, Any]:
        summary: dict[str, Any] = json.loads(done("eval", run, "--json", *arguments))
        return {task: found["episodes"] for task, found in summary["per_task"].items()}

    assert tested("--episodes", 2, "--out", tmp_path) == {"0": 2, "1": 2, "2": 2}
    lines = [json.loads(x) for x in (tmp_path / "episodes.jsonl").read_text().splitlines()]
    assert [(x["task"], x["init_state"]) for x in lines] == [
        (task, state) for task in range(3) for state in range(2)
    ]
    assert tested("--episodes", 1, "--task", 2) == {"2": 1}
    assert tested("--episodes", 1, "env.task=1") == {"1": 1}
    table = done("eval", run, "--episodes", 1)
    assert "| task | success |" in table
    assert "open_loop" in done("imagine", run, "--context", 1, "--horizon", 2, "--json")


def test_an_agent_of_several_tasks_records_where_it_sees_its_task(
    data: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    done("train", "simple-policy", "--data", data, "--task", "all", "--out", run, *QUICK[:2])
    command = ("collect", tmp_path / "own", "--env", TOY, "--agent", run, "--task", "0,1",
               "--episodes", 1, "--workers", 1, "--label")  # fmt: skip
    result = mbrl(*command)
    assert result.exit_code == 1
    assert "one_hot_task=True" in result.stderr
    assert "2 added" in done(*command, "env.one_hot_task=true")
    done("train", "simple-policy", "--data", tmp_path / "own", "--task", "all", "--out", run,
         "--fresh", *QUICK[:2])  # fmt: skip


def test_a_run_on_some_tasks_is_tested_on_those(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    done("train", "simple-policy-cem", "--data", data, "--task", "0,2", "--out", run,
         "--episodes", 1, *QUICK)  # fmt: skip
    assert spec_of(run)["env_kwargs"]["task"] == [0, 2]
    assert spec_of(run)["data_episodes"] == 2  # of each task one
    summary = json.loads(done("eval", run, "--episodes", 1, "--json"))
    assert set(summary["per_task"]) == {"0", "2"}


def test_a_specialist_is_tested_as_before(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    done("train", "simple-policy-cem", "--data", data, "--task", 1, "--out", run, *QUICK)
    summary = json.loads(done("eval", run, "--episodes", 1, "--json"))
    assert set(summary["per_task"]) == {"1"}
    result = mbrl("eval", run, "--episodes", 1, "--task", 2)
    assert result.exit_code == 1
    assert "trained on the observations" in result.stderr


def test_data_of_several_tasks_need_a_choice(data: Path, tmp_path: Path) -> None:
    command = ("train", "simple-policy-cem", "--data", data, "--out", tmp_path / "run", *QUICK)
    result = mbrl(*command)
    assert result.exit_code == 2
    assert "--task all" in result.stderr
    done(*command, "env.task=null")
    assert spec_of(tmp_path / "run")["env_kwargs"]["task"] is None
    result = mbrl(*command, "--task", "0-5")
    assert result.exit_code == 2
    assert "no episodes of task 3" in result.stderr
