"""Rows that learn all tasks of a suite at once, beside specialists of each."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from mbrl_agents.benchmarks import report
from mbrl_agents.benchmarks.plan import BenchmarkPlan, make_plan
from mbrl_agents.benchmarks.report import write_report
from mbrl_agents.benchmarks.runner import run_suite
from mbrl_agents.benchmarks.suite_files import load_suite, suite_from_dict

QUICK = ["training.model_steps=10", "training.policy_steps=10"]
EACH = {"method": "simple-policy", "overrides": QUICK}
ALL = {**EACH, "multitask": True}
SUITE: dict[str, Any] = {
    "name": "several-tasks",
    "env": "toy_tasks:ToyTasks-v0",
    "tasks": [0, 2],
    "env_kwargs": {"obs": "pose"},
    "data": {"source": "expert", "episodes": 2},
    "evaluation": {"episodes": 2},
    "methods": ["random", EACH, ALL],
}


@pytest.fixture(autouse=True)
def _toy_in_children(monkeypatch: pytest.MonkeyPatch) -> None:
    support = str(Path(__file__).parent.parent / "support")
    monkeypatch.setenv("PYTHONPATH", support + os.pathsep + os.environ.get("PYTHONPATH", ""))


def plan_of(**changes: Any) -> BenchmarkPlan:
    return make_plan(suite_from_dict({**SUITE, **changes}))


def jobs(plan: BenchmarkPlan, kind: str) -> dict[str, Any]:
    return {key: job for key, job in plan.jobs.items() if job.kind == kind}


def test_all_tasks_are_learned_at_once_from_the_specialists_episodes() -> None:
    plan, specialists = plan_of(seeds=[0, 1]), plan_of(seeds=[0, 1], methods=["random", EACH])
    assert specialists.jobs.keys() < plan.jobs.keys()  # which keep their keys
    assert jobs(plan, "collect").keys() == jobs(specialists, "collect").keys()
    cells = [cell for cell in plan.cells if cell.row.multitask]
    assert {cell.row.name for cell in cells} == {"simple-policy (all tasks)"}
    assert [(cell.seed, cell.task) for cell in cells] == [(0, 0), (1, 0), (0, 2), (1, 2)]
    for seed in (0, 1):
        (key,) = {cell.training for cell in cells if cell.seed == seed}
        training = plan.jobs[str(key)]
        assert training.spec["env_kwargs"] == {"obs": "pose", "task": [0, 2]}
        assert set(training.needs) == jobs(plan, "collect").keys()
    for cell in cells:
        (evaluation,) = (plan.jobs[key] for key in cell.evaluations)
        expected = {"obs": "pose", "task": cell.task, "one_hot_task": True}
        assert evaluation.spec["env_kwargs"] == expected
    changed = jobs(plan_of(seeds=[0, 1], tasks=[0, 1]), "train").keys()
    assert not changed & {cell.training for cell in cells}


def test_methods_share_a_training_of_all_tasks_but_not_with_specialists() -> None:
    rows = [{"method": m, "multitask": True} for m in ("simple-policy", "simple-policy-cem")]
    assert len(jobs(plan_of(methods=rows), "train")) == 1
    rows[0] = {"method": "simple-policy"}
    assert len(jobs(plan_of(methods=rows), "train")) == 1 + 2


def test_a_suite_says_it_for_all_rows_that_learn(tmp_path: Path) -> None:
    suite = suite_from_dict({**SUITE, "multitask": True, "methods": ["random", EACH]})
    assert [row.multitask for row in suite.methods] == [False, True]
    own = suite_from_dict({**SUITE, "multitask": True, "methods": [{**EACH, "multitask": False}]})
    assert [row.name for row in suite.methods] == ["random", "simple-policy"]
    assert [row.name for row in own.methods] == ["simple-policy (a model per task)"]
    few = suite_from_dict({**SUITE, "multitask": True, "methods": [{**EACH, "episodes": 1}]})
    assert [row.name for row in few.methods] == ["simple-policy (1 episode)"]
    path = tmp_path / "suite.yaml"
    path.write_text(yaml.safe_dump(suite.to_dict()))
    assert load_suite(str(path)) == suite


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tasks": []}, "multitask needs the suite's field 'tasks'"),
        ({"methods": [{"method": "random", "multitask": True}]}, "nothing to train"),
        ({"methods": [{**EACH, "multitask": 1}]}, "must be true or false"),
        ({"multitask": "yes"}, "must be true or false"),
        ({"methods": [ALL, ALL]}, "label to: simple-policy"),
    ],
)
def test_mistakes_are_answered(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plan_of(**change)


@pytest.mark.slow
@pytest.mark.usefixtures("jobs_here")
def test_one_model_of_all_tasks_beside_specialists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sac = {
        "method": "sb3-sac",
        "steps": "data",
        "multitask": True,
        "check_every": 10,
        "overrides": ["baseline.learning_starts=1000"],
    }
    suite = suite_from_dict({**SUITE, "methods": ["expert", EACH, ALL, sac]})
    outcome = run_suite(suite, tmp_path, workers=2)
    drawn: list[Any] = []
    monkeypatch.setattr(
        report, "write_plots", lambda *given, checks, **_: drawn.append((*given, checks))
    )
    summary = write_report(suite, outcome, tmp_path)
    ((_, curves, _, checks),) = drawn
    # One curve of each training, not one of each task that it learned.
    assert [len(curves[name]) for name in ("simple-policy", "sb3-sac (all tasks)")] == [2, 1]
    assert [len(several) for several in checks["environment steps"].values()] == [1]
    rows = {row["method"]: row for row in summary["methods"]}
    assert list(rows["sb3-sac (all tasks)"]["checks"]) == ["0"]
    assert {name: row["status"] for name, row in rows.items()} == {
        "expert": "ok",
        "simple-policy": "ok",
        "simple-policy (all tasks)": "ok",
        "sb3-sac (all tasks)": "ok",
    }
    steps = sum(data["steps"] for data in summary["data"])
    assert rows["simple-policy (all tasks)"]["env_steps"] == steps
    assert rows["sb3-sac (all tasks)"]["env_steps"] == steps
    for row in rows.values():
        assert {task: found["episodes"] for task, found in row["per_task"].items()} == {
            "0": 2,
            "2": 2,
        }
    lines = [json.loads(line) for line in (tmp_path / "episodes.jsonl").read_text().splitlines()]
    own = [x for x in lines if x["method"] == "simple-policy (all tasks)"]
    assert [(x["task"], x["init_state"]) for x in own] == [(0, 0), (0, 1), (2, 0), (2, 1)]
    text = (tmp_path / "summary.md").read_text()
    _, by_task = text.split("| success by task ")
    assert by_task.splitlines()[0].replace(" ", "") == "|0|2|"
    assert "| expert                    | 2/2 | 2/2 |" in by_task
    assert "Recorded episodes of task 2: 2 " in text
    assert "simple-policy (all tasks): " in text
    assert "one model of all tasks" in text


def test_a_methods_name_chooses_all_of_its_rows_but_a_rows_own_name_only_that_row(tmp_path):
    file = tmp_path / "suite.yaml"

    def chosen(rows: list[Any], wanted: str) -> list[str]:
        file.write_text(yaml.safe_dump({**SUITE, "methods": rows}), "utf-8")
        return [row.name for row in load_suite(str(file), methods=[wanted]).methods]

    few = {**ALL, "episodes": 1}
    names = ["simple-policy (all tasks)", "simple-policy (all tasks, 1 episode)"]
    assert chosen(["random", ALL, few], "simple-policy") == names
    assert chosen(["random", ALL, few], names[1]) == names[1:]
    assert chosen(["random", EACH, ALL], "simple-policy") == ["simple-policy"]


OWN = {
    "method": "simple-cem",
    "start": "simple-policy-cem (all tasks)",
    "steps": 40,
    "multitask": True,
    "overrides": [QUICK[0], "training.round_steps=20", "training.refit_steps=2"],
}
BOTH = {"method": "simple-policy-cem", "multitask": True, "overrides": QUICK}


def test_a_row_goes_on_from_the_training_of_another_one() -> None:
    plan = plan_of(methods=[BOTH, OWN])
    first, own = (str(cell.training) for cell in plan.cells[:2])
    training = plan.jobs[own]
    assert training.spec["start"] == first
    assert set(training.needs) == {first, *jobs(plan, "collect")}
    # A weights' row that learns with other settings is another start.
    other = plan_of(methods=[{**BOTH, "overrides": ["training.model_steps=11"]}, OWN])
    assert own not in other.jobs


def test_a_row_that_is_not_shown_is_trained_for_another_to_start_from(tmp_path: Path) -> None:
    file = tmp_path / "suite.yaml"
    file.write_text(yaml.safe_dump({**SUITE, "methods": ["random", BOTH, OWN]}), "utf-8")
    suite = load_suite(str(file), methods=["simple-cem"])
    assert [row.name for row in suite.methods] == ["simple-cem (all tasks)"]
    assert [row.name for row in suite.starts] == ["simple-policy-cem (all tasks)"]
    assert suite_from_dict(suite.to_dict()) == suite
    plan, whole = make_plan(suite), plan_of(methods=["random", BOTH, OWN])
    assert plan.jobs.keys() < whole.jobs.keys()
    assert len(jobs(plan, "train")) == 2
    assert {job.spec["method"] for job in jobs(plan, "evaluate").values()} == {"simple-cem"}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([OWN], "start of simple-cem"),
        ([BOTH, {**OWN, "steps": 0}], "give steps"),
        ([BOTH, {**OWN, "multitask": False}], "needs its multitask"),
        ([BOTH, {**OWN, "episodes": 1}], "needs its episodes"),
        ([BOTH, {**OWN, "overrides": ["world_model.hidden=[8]"]}], "settings of world_model"),
        ([{**BOTH, **OWN, "label": "a", "start": "b"}, {**OWN, "label": "b", "start": "a"}], "has"),
        ([BOTH, {**OWN, "method": "sb3-sac", "overrides": []}], "cannot start"),
    ],
)
def test_a_start_that_is_of_no_use_is_refused(rows: list[Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plan_of(methods=rows)


@pytest.mark.slow
@pytest.mark.usefixtures("jobs_here")
def test_own_steps_after_another_rows_training(tmp_path: Path) -> None:
    suite = suite_from_dict({**SUITE, "methods": [BOTH, OWN]})
    summary = write_report(suite, run_suite(suite, tmp_path, workers=2), tmp_path)
    rows = {row["method"]: row for row in summary["methods"]}
    assert [row["status"] for row in rows.values()] == ["ok", "ok"]
    first, own = rows.values()
    assert own["env_steps"] == first["env_steps"] + 40
