"""Rows that differ in their demonstrations, or in the environment that they are tested in."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from mbrl_agents.benchmarks.conditions import condition_text
from mbrl_agents.benchmarks.plan import BenchmarkPlan, make_plan
from mbrl_agents.benchmarks.report import write_report
from mbrl_agents.benchmarks.runner import run_suite
from mbrl_agents.benchmarks.suite_files import load_suite, suite_from_dict
from mbrl_agents.benchmarks.sweeps import series_of

QUICK = ["training.model_steps=10", "training.policy_steps=10", "planner.horizon=2"]
CLONE = {"method": "simple-policy", "overrides": QUICK[:2]}
PLAN = {"method": "simple-policy-cem", "overrides": QUICK}
STUCK: dict[str, Any] = {"test_env_kwargs": {"disturbance": "stuck"}}
SUITE: dict[str, Any] = {
    "name": "sweeps",
    "env": "toy_tasks:ToyTasks-v0",
    "tasks": [0, 2],
    "env_kwargs": {"obs": "pose"},
    "data": {"source": "expert", "episodes": 4},
    "evaluation": {"episodes": 2},
    "methods": [CLONE],
}


@pytest.fixture(autouse=True)
def _toy_in_children(monkeypatch: pytest.MonkeyPatch) -> None:
    support = str(Path(__file__).parent.parent / "support")
    monkeypatch.setenv("PYTHONPATH", support + os.pathsep + os.environ.get("PYTHONPATH", ""))


def plan_of(**changes: Any) -> BenchmarkPlan:
    return make_plan(suite_from_dict({**SUITE, **changes}))


def keys(plan: BenchmarkPlan, kind: str) -> set[str]:
    return {key for key, job in plan.jobs.items() if job.kind == kind}


@pytest.mark.parametrize("multitask", [False, True])
def test_disturbed_tests_change_no_training(multitask: bool) -> None:
    plain = plan_of(methods=[CLONE], multitask=multitask)
    rows = [CLONE, {**CLONE, **STUCK}, {**PLAN, **STUCK}]
    both = plan_of(methods=rows, multitask=multitask)
    assert keys(both, "collect") == keys(plain, "collect")
    assert len(keys(both, "train")) == (1 if multitask else 2)
    cells = {(cell.row.name.split()[0], cell.task, bool(cell.row.test_env_kwargs)): cell
             for cell in both.cells}  # fmt: skip
    for task in (0, 2):
        trainings = {cell.training for (_, t, _), cell in cells.items() if t == task}
        assert len(trainings) == 1
    for job in both.jobs.values():
        expected = job.kind == "evaluate" and job.key not in keys(
            plan_of(methods=[CLONE, PLAN], multitask=multitask), "evaluate"
        )
        assert ("disturbance" in job.spec["env_kwargs"]) == expected
    whole = plan_of(evaluation={"episodes": 2, "env_kwargs": {"disturbance": "stuck"}})
    assert keys(whole, "train") == keys(plan_of(), "train")
    assert not keys(whole, "evaluate") & keys(plan_of(), "evaluate")
    own = plan_of(methods=[{**CLONE, **STUCK}])
    assert keys(whole, "evaluate") == keys(own, "evaluate")


def test_a_search_of_tests_alone_changes_no_training() -> None:
    own = {"method": "simple-cem", "steps": 40, "overrides": [QUICK[0], "planner.samples=16"]}
    better = {**own, "label": "better", "test_overrides": ["planner.samples=64"]}
    plain, both = plan_of(methods=[own]), plan_of(methods=[own, better])
    assert keys(both, "train") == keys(plain, "train")
    tests = [job for job in both.jobs.values() if job.kind == "evaluate"]
    assert len(tests) == 2 * len(keys(plain, "evaluate"))
    last = [job.spec["overrides"][-1] for job in tests]
    assert sorted(set(last)) == ["planner.samples=16", "planner.samples=64"]
    same = {**own, "overrides": [*own["overrides"], "planner.samples=64"]}
    assert not keys(plan_of(methods=[same]), "train") & keys(plain, "train")


def test_an_empty_change_is_no_change() -> None:
    rows = [{**CLONE, "test_env_kwargs": {}, "episodes": None}]
    assert plan_of(methods=rows, evaluation={"episodes": 2, "env_kwargs": {}}).jobs.keys() == (
        plan_of().jobs.keys()
    )
    assert plan_of(methods=[{**CLONE, "episodes": 4}]).jobs.keys() == plan_of().jobs.keys()


def test_demonstrations_are_collected_once_for_all_numbers() -> None:
    rows = [{**row, "episodes": count} for count in (1, 3) for row in (CLONE, PLAN)]
    plan = plan_of(methods=rows, multitask=True)
    assert keys(plan, "collect") == keys(plan_of(), "collect")
    trainings = [plan.jobs[key] for key in keys(plan, "train")]
    assert sorted(job.spec["limit"] for job in trainings) == [1, 3]  # each of both methods
    assert all(set(job.needs) == keys(plan, "collect") for job in trainings)


def test_rows_are_told_apart_without_labels(tmp_path: Path) -> None:
    rows = [CLONE, {**CLONE, "episodes": 2}, {**CLONE, **STUCK}]
    rows += [{**CLONE, **STUCK, "episodes": 2, "multitask": True}]
    suite = suite_from_dict({**SUITE, "methods": rows})
    assert [row.name for row in suite.methods] == [
        "simple-policy",
        "simple-policy (2 episodes)",
        "simple-policy (stuck)",
        "simple-policy (all tasks, 2 episodes, stuck)",
    ]
    path = tmp_path / "suite.yaml"
    path.write_text(yaml.safe_dump(suite.to_dict()))
    assert load_suite(str(path)) == suite
    names = series_of(suite.methods)
    assert list(names.values()) == ["simple-policy"] * 3 + [suite.methods[3].name]


def test_conditions_in_few_words() -> None:
    assert condition_text({}) == condition_text({"disturbance": None}) == "undisturbed"
    assert condition_text({"disturbance": "heavy"}) == "heavy"
    assert condition_text({"disturbance": {"object_mass": 2}}) == "object_mass=2"
    assert condition_text({"fixtures": "random"}) == "fixtures=random"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"methods": [{**CLONE, "episodes": 5}]}, r"simple-policy \(5 episodes\): episodes is 5"),
        ({"methods": [{**CLONE, "episodes": 0}]}, "must be at least 1"),
        ({"methods": [{**CLONE, "episodes": "many"}]}, "must be a whole number"),
        ({"methods": [{"method": "random", "episodes": 2}]}, "reads no recorded episodes"),
        (
            {"methods": [{**PLAN, "test_overrides": ["training.clip=1"]}]},
            "test_overrides are settings of planner and objective, .* not 'training.clip=1'",
        ),
        ({"methods": [{**PLAN, "test_overrides": ["planner.smples=1"]}]}, "smples"),
        ({"methods": [{**CLONE, "test_env_kwargs": "stuck"}]}, "keywords of gym.make"),
        ({"methods": [{**CLONE, "test_env_kwargs": {"task": 1}}]}, "task is no keyword for tests"),
        ({"evaluation": {"env_kwargs": {"init": "random"}}}, "init is no keyword for tests"),
        ({"evaluation": {"env_kwargs": [1]}}, "evaluation: env_kwargs must hold keywords"),
        ({"methods": [CLONE, {**CLONE, "episodes": 2, "label": "simple-policy"}]}, "label"),
    ],
)
def test_mistakes_are_answered(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plan_of(**change)


@pytest.mark.slow
@pytest.mark.usefixtures("jobs_here")
def test_few_demonstrations_and_disturbed_tests(tmp_path: Path) -> None:
    sac = {"method": "sb3-sac-demos", "steps": "data", "episodes": 1}
    sac["overrides"] = ["baseline.learning_starts=1000"]
    methods = ["expert", {"method": "expert", **STUCK}, {**CLONE, "episodes": 1}, CLONE]
    methods += [{**CLONE, **STUCK}, sac]
    suite = suite_from_dict({**SUITE, "methods": methods, "multitask": True})
    summary = write_report(suite, run_suite(suite, tmp_path, workers=2), tmp_path)
    rows = {row["method"]: row for row in summary["methods"]}
    assert {row["status"] for row in rows.values()} == {"ok"}, (tmp_path / "summary.md").read_text()
    assert rows["expert"]["successes"] == 4
    assert rows["expert (stuck)"]["successes"] == 0
    few, whole = rows["simple-policy (1 episode)"], rows["simple-policy"]
    assert [few["demonstrations"], whole["demonstrations"]] == [1, 4]
    assert 0 < few["env_steps"] < whole["env_steps"]
    # As many steps of its own as the demonstrations that it was shown, one of each task.
    assert rows["sb3-sac-demos (1 episode)"]["env_steps"] == 2 * few["env_steps"]
    disturbed = rows["simple-policy (stuck)"]
    assert disturbed["training"] == whole["training"] != few["training"]
    assert disturbed["test_env_kwargs"] == {"disturbance": "stuck"}
    assert sum(data["episodes"] for data in summary["data"]) == 2 * 4
    text = (tmp_path / "summary.md").read_text()
    assert "the first 1 of each task" in text
    assert "tests: stuck" in text
    plots = {path.name for path in (tmp_path / "plots").iterdir()}
    assert {"demonstrations.png", "disturbances.png"} <= plots
    assert json.loads((tmp_path / "summary.json").read_text()) == summary
