"""Rows that learn from recorded episodes alone, tested while they are fitted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mbrl_agents.benchmarks.report import write_report
from mbrl_agents.benchmarks.runner import run_suite
from mbrl_agents.benchmarks.suite_files import suite_from_dict
from mbrl_agents.evaluation.checks import FIT_CHECKS_FILE, read_checks


@pytest.mark.slow
@pytest.mark.usefixtures("jobs_here")
def test_success_over_updates_is_in_the_table_the_plots_and_tensorboard(tmp_path: Path) -> None:
    policy: dict[str, Any] = {
        "method": "simple-policy",
        "check_every": 10,
        "overrides": [
            "training.model_steps=20", "training.policy_steps=20", "training.log_every=5",
            "world_model.hidden=[16]", "policy.hidden=[16]",
        ],
    }  # fmt: skip
    suite = suite_from_dict(
        {
            "name": "tiny",
            "env": "toy_reach:ToyReach-v0",
            "data": {"source": "expert", "episodes": 3},
            "evaluation": {"episodes": 2, "init": "random", "check_episodes": 3},
            "methods": ["expert", policy],
        }
    )
    outcome = run_suite(suite, tmp_path, workers=1)
    assert not outcome.failures
    entry = write_report(suite, outcome, tmp_path)["methods"][1]

    points = read_checks(tmp_path / "models" / entry["training"] / FIT_CHECKS_FILE)
    assert len(points) >= 2
    assert {point.episodes for point in points} == {3}
    assert entry["checks_count"] == "updates"
    assert entry["checks"]["0"]["success_rates"] == [point.success_rate for point in points]
    assert (tmp_path / "plots" / "fit_checks.png").stat().st_size > 1000
    # No axis of environment steps where none was taken.
    assert not (tmp_path / "plots" / "checks.png").exists()

    runs = EventAccumulator(str(tmp_path / "tensorboard" / "simple-policy-seed0")).Reload()
    told = runs.Scalars("fit_checks/success_rate")
    assert [(event.step, event.value) for event in told] == [
        (point.step, pytest.approx(point.success_rate)) for point in points
    ]
