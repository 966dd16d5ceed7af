"""`mbrl bench family`: what the suite holds, and a tiny version of it from jobs to the table."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_methods import small_settings
from typer.testing import CliRunner

from mbrl_agents.benchmarks.plan import make_plan
from mbrl_agents.benchmarks.report import write_report
from mbrl_agents.benchmarks.runner import run_suite
from mbrl_agents.benchmarks.suite import Suite
from mbrl_agents.benchmarks.suite_files import load_suite, suite_from_dict
from mbrl_agents.cli.main import app
from mbrl_agents.evaluation.imagined import Windows, unexplained
from mbrl_agents.evaluation.statistics import mean_interval
from mbrl_agents.registry import METHODS

CATCH, REACH, CARTPOLE, PENDULUM = "mbrl/Catch-v0", "mbrl/Reach-v0", "CartPole-v1", "Pendulum-v1"


def test_every_system_runs_where_it_can_read_what_is_shown() -> None:
    suite = load_suite("family")
    dreamers = {"dreamer-v1", "dreamer-v2", "dreamer", "sb3-ppo", "random"}
    images, vectors = {"world-models", "iris"}, {"mbpo", "dreamer-lite"}
    found = {env: {row.method for row in suite.rows(env)} for env in suite.environments}
    assert found == {
        CATCH: dreamers | images | {"sb3-dqn"},
        REACH: dreamers | images | {"sb3-sac"},
        CARTPOLE: dreamers | vectors | {"sb3-dqn"},
        PENDULUM: dreamers | vectors | {"sb3-sac"},
    }
    plan = make_plan(suite)
    for env in suite.environments:
        cells = [cell for cell in plan.cells if cell.env == env]
        # Every world model of a task is tested on one collection, which trains none: as it was
        # trained, so once where another row tests it on images of zeros too.
        looks = [plan.jobs[cell.imagination] for cell in cells if cell.imagination]
        assert len({look.needs[1] for look in looks}) == 1
        assert {METHODS[c.row.method].kind for c in cells if c.imagination} == {"agent"}
        blank = [c for c in cells if c.row.test_env_kwargs]
        assert len(blank) == 3 * (env == CATCH)
        assert all(
            bool(c.imagination) == (c not in blank)
            for c in cells
            if METHODS[c.row.method].kind == "agent"
        )
        assert not any(c.row.checked for c in blank)
        trained = [plan.jobs[cell.training] for cell in cells if cell.training]
        assert not {looks[0].needs[1]} & {need for one in trained for need in one.needs}


def test_a_row_with_fewer_seeds_has_fewer_cells() -> None:
    rows = ["random", {"method": "sb3-ppo", "steps": 8, "seeds": 1}]
    suite = suite_from_dict({"name": "s", "env": CARTPOLE, "seeds": [4, 5], "methods": rows})
    assert [(c.row.method, c.seed) for c in make_plan(suite).cells] == [
        ("random", 4), ("sb3-ppo", 4), ("random", 5),
    ]  # fmt: skip
    rows[1]["seeds"] = 3  # type: ignore[index]
    with pytest.raises(ValueError, match="seeds is 3, but the suite has 2"):
        suite_from_dict({"name": "s", "env": CARTPOLE, "seeds": [4, 5], "methods": rows})


def test_a_slow_row_is_tested_on_the_first_episodes_alone() -> None:
    rows = ["random", {"method": "sb3-ppo", "steps": 8, "tests": 2}]
    suite = {"name": "s", "env": CARTPOLE, "evaluation": {"episodes": 5}, "methods": rows}

    def tested(**changes: Any) -> list[tuple[str, int, int]]:
        plan = make_plan(suite_from_dict({**suite, **changes}))
        specs = [job.spec for job in plan.jobs.values() if job.kind == "evaluate"]
        return [(spec["method"], spec["first"], spec["last"]) for spec in specs]

    assert tested() == [("random", 0, 5), ("sb3-ppo", 0, 2)]
    assert tested(evaluation={"episodes": 1}) == [("random", 0, 1), ("sb3-ppo", 0, 1)]
    rows[1]["tests"] = 0  # type: ignore[index]
    with pytest.raises(ValueError, match="tests of sb3-ppo must be at least 1"):
        suite_from_dict(suite)


def tiny() -> Suite:
    """The suite with every method once, on the first environment that it runs on."""
    suite, rows, seen = load_suite("family"), [], set()
    small = {
        "sb3-ppo": ["baseline.n_steps=32", "baseline.batch_size=32", "baseline.n_epochs=1"],
        "sb3-dqn": ["baseline.learning_starts=10", "baseline.buffer_size=100"],
        "sb3-sac": ["baseline.learning_starts=10", "baseline.buffer_size=100"],
    }
    for row in suite.methods:
        if row.method in seen:
            continue
        seen.add(row.method)
        overrides = small.get(row.method, [])
        if METHODS[row.method].kind == "agent":
            overrides = [
                f"{section}.{name}={json.dumps(value)}"
                for section, values in small_settings(row.method).items()
                for name, value in values.items()
            ]
            overrides += [f"training.random_steps={START}", *STARTS.get(row.method, [])]
        steps = STEPS if row.steps else 0
        rows.append(replace(row, steps=steps, overrides=tuple(overrides), seeds=1))
    assert suite.imagination is not None
    return replace(
        suite,
        seeds=(0,),
        methods=tuple(rows),
        evaluation=replace(suite.evaluation, episodes=2),
        imagination=replace(suite.imagination, episodes=2, horizon=4),
    )


START, STEPS = 20, 40
STARTS = {
    "dreamer": ["training.learning_starts=20", "training.train_ratio=2"],
    "dreamer-v1": ["training.learning_starts=20", "training.train_every=10"],
    "dreamer-v2": ["training.train_every=10", "training.pretrain=1"],
    "iris": [
        *(f"training.{part}_start=20" for part in ("tokenizer", "world_model", "actor_critic")),
        *(f"training.{part}_updates=1" for part in ("tokenizer", "world_model", "actor_critic")),
        "training.train_every=10", "world_model.levels=4",
    ],
    "mbpo": ["training.first_updates=2", "training.rollouts=20"],
    "dreamer-lite": [],
    "world-models": ["training.vision_updates=2", "training.memory_updates=2"],
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.usefixtures("jobs_here")
def test_a_tiny_family_from_jobs_to_the_table(tmp_path: Path) -> None:
    suite = tiny()
    outcome = run_suite(suite, tmp_path)
    assert not outcome.failures, outcome.failures
    summary = write_report(suite, outcome, tmp_path)
    rows = {row["method"]: row for row in summary["methods"]}
    assert {row["method"] for row in summary["methods"]} == {row.method for row in suite.methods}
    for name, row in rows.items():
        agent, trained = METHODS[name].kind == "agent", name != "random"
        low, high = row["return_ci95"]
        assert low <= row["return_mean"] <= high
        assert bool(row["parameters"]) == trained
        assert bool(row["updates"]) == trained, name
        assert all(x["updates"] >= 1 and x["seconds"] > 0 for x in row["updates"].values())
        assert (row["imagination"] is not None) == agent
        if agent:
            assert row["env_steps"] >= STEPS
            assert len(row["imagination"]["per_step"]) == row["imagination"]["horizon"]
            assert row["imagination"]["mean"] > 0
    # All that learned from images imagined the same episodes: the last one kept is as wrong.
    stills = [r["imagination"]["still_mean"] for r in rows.values() if r["imagination"]]
    assert len(set(stills)) == len({r["env"] for r in rows.values() if r["imagination"]})
    table = (tmp_path / "summary.md").read_text()
    for title in ("95 % of the mean", "imagined, mean / last step", "ms an update", "## Returns"):
        assert title in table
    plots = {path.name for path in (tmp_path / "plots").iterdir()}
    for kind in ("learning_curve", "learning_time", "imagination"):
        assert f"{kind}-mbrl-Catch-v0.png" in plots
    # World Models learn by generations: their curve is what the search met in the environment.
    curve = tmp_path / "models" / rows["world-models"]["training"] / "learning_curve.csv"
    steps = [int(line.split(",")[0]) for line in curve.read_text().splitlines()[1:]]
    assert steps == sorted(set(steps))
    assert steps[-1] <= rows["world-models"]["env_steps"]
    # Given again it finds everything finished.
    kinds: list[str] = []
    run_suite(suite, tmp_path, on_event=lambda event: kinds.append(event.kind))
    assert set(kinds) == {"found"}


def test_an_unknown_field_of_imagination_is_named() -> None:
    raw = {"name": "s", "env": CARTPOLE, "methods": ["random"], "imagination": {"horizn": 3}}
    with pytest.raises(ValueError, match="did you mean 'horizon'"):
        suite_from_dict(raw)
    raw["imagination"] = {"horizon": 0}
    with pytest.raises(ValueError, match=r"imagination\.horizon must be at least 1"):
        suite_from_dict(raw)


def test_family_is_a_suite_that_the_command_knows() -> None:
    help_text = CliRunner().invoke(app, ["bench", "--help"]).output
    assert "family" in help_text


def windows(truth: dict[str, np.ndarray], imagined: dict[str, np.ndarray]) -> Windows:
    count, steps = next(iter(truth.values())).shape[:2]
    none = np.zeros(count, int)
    return Windows(none, none, none + steps, 1, truth, truth, imagined, {})


def test_unexplained_variance_is_0_when_right_and_1_for_the_mean() -> None:
    rng = np.random.default_rng(0)
    # Numbers of very different sizes count alike, one that never changes not at all.
    truth = rng.normal(size=(6, 4, 3)) * [1.0, 1000.0, 0.0] + [0.0, 5.0, 7.0]
    assert unexplained(windows({"x": truth}, {"x": truth}))["mean"] == 0.0
    mean = np.broadcast_to(truth[:, 1:].mean((0, 1)), truth.shape)
    found = unexplained(windows({"x": truth}, {"x": mean}))
    assert found["mean"] == pytest.approx(1.0)
    assert len(found["per_step"]) == found["horizon"] == 3
    one = truth.copy()
    one[..., 1] = mean[..., 1]
    assert unexplained(windows({"x": truth}, {"x": one}))["mean"] == pytest.approx(0.5)
    # Independent draws: keeping the last one is twice as wrong as the mean.
    long = rng.normal(size=(400, 6, 1))
    assert unexplained(windows({"x": long}, {"x": long}))["still_mean"] == pytest.approx(2, abs=0.2)
    # Beyond the end of an episode nothing counts.
    cut = truth.copy()
    cut[0, 2:] = np.nan
    assert unexplained(windows({"x": cut}, {"x": truth}))["mean"] == 0.0
    still = np.ones((2, 3, 1))
    with pytest.raises(ValueError, match="nothing in these episodes varies"):
        unexplained(windows({"x": still}, {"x": still}))


def test_an_image_counts_as_a_whole() -> None:
    rng = np.random.default_rng(0)
    truth = np.zeros((5, 3, 4, 4, 3))
    truth[..., 0, 0, :] = rng.random((5, 3, 3))
    guess = truth.copy()
    guess[..., 3, 3, :] += 0.1  # where nothing ever changes an error counts too
    found = unexplained(windows({"image": truth}, {"image": guess}))
    variance = truth[:, 1:].reshape(-1, 48).var(0).mean()
    assert found["mean"] == pytest.approx(0.01 * 3 / 48 / variance, rel=1e-4)


def test_an_interval_of_a_mean_is_students() -> None:
    low, high = mean_interval([1.0, 2.0, 3.0])
    assert (low + high) / 2 == 2.0
    assert high - 2.0 == pytest.approx(4.302653 / math.sqrt(3))
    assert mean_interval([5.0]) == (5.0, 5.0)
    with pytest.raises(ValueError, match="no values"):
        mean_interval([])
