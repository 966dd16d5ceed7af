"""A whole benchmark on the toy environment: results, resuming, failures, reports."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from mbrl_agents.benchmarks.job import stop
from mbrl_agents.benchmarks.report import _notes, write_report
from mbrl_agents.benchmarks.runner import Event, Outcome, run_suite
from mbrl_agents.benchmarks.suite import Suite
from mbrl_agents.benchmarks.suite_files import suite_from_dict
from mbrl_agents.data.collect import Collection, collect_to_folder
from mbrl_agents.data.dataset import count_episodes
from mbrl_agents.data.episode import Episode

ROWS = [
    "random",
    "expert",
    {
        "method": "simple-policy-cem",
        "overrides": ["training.model_steps=30", "training.policy_steps=30", "planner.horizon=2"],
    },
    {
        "method": "simple-policy",
        "overrides": ["training.model_steps=30", "training.policy_steps=30"],
    },
    {"method": "sb3-ppo", "steps": 64, "overrides": ["baseline.n_steps=32"]},
]


@pytest.fixture(autouse=True)
def _toy_in_children(monkeypatch: pytest.MonkeyPatch) -> None:
    support = str(Path(__file__).parent.parent / "support")
    monkeypatch.setenv("PYTHONPATH", support + os.pathsep + os.environ.get("PYTHONPATH", ""))


def toy(methods: list[Any], **changes: Any) -> Suite:
    return suite_from_dict(
        {
            "name": "toy",
            "env": "toy_reach:ToyReach-v0",
            "tasks": [0],
            "env_kwargs": {"obs": "pose"},
            "data": {"episodes": 4},
            "evaluation": {"episodes": 4, "part": 2},
            "methods": methods,
            **changes,
        }
    )


def run(suite: Suite, folder: Path, **options: Any) -> tuple[Outcome, dict[str, Any], list[Event]]:
    events: list[Event] = []
    outcome = run_suite(suite, folder, workers=2, on_event=events.append, **options)
    return outcome, write_report(suite, outcome, folder), events


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        slow = ("plan_ms", "seconds")
        return {k: without_times(v) for k, v in value.items() if not any(s in k for s in slow)}
    return [without_times(v) for v in value] if isinstance(value, list) else value


@pytest.mark.slow
def test_a_whole_benchmark(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    suite = toy(ROWS)
    folder = tmp_path / "first"
    _, summary, _ = run(suite, folder)
    rows = {row["method"]: row for row in summary["methods"]}
    assert "planner.horizon=2" in (folder / "summary.md").read_text()
    assert list(rows) == ["random", "expert", "simple-policy-cem", "simple-policy", "sb3-ppo"]
    assert {row["status"] for row in rows.values()} == {"ok"}
    assert rows["expert"]["successes"] == 4
    for row in rows.values():
        assert {"obs", "seeds", "episodes", "success_rate", "ci95", "per_task", "assets"} <= set(
            row
        )
        assert row["plan_ms_p50"] <= row["plan_ms_p95"]
    assert rows["random"]["parameters"] == 0 < rows["sb3-ppo"]["parameters"]
    assert rows["sb3-ppo"]["env_steps"] == 64
    assert rows["simple-policy"]["training"] == rows["simple-policy-cem"]["training"]

    assert json.loads((folder / "summary.json").read_text()) == summary
    lines = [json.loads(line) for line in (folder / "episodes.jsonl").read_text().splitlines()]
    assert len(lines) == 5 * 4
    assert {"suite", "method", "seed", "task", "init_state", "success", "return", "steps",
            "plan_ms", "assets", "obs"} <= set(lines[0])  # fmt: skip
    assert [x["init_state"] for x in lines if x["method"] == "simple-policy"] == [0, 1, 2, 3]
    table = (folder / "summary.md").read_text()
    assert all(f"| {name}" in table for name in rows)
    assert "Trained once, and shared: simple-policy-cem, simple-policy" in table
    assert {p.name for p in (folder / "plots").iterdir()} == {
        "success.png",
        "planning_time.png",
        "learning_curve.png",
        "learning_time.png",
    }
    _check_tensorboard(folder / "tensorboard")

    # The same again: nothing to do, and the same report.
    _, again, events = run(suite, folder)
    assert {event.kind for event in events} == {"found"}
    assert without_times(again) == without_times(summary)

    # Elsewhere from nothing, without other processes: the same table.
    request.getfixturevalue("jobs_here")
    _, elsewhere, _ = run(suite, tmp_path / "second")
    assert (summary["workers"], elsewhere["workers"]) == (2, 1)
    assert without_times({**elsewhere, "workers": 2}) == without_times(summary)


def _check_tensorboard(folder: Path) -> None:
    """A run for each trained model, and beneath a shared one a run for each row's test."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    shared = "simple-policy-cem-seed0-task0"
    alone = {f"{name}-seed0-task0" for name in ("random", "expert", "sb3-ppo")}
    assert {p.name for p in folder.iterdir()} == {shared, *alone}
    tested = [folder / shared / name for name in ("simple-policy-cem", "simple-policy")]
    assert {p for p in (folder / shared).iterdir() if p.is_dir()} == set(tested)

    def tags(run: Path) -> set[str]:
        events = EventAccumulator(str(run))
        events.Reload()
        return set(events.Tags()["scalars"])

    for run_folder in [*tested, *(folder / name for name in alone)]:
        events = EventAccumulator(str(run_folder))
        events.Reload()
        assert {"eval/success_rate", "eval/mean_reward"} <= tags(run_folder), run_folder
        assert "_hparams_/session_start_info" in events.summary_metadata, run_folder
    assert {
        "rollout/ep_rew_mean",
        "rollout/success_rate",
        "time/fps",
        "rollout/episode_return",
    } <= (tags(folder / "sb3-ppo-seed0-task0"))
    trained = tags(folder / shared)
    assert any(tag.startswith("train/") for tag in trained)
    assert "eval/success_rate" not in trained


@pytest.mark.usefixtures("jobs_here")
def test_a_failing_row_costs_no_other(tmp_path: Path) -> None:
    # Without a demonstrator neither the expert nor the data work; random does.
    rows = ["random", "expert", "simple-policy"]
    suite = toy(rows, env_kwargs={"obs": "pose", "has_expert": False})
    outcome, summary, events = run(suite, tmp_path)
    status = {row["method"]: row["status"] for row in summary["methods"]}
    assert status == {"random": "ok", "expert": "failed", "simple-policy": "failed"}
    failed = next(row for row in summary["methods"] if row["method"] == "simple-policy")
    assert "collect" in failed["error"]
    assert "demonstrator" in failed["error"]
    assert "simple-policy failed: " in (tmp_path / "summary.md").read_text()
    assert any(e.kind == "failed" and "demonstrator" in e.detail for e in events)
    kinds = {outcome.plan.jobs[key].kind for key in outcome.failures}
    assert kinds == {"collect", "train", "evaluate"}

    # What failed is tried again, what worked is not.
    _, _, events = run(suite, tmp_path)
    assert {e.job.kind for e in events if e.kind == "started"} == {"collect", "evaluate"}
    assert not any("random" in e.job.title for e in events if e.kind == "started")


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_benchmark_leaves_no_process(how: signal.Signals, tmp_path: Path) -> None:
    suite = toy(["simple-policy"], data={"episodes": 100_000})
    script = (
        "import sys\n"
        "from mbrl_agents.benchmarks.runner import run_suite\n"
        "from mbrl_agents.benchmarks.suite_files import load_suite\n"
        "run_suite(load_suite(sys.argv[1]), sys.argv[2], workers=2)\n"
    )
    own = tmp_path / "toy.yaml"
    own.write_text(yaml.safe_dump(suite.to_dict()))
    folder = tmp_path / "out"
    process = subprocess.Popen([sys.executable, "-c", script, str(own), str(folder)])
    deadline = time.monotonic() + 60
    while not list(folder.glob("data/*/data/*.parquet")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(how)
    killed = how == signal.SIGKILL
    assert process.wait(30) == (-how if killed else 128 + how)
    # A killed one could not wait for its jobs: they notice, save what is finished, and end.
    deadline = time.monotonic() + 30 * killed
    while (left := _naming(folder)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left


def test_a_stopped_job_keeps_its_finished_episodes(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGTERM, stop)

    def end(episode: Episode) -> None:
        if episode.info["number"] == 2:
            signal.raise_signal(signal.SIGTERM)

    collection = Collection("toy_reach:ToyReach-v0", episodes=50)
    try:
        with pytest.raises(SystemExit) as caught:
            collect_to_folder(tmp_path, collection, workers=2, on_episode=end)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert caught.value.code == 128 + signal.SIGTERM
    assert count_episodes(tmp_path) == 3


def _naming(folder: Path) -> list[Path]:
    """Processes that a folder was given to."""
    found = Path("/proc").glob("[0-9]*/cmdline")
    return [entry for entry in found if str(folder).encode() in _read(entry)]


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:  # the process has just ended
        return b""


def test_notes_say_what_a_row_was_given() -> None:
    suite = toy(
        [{"method": "sb3-sac-demos", "steps": "data", "overrides": ["baseline.train_freq=8"]}]
    )
    notes = _notes(suite.methods[0])
    assert any("1 per 8" in note for note in notes)
    assert any("demonstrations" in note for note in notes)


@pytest.mark.usefixtures("jobs_here")
def test_fresh_forgets(tmp_path: Path) -> None:
    suite = toy(["random"])
    run(suite, tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    _, _, events = run(suite, tmp_path, fresh=True)
    assert "started" in {event.kind for event in events}
    assert (tmp_path / "notes.txt").read_text() == "mine"
