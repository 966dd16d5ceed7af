"""Success at equal planning time: points, the rule, files; and the rows of a speed folder."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mbrl_agents.benchmarks.plan import make_plan
from mbrl_agents.benchmarks.runner import Outcome
from mbrl_agents.benchmarks.speed import runner, success
from mbrl_agents.benchmarks.speed.rows import SpeedRow, Unavailable
from mbrl_agents.benchmarks.speed.success import GUIDED, RANDOM, Point
from mbrl_agents.benchmarks.suite import Suite
from mbrl_agents.benchmarks.suite_files import load_suite, suite_from_dict

PLANNING = ["planner.samples=12", "training.model_steps=30", "training.policy_steps=30"]
ROWS: list[dict[str, Any]] = [
    {
        "method": "simple-policy-cem",
        "label": "guided",
        "overrides": [*PLANNING, "planner.horizon=2", "planner.iterations=1"],
    },
    {
        "method": "simple-cem",
        "label": "random",
        "overrides": [*PLANNING, "planner.horizon=3", "planner.iterations=2"],
    },
]


def toy(**changes: Any) -> Suite:
    return suite_from_dict(
        {
            "name": "toy",
            "env": "toy_reach:ToyReach-v0",
            "tasks": [0],
            "env_kwargs": {"obs": "pose"},
            "data": {"episodes": 4},
            "evaluation": {"episodes": 4, "part": 2},
            "methods": ROWS,
            **changes,
        }
    )


def record(success: bool | None, steps: int, plan_ms: list[float]) -> dict[str, Any]:
    """An episode as a job writes it."""
    return {
        "task": 0,
        "init_state": 0,
        "seed": 0,
        "success": success,
        "episode_return": 1.0,
        "steps": steps,
        "plan_ms": plan_ms,
        "assets": "none",
        "suite": "toy",
    }


def fabricated(suite: Suite, by_row: dict[str, list[dict[str, Any]]]) -> Outcome:
    """A finished outcome whose evaluation jobs hold the records of their row."""
    plan = make_plan(suite)
    results = {
        key: {"records": by_row[cell.row.name]} for cell in plan.cells for key in cell.evaluations
    }
    return Outcome(plan, results, {}, 1.0, 2)


def point(planner: str, time: float, successes: int, **changes: Any) -> Point:
    fields: dict[str, Any] = {
        "label": f"{planner} {time:g}",
        "planner": planner,
        "samples": 50,
        "iterations": 1,
        "replan": 1,
        "ms_p50": time,
        "ms_p95": 2 * time,
        "ms_per_step": time,
        "successes": successes,
        "episodes": 20,
        "success_rate": successes / 20,
        "ci95": (max(0.0, successes / 20 - 0.2), min(1.0, successes / 20 + 0.2)),
    }
    return Point(**{**fields, **changes})


def test_the_own_suite_trains_once_on_the_tasks_of_the_quick_comparison() -> None:
    suite, quick = load_suite(success.SUITE), load_suite("quick")
    kinds = [job.kind for job in make_plan(suite).jobs.values()]
    assert (kinds.count("collect"), kinds.count("train")) == (2, 1)
    for name in ("env", "tasks", "multitask", "env_kwargs", "seeds"):
        assert getattr(suite, name) == getattr(quick, name)
    # On more states of each task: budgets lie closer together than methods.
    assert suite.evaluation.episodes > quick.evaluation.episodes
    assert replace(suite.evaluation, episodes=quick.evaluation.episodes) == quick.evaluation
    budgets = [(row.method, row.overrides) for row in suite.methods]
    assert len(budgets) == 8
    for method, samples, iterations in (
        ("simple-policy-cem", 50, (1, 2, 4)),
        ("simple-cem", 100, (1, 2, 3, 5, 8)),
    ):
        assert [overrides for name, overrides in budgets if name == method] == [
            (f"planner.samples={samples}", f"planner.iterations={number}") for number in iterations
        ]


def test_points_count_every_search_and_every_step() -> None:
    outcome = fabricated(
        toy(),
        {
            "guided": [record(True, 2, [4.0, 6.0]), record(False, 2, [4.0, 6.0])],
            # Two searches in six steps: 9 ms a search, 3 ms a step.
            "random": [record(False, 6, [9.0, 9.0]), record(False, 3, [9.0])],
        },
    )
    guided, random = success.points(outcome)
    assert (guided.planner, guided.samples, guided.iterations, guided.replan) == (GUIDED, 12, 1, 1)
    assert (random.planner, random.samples, random.iterations, random.replan) == (RANDOM, 12, 2, 3)
    assert (guided.ms_p50, guided.ms_per_step) == (5.0, 5.0)
    assert (random.ms_p50, random.ms_per_step) == (9.0, 3.0)
    # Two jobs of two episodes each.
    assert (guided.successes, guided.episodes, guided.success_rate) == (2, 4, 0.5)
    assert guided.ci95[0] < 0.5 < guided.ci95[1]
    assert random.successes == 0


def test_without_success_or_after_a_failure_there_are_no_points() -> None:
    nothing = {name: [record(None, 1, [1.0])] for name in ("guided", "random")}
    with pytest.raises(Unavailable, match="no success"):
        success.points(fabricated(toy(), nothing))
    plan = make_plan(toy())
    outcome = Outcome(plan, {}, dict.fromkeys(plan.jobs, "disk full"), 1.0, 2)
    with pytest.raises(Unavailable, match=f"{len(plan.jobs)} jobs failed.*disk full"):
        success.points(outcome)


@pytest.mark.parametrize(
    ("random", "reference"),
    [
        # (milliseconds, successes): guided takes 10.
        ([(20, 3), (40, 9)], 20),  # even the cheapest takes longer: it alone counts
        ([(2, 1), (5, 4), (9, 2), (11, 9)], 5),  # the best of those that are as quick
        ([(2, 1), (10, 3)], 10),  # equal time is allowed
        ([(9, 2), (3, 2)], 3),  # the cheapest of equals, whatever their order
    ],
)
def test_random_search_is_given_at_least_as_much_time(
    random: list[tuple[float, int]], reference: float
) -> None:
    guided = [point(GUIDED, 30, 20), point(GUIDED, 10, 18)]
    ours, other, limit = success.equal_time([*guided, *(point(RANDOM, *r) for r in random)])
    assert ours.ms_per_step == 10
    assert other.ms_per_step == reference
    assert limit == max(10, min(time for time, _ in random))


def test_the_row_is_in_per_cent_and_says_what_was_compared() -> None:
    row = success.compared([point(GUIDED, 10, 19), point(RANDOM, 20, 2)])
    assert (row.id, row.unit, row.rounds) == ("success_ms", "%", 20)
    assert (row.ours, row.reference, row.ratio) == pytest.approx((95, 10, 9.5))
    for part in (f"{GUIDED} 10 (10.0 ms", "within 20.0 ms", f"{RANDOM} 20", "20 episodes"):
        assert part in row.note
    assert "| success_ms | 95 % | 10 % | 9.50x |" in runner.speed_table([row])


def test_a_reference_of_zero_has_no_ratio() -> None:
    row = success.compared([point(GUIDED, 10, 19), point(RANDOM, 20, 0)])
    assert (row.reference, row.ratio) == (0, None)
    assert "no ratio" in row.note
    assert "| success_ms | 95 % | 0 % | - |" in runner.speed_table([row])


@pytest.mark.parametrize(("there", "missing"), [(GUIDED, "random CEM"), (RANDOM, "policy-guided")])
def test_one_search_alone_is_no_comparison(there: str, missing: str) -> None:
    with pytest.raises(Unavailable, match=missing):
        success.compared([point(there, 10, 1)])


def run_fabricated(
    monkeypatch: pytest.MonkeyPatch, outcome: Outcome, suite: Suite, folder: Path
) -> SpeedRow:
    monkeypatch.setattr(success, "run_suite", lambda *_, **__: outcome)
    return success.measure(suite, folder)


def test_points_and_curve_lie_beside_the_summary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = {"guided": [record(True, 1, [5.0])], "random": [record(False, 3, [9.0])]}
    row = run_fabricated(monkeypatch, fabricated(toy(), records), toy(), tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {"success_ms.json", "success_ms.png"}
    stored = json.loads((tmp_path / "success_ms.json").read_text())
    assert [p["label"] for p in stored["points"]] == ["guided", "random"]
    assert stored["row"]["note"] == row.note
    assert stored["suite"]["tasks"] == [0]
    image = (tmp_path / "success_ms.png").read_bytes()
    assert image.startswith(b"\x89PNG")
    assert len(image) < 300_000


def test_a_failed_job_leaves_a_row_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan(toy())
    outcome = Outcome(plan, {}, {"key": "no demonstrator"}, 1.0, 2)
    row = run_fabricated(monkeypatch, outcome, toy(), tmp_path)
    assert (row.ours, row.reference, row.unit) == (None, None, "%")
    assert "no demonstrator" in row.note
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_whole_way_on_the_toy_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    support = str(Path(__file__).parents[2] / "support")
    monkeypatch.setenv("PYTHONPATH", support + os.pathsep + os.environ.get("PYTHONPATH", ""))
    suite = toy(evaluation={"episodes": 2, "part": 2})
    row = success.measure(suite, tmp_path)
    assert row.rounds == 2, row.note
    stored = json.loads((tmp_path / "success_ms.json").read_text())
    for entry in stored["points"]:
        searches = 1 if entry["label"] == "guided" else 3
        assert entry["ms_p50"] <= entry["ms_p95"]
        assert entry["replan"] == searches
        assert 0 < entry["ms_per_step"] < entry["ms_p95"]

    # The same again finds its jobs, and so the same times.
    events = []
    again = success.measure(suite, tmp_path, on_event=events.append)
    assert {event.kind for event in events} == {"found"}
    assert again == row


# The rows of a folder


def told(name: str) -> SpeedRow:
    return SpeedRow(name, 1.0, 2.0, "ms", 2.0, 1, "fake")


def ids(folder: Path) -> list[str]:
    stored = json.loads((folder / "summary.json").read_text())
    return [row["id"] for row in stored["rows"]]


def test_the_row_is_registered_where_there_is_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {}

    def measure(suite: Suite, folder: Path, **how: Any) -> SpeedRow:
        given.update(how, suite=suite.name, folder=folder)
        return told("success_ms")

    monkeypatch.setattr(success, "measure", measure)
    assert "success_ms" not in runner.measures()
    rows = runner.run_speed(only=["success_ms"], folder=tmp_path, workers=3, fresh=True)
    assert rows == [told("success_ms")]
    assert given == {
        "suite": "budget", "folder": tmp_path, "workers": 3, "fresh": True, "on_event": None,
    }  # fmt: skip
    with pytest.raises(ValueError, match=r"no row is named; valid: .*success_ms"):
        runner.run_speed(only=[], folder=tmp_path)


def test_measuring_one_row_again_loses_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "measures", lambda *_, **__: dict.fromkeys("abc", told))
    runner.write_speed(tmp_path, [told("c"), told("own"), told("a")])
    assert ids(tmp_path) == ["a", "c", "own"]
    for row in runner.run_speed(only=["b"], folder=tmp_path):
        runner.write_speed(tmp_path, [row])
    assert ids(tmp_path) == ["a", "b", "c", "own"]
    changed = SpeedRow("c", 3.0, 3.0, "ms", 1.0, 1, "again")
    runner.write_speed(tmp_path, [changed])
    stored = json.loads((tmp_path / "summary.json").read_text())
    assert [row["ours"] for row in stored["rows"]] == [1.0, 1.0, 3.0, 1.0]
    # Rows of another machine are not for the same table.
    monkeypatch.setattr(runner, "machine", lambda: "another")
    runner.write_speed(tmp_path, [told("b")])
    assert ids(tmp_path) == ["b"]


def test_units_have_decimals_of_their_own() -> None:
    memory = SpeedRow("m", 12.3456, 40.0, "MB", 3.24, 1, "note")
    assert "| m | 12.35 MB | 40.00 MB | 3.24x | note |" in runner.speed_table([memory])
