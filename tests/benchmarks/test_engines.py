"""A suite on a Ray cluster of two nodes on this machine: the table of one machine."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from ray_nodes import two_nodes
from typer.testing import CliRunner

from mbrl_agents.benchmarks.engines import make_engine
from mbrl_agents.benchmarks.report import write_report
from mbrl_agents.benchmarks.runner import Event, run_suite
from mbrl_agents.benchmarks.suite_files import suite_from_dict
from mbrl_agents.cli.main import app

pytest.importorskip("ray")
pytestmark = [pytest.mark.slow, pytest.mark.cluster]

SUITE = {
    "name": "toy",
    "env": "toy_reach:ToyReach-v0",
    "tasks": [0],
    "env_kwargs": {"obs": "pose"},
    "data": {"episodes": 4},
    "evaluation": {"episodes": 4, "part": 2},
    "methods": [
        {
            "method": method,
            "overrides": ["training.model_steps=30", "training.policy_steps=30"],
        }
        for method in ("simple-policy-cem", "simple-cem")
    ]
    + [{"method": "sb3-ppo", "steps": 3000, "overrides": ["baseline.n_steps=32"]}],
}


def figures(summary: dict[str, Any]) -> Any:
    return [
        (row["method"], row["parameters"], row["episodes"], row["return_mean"])
        for row in summary["methods"]
    ]


def test_a_suite_of_which_a_node_is_killed_ends_with_the_same_table(tmp_path: Path) -> None:
    suite = suite_from_dict(SUITE)
    folder = tmp_path / "there"
    with two_nodes() as (cluster, second):
        here = write_report(suite, run_suite(suite, tmp_path / "here"), tmp_path / "here")
        at_work = threading.Event()

        def kill() -> None:
            at_work.wait(300)
            cluster.remove_node(second, allow_graceful=False)

        def tell(event: Event) -> None:
            # As soon as the second node has said that it works on a job.
            if event.kind == "started":
                threading.Thread(target=watch, args=(event.job.key,), daemon=True).start()

        def watch(key: str) -> None:
            log = folder / "logs" / f"{key}.log"
            while not at_work.wait(0.05):
                if f"# node {second.node_id}" in log.read_text(encoding="utf-8"):
                    at_work.set()

        killer = threading.Thread(target=kill, daemon=True)
        killer.start()
        outcome = run_suite(suite, folder, workers=0, engine="ray", on_event=tell)
        assert at_work.is_set()
        killer.join(120)
    there = write_report(suite, outcome, folder)
    assert [row["status"] for row in there["methods"]] == ["ok"] * 3
    assert figures(there) == figures(here)
    logs = [path.read_text(encoding="utf-8") for path in (folder / "logs").glob("*.log")]
    assert any(log.count("# node ") > 1 for log in logs), "no job was lost with the node"


def test_speed_is_measured_here_alone() -> None:
    result = CliRunner().invoke(app, ["bench", "speed", "--engine", "ray"])
    assert result.exit_code == 2
    assert "leave --engine out" in result.stderr


def test_engines_that_cannot_work_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown engine 'slurm'; valid: local, ray"):
        make_engine("slurm", tmp_path, 2)
    with pytest.raises(ValueError, match="workers must be at least 1"):
        make_engine("local", tmp_path, 0)
