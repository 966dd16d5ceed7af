"""Suites: reading, checking, changing; and the jobs they become."""

from __future__ import annotations

import importlib.resources
from pathlib import Path
from typing import Any

import pytest
import yaml

from mbrl_agents import config
from mbrl_agents.benchmarks import plan as planning
from mbrl_agents.benchmarks import table
from mbrl_agents.benchmarks.plan import BenchmarkPlan, Job, make_plan
from mbrl_agents.benchmarks.suite_files import SUITES_FOLDER, load_suite, suite_from_dict

BASE: dict[str, Any] = {
    "name": "test",
    "env": "toy_reach:ToyReach-v0",
    "methods": ["random", "simple-policy-cem", "simple-policy", "simple-cem"],
}
CARTPOLE, PENDULUM = "CartPole-v1", "Pendulum-v1"
SEVERAL: dict[str, Any] = {
    "name": "several",
    "envs": [CARTPOLE, PENDULUM],
    "methods": [
        "random",
        {"method": "sb3-ppo", "steps": 100},
        {"method": "sb3-sac", "steps": 100, "envs": [PENDULUM]},
    ],
}


def plan_of(**changes: Any) -> BenchmarkPlan:
    return make_plan(suite_from_dict({**BASE, **changes}))


def kinds(plan: BenchmarkPlan) -> dict[str, int]:
    found = [job.kind for job in plan.jobs.values()]
    return {kind: found.count(kind) for kind in ("collect", "train", "evaluate")}


@pytest.mark.parametrize("path", sorted(SUITES_FOLDER.glob("*.yaml")), ids=lambda p: p.stem)
def test_own_suites_are_valid(path: Path) -> None:
    assert make_plan(load_suite(path.stem)).jobs


def test_methods_with_the_same_trained_parts_share_one_training() -> None:
    plan = plan_of()
    assert kinds(plan) == {"collect": 1, "train": 1, "evaluate": 7}
    trainings = {cell.row.name: cell.training for cell in plan.cells}
    assert trainings["random"] is None
    shared = {trainings[name] for name in ("simple-policy-cem", "simple-policy", "simple-cem")}
    assert len(shared) == 1
    (key,) = shared
    assert plan.jobs[str(key)].spec["method"] == "simple-policy-cem"


def test_other_model_settings_are_trained_apart_but_other_planner_settings_are_not() -> None:
    def row(**more: Any) -> dict[str, Any]:
        return {"method": "simple-policy-cem", **more}

    apart = [row(), row(label="big", overrides=["world_model.ensemble=5"])]
    assert kinds(plan_of(methods=apart))["train"] == 2
    actor = {"method": "dreamer-actor-cem"}
    apart = [actor, {**actor, "label": "long", "overrides": ["imagination.imagination=20"]}]
    assert kinds(plan_of(methods=apart))["train"] == 2
    together = [row(), row(label="long", overrides=["planner.horizon=7"])]
    assert kinds(plan_of(methods=together)) == {"collect": 1, "train": 1, "evaluate": 4}


def test_a_job_key_changes_with_what_decides_its_result_only() -> None:
    first = plan_of()
    assert plan_of(name="other").jobs.keys() == first.jobs.keys()
    more_data = plan_of(data={"episodes": 7})
    random = next(c for c in more_data.cells if c.row.name == "random")
    assert random.evaluations[0] in first.jobs
    agent = next(c for c in more_data.cells if c.row.name == "simple-cem")
    assert agent.training not in first.jobs
    assert not set(agent.evaluations) & first.jobs.keys()


def test_a_changed_default_of_a_method_reruns_what_reads_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def keys(method: str, kind: str) -> set[str]:
        jobs = plan_of(methods=[method]).jobs
        return {key for key, job in jobs.items() if job.kind == kind}

    def set_default(setting: str, value: Any) -> None:
        def changed(package: str) -> dict[str, Any]:
            found = presets(package)
            return {**found, "cem": {**found["cem"], setting: value}} if found else found

        monkeypatch.setattr(config, "_presets", changed)

    presets = config._presets
    trained, evaluated = keys("simple-cem", "train"), keys("simple-cem", "evaluate")
    reference = keys("random", "evaluate")
    set_default("planner.horizon", 33)
    assert keys("simple-cem", "train") == trained  # the search alone reads it
    assert not keys("simple-cem", "evaluate") & evaluated
    set_default("training.model_steps", 7)
    assert not keys("simple-cem", "train") & trained
    assert keys("random", "evaluate") == reference


def test_a_preset_and_the_same_values_written_out_are_one_job() -> None:
    def keys(*overrides: str) -> set[str]:
        row = {"method": "dreamer", "steps": 10, "overrides": list(overrides)}
        return set(plan_of(methods=[row]).jobs)

    preset = yaml.safe_load(
        importlib.resources.files("mbrl_agents.algorithms.dreamer_v3")
        .joinpath("presets.yaml")
        .read_text()
    )["cpu"]
    written = [f"{part}.{name}={value}" for part in preset for name, value in preset[part].items()]
    assert keys("preset=cpu") == keys(*written)
    assert not keys("preset=cpu") & keys("preset=cpu", "world_model.bins=31")


def test_another_version_finds_no_old_results(monkeypatch: pytest.MonkeyPatch) -> None:
    before = plan_of().jobs.keys()
    for name, value in (("__version__", "99"), ("RESULTS_VERSION", 99)):
        with monkeypatch.context() as patch:
            patch.setattr(planning, name, value)
            assert not before & plan_of().jobs.keys()


def test_baselines_wait_for_the_data_only_where_they_read_them() -> None:
    rows = [
        {"method": "sb3-sac", "steps": "data"},
        {"method": "sb3-ppo", "steps": 100},
        {"method": "sb3-sac-demos", "steps": 100},
    ]
    plan = plan_of(methods=rows)
    needs = {
        job.spec["method"]: len(job.needs) for job in plan.jobs.values() if job.kind == "train"
    }
    assert needs == {"sb3-sac": 1, "sb3-ppo": 0, "sb3-sac-demos": 1}


def test_tasks_seeds_and_parts_multiply() -> None:
    plan = plan_of(tasks=[0, 1], seeds=[0, 1, 2], evaluation={"episodes": 5, "part": 2})
    assert kinds(plan) == {"collect": 2, "train": 6, "evaluate": 6 * (1 + 3 * 3)}
    cell = plan.cells[1]
    spans = [plan.jobs[k].spec for k in cell.evaluations]
    assert [(s["first"], s["last"]) for s in spans] == [(0, 2), (2, 4), (4, 5)]


def test_every_row_runs_on_every_environment_unless_it_says_where() -> None:
    suite = suite_from_dict({**SEVERAL, "targets": {CARTPOLE: 475}, "seeds": [0, 1]})
    assert suite.environments == (CARTPOLE, PENDULUM)
    assert suite.targets == {CARTPOLE: 475.0}
    plan = make_plan(suite)
    cells = {(cell.env, cell.row.name) for cell in plan.cells}
    assert cells == {
        *((env, name) for env in (CARTPOLE, PENDULUM) for name in ("random", "sb3-ppo")),
        (PENDULUM, "sb3-sac"),
    }
    assert kinds(plan) == {"collect": 0, "train": 6, "evaluate": 10}
    for cell in plan.cells:
        jobs = [cell.training, *cell.evaluations]
        assert {plan.jobs[key].spec["env_id"] for key in jobs if key} == {cell.env}
    assert any(PENDULUM in job.title for job in plan.jobs.values())


def test_checks_are_part_of_a_training_where_a_row_asks_for_them() -> None:
    rows = [
        {"method": "sb3-ppo", "steps": 100, "envs": [CARTPOLE], "check_every": 20},
        {"method": "sb3-ppo", "label": "unchecked", "steps": 100, "envs": [CARTPOLE]},
    ]
    plan = make_plan(suite_from_dict({**SEVERAL, "methods": rows}))
    checked, not_checked = (plan.jobs[cell.training].spec for cell in plan.cells)
    assert checked.pop("checks") == [20, 20]
    assert "checks" not in not_checked
    assert checked == not_checked
    fewer = {**SEVERAL, "methods": rows, "evaluation": {"check_episodes": 7}}
    plan = make_plan(suite_from_dict(fewer))
    assert plan.jobs[plan.cells[0].training].spec["checks"] == [20, 7]


LIBERO: dict[str, Any] = {
    "name": "views",
    "env": "mbrl/LiberoSpatial-v0",
    "tasks": [2, 7],
    "multitask": True,
    "env_kwargs": {"obs": "pose", "assets": "primitive"},
    "methods": ["simple-policy", {"method": "dreamer-policy", "env_kwargs": {"obs": "image"}}],
}


def test_episodes_that_rows_see_in_two_ways_are_recorded_once() -> None:
    plan = make_plan(suite_from_dict(LIBERO))
    collections = [job for job in plan.jobs.values() if job.kind == "collect"]
    by_obs: dict[str, list[Job]] = {"image": [], "pose": []}
    for job in collections:
        by_obs[job.spec["env_kwargs"]["obs"]].append(job)
    assert len(collections) == 4
    for images, poses in zip(by_obs["image"], by_obs["pose"], strict=True):
        assert images.spec["views"] == {"pose": poses.key}
        assert poses.after == (images.key,)
        assert not poses.needs  # where images cannot be drawn, poses can be recorded all the same
        assert "views" not in poses.spec
    # What of a row is done before is found again beside any other rows.
    for method in LIBERO["methods"]:
        alone = make_plan(suite_from_dict({**LIBERO, "methods": [method]}))
        assert alone.jobs.keys() < plan.jobs.keys()
        assert not any("views" in job.spec or job.after for job in alone.jobs.values())


@pytest.mark.parametrize(
    "change",
    [
        # It shows one thing at a time.
        {"env": "mbrl/Reach-v0", "tasks": None, "multitask": False, "env_kwargs": {"obs": "pose"}},
        # Other physics too: other episodes.
        {"methods": [*LIBERO["methods"][:1], {"method": "dreamer-policy", "env_kwargs":
            {"obs": "image", "disturbance": "physics"}}]},
    ],
)  # fmt: skip
def test_other_episodes_are_recorded_apart(change: dict[str, Any]) -> None:
    plan = make_plan(suite_from_dict({**LIBERO, **change}))
    collections = [job for job in plan.jobs.values() if job.kind == "collect"]
    assert len({job.spec["env_kwargs"]["obs"] for job in collections}) == 2
    assert not any("views" in job.spec or job.after for job in collections)


def test_a_row_that_is_checked_is_trained_with_checks_of_its_own_acting() -> None:
    def trainings(*checked: str) -> dict[str, str | None]:
        names = ("simple-policy-cem", "simple-policy", "simple-cem")
        rows = [
            {"method": name, **({"check_every": 5} if name in checked else {})} for name in names
        ]
        plan = plan_of(methods=rows)
        for cell in plan.cells:
            assert cell.training is not None
            checks = plan.jobs[cell.training].spec.get("checks")
            assert cell.row.method not in checked or checks == [5, 20]
        return {cell.row.method: cell.training for cell in plan.cells}

    assert len(set(trainings().values())) == 1
    found = trainings("simple-policy-cem", "simple-policy")
    assert found["simple-policy"] != found["simple-policy-cem"]
    # Who is not checked takes weights wherever they are: they are the same.
    assert found["simple-cem"] == found["simple-policy-cem"]


def test_what_held_is_told_of_the_seeds() -> None:
    def seed(held_at: int | None, last: bool) -> dict[str, Any]:
        return {"held_at": held_at, "held_at_the_end": last, "points": []}

    found = {"0": seed(1500, True), "1": seed(2500, False), "2": seed(None, False)}
    assert table._held(found) == "2 of 3 seeds, median by 1,500 steps; at the end 1"
    assert table._held({"0": seed(None, False)}) == "0 of 1 seeds"
    assert table._held(None) == "-"


def test_one_name_may_have_other_settings_on_another_environment() -> None:
    rows = [
        {"method": "sb3-ppo", "steps": 100, "envs": [CARTPOLE]},
        {"method": "sb3-ppo", "steps": 200, "envs": [PENDULUM]},
    ]
    plan = make_plan(suite_from_dict({**SEVERAL, "methods": rows}))
    steps = {job.spec["env_id"]: job.spec["steps"] for job in plan.jobs.values()
             if job.kind == "train"}  # fmt: skip
    assert steps == {CARTPOLE: 100, PENDULUM: 200}
    with pytest.raises(ValueError, match="label to: sb3-ppo"):
        suite_from_dict({**SEVERAL, "methods": [rows[0], {**rows[1], "envs": []}]})


def test_an_environment_of_several_gives_the_jobs_of_a_suite_of_its_own() -> None:
    alone = {**SEVERAL, "env": PENDULUM, "envs": []}
    keys = make_plan(suite_from_dict(alone)).jobs.keys()
    assert keys < make_plan(suite_from_dict(SEVERAL)).jobs.keys()


def test_a_resolved_suite_reads_back_as_itself(tmp_path: Path) -> None:
    for suite in (suite_from_dict(SEVERAL), suite_from_dict(BASE)):
        path = tmp_path / "suite.yaml"
        path.write_text(yaml.safe_dump(suite.to_dict()))
        assert load_suite(str(path)) == suite


def test_long_chains_come_first() -> None:
    plan = plan_of()
    priorities = plan.priorities()
    by_kind = {job.kind: priorities[key] for key, job in plan.jobs.items()}
    assert by_kind["collect"] > by_kind["train"] > by_kind["evaluate"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"methods": ["simple-cme"]}, "did you mean 'simple-cem'"),
        ({"methods": []}, "at least one method"),
        ({"methods": ["random", "random"]}, "label"),
        ({"methods": [{"method": "random", "stpes": 3}]}, "did you mean 'steps'"),
        ({"methods": [{"method": "sb3-sac"}]}, "needs steps"),
        ({"methods": [{"method": "sb3-sac", "steps": 9, "check_every": -1}]}, "check_every"),
        ({"methods": [{"method": "random", "check_every": 5}]}, "no training to check"),
        ({"methods": [{"method": "sb3-sac", "steps": "all"}]}, "a number or 'data'"),
        ({"methods": [{"method": "simple-cem", "overrides": ["planner.horzon=3"]}]}, "horizon"),
        ({"evaluation": {"episodes": 0}}, "at least 1"),
        ({"evaluation": {"check_episodes": 0}}, "check_episodes"),
        ({"tasts": [3]}, "did you mean 'tasks'"),
        ({"env": [CARTPOLE]}, "several go into the field 'envs'"),
        ({"env": ""}, "field 'env' or a list in the field 'envs'"),
        ({"envs": [CARTPOLE]}, "field 'env' or a list in the field 'envs'"),
        ({"env": "", "envs": CARTPOLE}, "list of Gymnasium ids"),
        ({"env": "", "envs": [CARTPOLE, CARTPOLE]}, "twice"),
        (
            {"methods": [{"method": "random", "envs": ["toy_reach:ToyRech-v0"]}]},
            "unknown environment of random.*did you mean 'toy_reach:ToyReach-v0'",
        ),
        ({"methods": [{"method": "random", "envs": CARTPOLE}]}, "list of Gymnasium ids"),
        ({"targets": {CARTPOLE: 475}}, "unknown environment of targets"),
        ({"targets": {"toy_reach:ToyReach-v0": "high"}}, "must be a number"),
        ({"targets": 3}, "a return for each environment"),
        ({"data": 3}, "fields"),
        ({"env_kwargs": {"init": "benchmark"}}, "test set"),
        (
            {"methods": [{"method": "random", "env_kwargs": {"init": "benchmark"}}]},
            "test set",
        ),
    ],
)
def test_mistakes_are_answered_with_what_is_right(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plan_of(**change)


def test_suites_are_found_by_name_or_file_and_changed_by_overrides(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump({k: v for k, v in BASE.items() if k != "name"}))
    suite = load_suite(str(path), ["evaluation.episodes=3", "seeds=[4,5]"], ["random"])
    assert (suite.name, suite.evaluation.episodes, suite.seeds) == ("own", 3, (4, 5))
    assert [row.name for row in suite.methods] == ["random"]
    with pytest.raises(ValueError, match="row of own"):
        load_suite(str(path), methods=["rnadom"])
    with pytest.raises(FileNotFoundError, match="quick"):
        load_suite("quikc")
    with pytest.raises(ValueError, match="KEY=VALUE"):
        load_suite(str(path), ["fast"])
    path.write_text("- 1\n")
    with pytest.raises(ValueError, match="fields of a suite"):
        load_suite(str(path))
