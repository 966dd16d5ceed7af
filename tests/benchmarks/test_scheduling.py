"""Which jobs run beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from mbrl_agents.benchmarks.job import write_json
from mbrl_agents.benchmarks.plan import BenchmarkPlan, Job
from mbrl_agents.benchmarks.runner import _Scheduler


class Engine:
    """Ends every job after a few looks at it, and notes what ran beside it."""

    def __init__(self, workers: int, failing: str = "") -> None:
        self.workers = self.width = workers
        self.failing = failing
        self.running: list[str] = []
        self.seen: list[tuple[str, bool, tuple[str, ...]]] = []

    def start(self, folder: Path, key: str, log: Path, *, wide: bool) -> Any:
        self.seen.append((key, wide, tuple(self.running)))
        self.running.append(key)
        return Run(self, folder, key)

    def stop(self, running: Any) -> None:
        assert not list(running)


class Run:
    def __init__(self, engine: Engine, folder: Path, key: str) -> None:
        self.engine, self.folder, self.key, self.looks = engine, folder, key, 0

    def poll(self) -> int | None:
        self.looks += 1
        if self.looks < 3:
            return None
        self.engine.running.remove(self.key)
        if self.key == self.engine.failing:
            return 1
        write_json(self.folder / "jobs" / f"{self.key}.json", {})
        return 0


def schedule(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    workers: int,
    collections: int,
    costs: Sequence[float] = (),
) -> tuple[list[tuple[str, bool, tuple[str, ...]]], dict[str, str]]:
    """What an engine was asked for; titles by key.  A training follows each collection."""
    monkeypatch.setattr("mbrl_agents.benchmarks.runner._POLL_SECONDS", 0.0)
    jobs = []
    for number in range(collections):
        first = Job("collect", f"collect {number}", {"n": number}, cost=60.0, wide=True)
        cost = costs[number] if costs else 120.0
        jobs += [first, Job("train", f"train {number}", {"n": number}, (first.key,), cost)]
    for name in ("jobs", "logs"):
        (tmp_path / name).mkdir()
    engine = Engine(workers)
    plan = BenchmarkPlan({job.key: job for job in jobs}, ())
    outcome = _Scheduler(plan, tmp_path, engine, "cpu", lambda event: None).run()
    assert len(outcome.results) == 2 * collections
    return engine.seen, {job.key: job.title for job in jobs}


def test_a_single_collection_has_all_processors_for_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, titles = schedule(tmp_path, monkeypatch, workers=2, collections=1)
    assert [(titles[key], wide, beside) for key, wide, beside in seen] == [
        ("collect 0", True, ()),
        ("train 0", False, ()),
    ]


def test_as_many_collections_as_processors_run_beside_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, titles = schedule(tmp_path, monkeypatch, workers=2, collections=3)
    assert not any(wide for _, wide, _ in seen[:2])
    assert len(seen[1][2]) == 1
    # Whatever had all processors had them alone, and nobody else was let in beside it.
    for key, wide, beside in seen:
        assert not (wide and beside)
        assert all(not other_wide for other, other_wide, _ in seen if other in beside), titles[key]
    assert max(len(beside) for _, _, beside in seen) == 1


def test_the_longest_training_does_not_wait_for_other_collections(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, titles = schedule(
        tmp_path, monkeypatch, workers=2, collections=3, costs=(100.0, 400.0, 90.0)
    )
    assert [titles[key] for key, _, _ in seen][:3] == ["collect 1", "collect 0", "train 1"]
    # The last collection takes the processor that is free, and does not wait for both.
    assert [(titles[key], wide) for key, wide, _ in seen if "collect 2" in titles[key]] == [
        ("collect 2", False)
    ]
    assert all(beside for key, _, beside in seen if "collect 2" in titles[key])


@pytest.mark.parametrize("fails", [False, True])
def test_a_job_that_another_may_have_done_waits_for_it_and_outlives_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    monkeypatch.setattr("mbrl_agents.benchmarks.runner._POLL_SECONDS", 0.0)
    images = Job("collect", "images", {"n": 0}, cost=60.0)
    poses = Job("collect", "poses", {"n": 1}, cost=1.0, after=(images.key,))
    jobs = [
        images,
        poses,
        Job("train", "on images", {"n": 0}, (images.key,), 300.0),
        Job("train", "on poses", {"n": 1}, (poses.key,), 100.0),
    ]
    for name in ("jobs", "logs"):
        (tmp_path / name).mkdir()
    engine = Engine(2, failing=images.key if fails else "")
    plan = BenchmarkPlan({job.key: job for job in jobs}, ())
    outcome = _Scheduler(plan, tmp_path, engine, "cpu", lambda event: None).run()
    titles = {job.key: job.title for job in jobs}
    assert titles[engine.seen[0][0]] == "images"
    assert len(engine.seen[0][2]) == 0
    assert all(images.key not in beside for _, _, beside in engine.seen)
    done = {titles[key] for key in outcome.results}
    assert done == ({"poses", "on poses"} if fails else set(titles.values()))
