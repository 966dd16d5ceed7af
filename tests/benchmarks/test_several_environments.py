"""A suite over several environments, of which none knows success: run, table, plots, curves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mbrl_agents.benchmarks.plan import make_plan
from mbrl_agents.benchmarks.report import _row_summary, markdown, write_report
from mbrl_agents.benchmarks.runner import Outcome, run_suite
from mbrl_agents.benchmarks.suite import Suite
from mbrl_agents.benchmarks.suite_files import suite_from_dict
from mbrl_agents.cli.main import app
from mbrl_agents.evaluation.learning_curve import CURVE_FILE, read_curve

CARTPOLE, PENDULUM = "CartPole-v1", "Pendulum-v1"


def classic(**changes: Any) -> Suite:
    ppo = ["baseline.n_steps=64", "baseline.batch_size=64", "baseline.n_epochs=1"]
    return suite_from_dict(
        {
            "name": "tiny",
            "envs": [CARTPOLE, PENDULUM],
            "targets": {CARTPOLE: 1, PENDULUM: 0},
            "evaluation": {"episodes": 2, "init": "random"},
            "methods": [
                "random",
                {"method": "sb3-ppo", "steps": 64, "overrides": ppo, "envs": [CARTPOLE]},
            ],
            **changes,
        }
    )


@pytest.mark.slow
@pytest.mark.usefixtures("jobs_here")
def test_a_whole_benchmark(tmp_path: Path) -> None:
    suite = classic()
    outcome = run_suite(suite, tmp_path, workers=2)
    summary = write_report(suite, outcome, tmp_path)
    assert not outcome.failures
    rows = {(row["env"], row["method"]): row for row in summary["methods"]}
    assert list(rows) == [(CARTPOLE, "random"), (CARTPOLE, "sb3-ppo"), (PENDULUM, "random")]
    for row in rows.values():
        assert row["successes"] is row["success_rate"] is None
        assert row["episodes"] == 2
        assert row["return_std"] > 0
    assert rows[CARTPOLE, "random"]["target_reached"]
    assert not rows[PENDULUM, "random"]["target_reached"]
    assert json.loads((tmp_path / "summary.json").read_text()) == summary

    lines = [json.loads(x) for x in (tmp_path / "episodes.jsonl").read_text().splitlines()]
    assert [x["env"] for x in lines] == [CARTPOLE] * 4 + [PENDULUM] * 2
    assert {x["success"] for x in lines} == {None}

    table = (tmp_path / "summary.md").read_text()
    first, second = table.split(f"## {PENDULUM}")
    assert f"## {CARTPOLE}" in first
    assert "sb3-ppo" in first
    assert "at least 1 " in first
    assert "| yes " in first
    assert "| no " in second
    assert f"{rows[PENDULUM, 'random']['return_mean']:.1f} ±" in second

    assert {p.name for p in (tmp_path / "plots").iterdir()} == {
        "return-CartPole-v1.png",
        "return-Pendulum-v1.png",
        "planning_time-CartPole-v1.png",
        "planning_time-Pendulum-v1.png",
        "learning_curve-CartPole-v1.png",
        "learning_time-CartPole-v1.png",
    }
    assert {p.name for p in (tmp_path / "tensorboard").iterdir()} == {
        "CartPole-v1-random-seed0",
        "CartPole-v1-sb3-ppo-seed0",
        "Pendulum-v1-random-seed0",
    }
    training = rows[CARTPOLE, "sb3-ppo"]["training"]
    curve = read_curve(tmp_path / "models" / training / CURVE_FILE)
    assert curve
    assert sum(point.length for point in curve) == curve[-1].env_steps <= 64
    _check_curve_in_tensorboard(tmp_path / "tensorboard" / "CartPole-v1-sb3-ppo-seed0", curve)


def _check_curve_in_tensorboard(folder: Path, curve: list[Any]) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("rollout/episode_return")] == [
        (point.env_steps, point.episode_return) for point in curve
    ]
    assert "eval/success_rate" not in events.Tags()["scalars"]


def entry(env: str, method: str, **changes: Any) -> dict[str, Any]:
    return {
        "env": env,
        "method": method,
        "status": "ok",
        "overrides": [],
        "notes": [],
        "seeds": [0],
        "episodes": 20,
        "successes": None,
        "success_rate": None,
        "ci95": None,
        "return_mean": 12.34,
        "return_std": 1.0,
        "reward_per_step_mean": 0.5,
        "reward_per_step_best": 0.7,
        "return_best": 15.0,
        "plan_ms_p50": 1.0,
        "plan_ms_p95": 2.0,
        "parameters": 0,
        "train_seconds": 0.0,
        "env_steps": 0,
        **changes,
    }


def summary_of(*entries: dict[str, Any], **changes: Any) -> dict[str, Any]:
    envs = list(dict.fromkeys(e["env"] for e in entries))
    base = {"suite": "s", "envs": envs, "targets": {}, "tasks": [], "init": "random", "data": [],
            "workers": 1, "cores": 2}  # fmt: skip
    return {**base, "methods": list(entries), **changes}


def test_each_environment_shows_the_figure_it_knows() -> None:
    success = {"successes": 15, "success_rate": 0.75, "ci95": [0.53, 0.89]}
    text = markdown(summary_of(entry("A-v0", "random", **success), entry("B-v0", "random")))
    first, second = text.split("## B-v0")
    assert "15/20 (75 %)" in first
    assert "±" not in first
    assert "12.3 ± 1.0" in second
    assert "success  " not in second
    # With one environment there is one table, without a heading.
    alone = markdown(summary_of(entry("A-v0", "random", **success), tasks=[2]))
    assert alone.startswith("# s: A-v0, task 2\n\n| method | success ")
    assert "##" not in alone


def test_targets_are_checked_in_all_and_by_seed() -> None:
    suite = classic(methods=["random"], envs=[CARTPOLE], targets={CARTPOLE: 20}, seeds=[0, 1])
    plan = make_plan(suite)
    (first, second) = (cell.evaluations[0] for cell in plan.cells)
    results = {
        key: {
            "records": [
                {
                    "task": None,
                    "init_state": None,
                    "seed": 0,
                    "success": None,
                    "steps": 10,
                    "episode_return": value,
                    "plan_ms": [1.0],
                }
                for value in returns
            ]
        }
        for key, returns in ((first, (10.0, 20.0)), (second, (30.0, 30.0)))
    }
    outcome = Outcome(plan, results, {}, 1.0, 1)
    row, _ = _row_summary(suite, CARTPOLE, suite.methods[0], list(plan.cells), outcome)
    assert (row["return_mean"], row["target_reached"]) == (22.5, True)
    assert [s["return_mean"] for s in row["per_seed"].values()] == [15.0, 30.0]
    assert [s["target_reached"] for s in row["per_seed"].values()] == [False, True]
    assert row["per_seed"]["0"]["return_std"] == 5.0
    text = markdown(summary_of(row, targets={CARTPOLE: 20.0}))
    assert "at least 20" in text
    assert "| yes (1 of 2 seeds) |" in text
    assert "| 15.0, 30.0 " in text


def test_settings_said_on_all_environments_are_said_once() -> None:
    same = {"overrides": ["a.b=1"]}
    text = markdown(
        summary_of(
            entry("A-v0", "x", **same),
            entry("A-v0", "y", **same),
            entry("B-v0", "x", **same),
            entry("B-v0", "y", overrides=["a.b=2"]),
        )
    )
    assert text.count("x: `a.b=1`.") == 1
    assert "y on A-v0: `a.b=1`." in text
    assert "y on B-v0: `a.b=2`." in text


def test_a_failed_row_says_where() -> None:
    failed = {"env": "B-v0", "method": "x", "status": "failed", "error": "no", "overrides": [],
              "notes": []}  # fmt: skip
    text = markdown(summary_of(entry("A-v0", "x"), failed))
    assert "x on B-v0 failed: no" in text


def test_an_unknown_environment_is_named_with_the_nearest(tmp_path: Path) -> None:
    suite = tmp_path / "own.yaml"
    suite.write_text("envs: [CartPole-v1, Pendulm-v1]\nmethods: [random]\n")
    result = CliRunner().invoke(app, ["bench", str(suite), "--out", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert "unknown environment 'Pendulm-v1'; did you mean 'Pendulum-v1'" in result.output
    assert not (tmp_path / "out").exists()
