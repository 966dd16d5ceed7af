"""Runs the jobs of a suite in parallel processes and reports on them.

Every job is a process of its own: a crash loses one cell of the table and not the others, and
planning times are measured in a process that does nothing else, with one thread.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mbrl_agents.data.files import write_text
from mbrl_agents.data.locks import locked

from .engines import Engine, Running, make_engine
from .job import read_result, stop, write_json
from .plan import BenchmarkPlan, Job, make_plan
from .suite import Suite

_POLL_SECONDS = 0.1
_LOG_TAIL_LINES = 6


@dataclass(frozen=True)
class Event:
    """Something the user may want to see.

    Attributes:
        kind: "found" (finished earlier), "started", "finished" or "failed".
        elapsed: seconds since the suite began.
        done, total: jobs.
        detail: the result in a few words, or the end of the log.
    """

    kind: str
    job: Job
    elapsed: float
    done: int
    total: int
    detail: str = ""


@dataclass(frozen=True)
class Outcome:
    """How a suite went: results by job key, and what went wrong by job key."""

    plan: BenchmarkPlan
    results: dict[str, dict[str, Any]]
    failures: dict[str, str]
    seconds: float
    workers: int


def run_suite(
    suite: Suite,
    folder: str | Path,
    *,
    workers: int = 2,
    engine: str = "local",
    fresh: bool = False,
    device: str = "auto",
    on_event: Callable[[Event], None] | None = None,
) -> Outcome:
    """Run what is missing of a suite.

    Args:
        folder: the benchmark's; jobs finished there are not run again.
        workers: processes at once; 0 on a cluster for as many as it has processors.
        engine: where they run, see `mbrl_agents.benchmarks.engines`: "local", or "ray".
        fresh: forget what the folder holds (only files that a benchmark writes).
        device: torch device of training and evaluation; "auto" is a GPU where there is one.
        on_event: told of every start and end.

    Raises:
        FolderInUse: another process runs a suite in the folder.
    """
    folder = Path(folder)
    with locked(folder):
        if fresh:
            for name in ("jobs", "data", "models", "logs"):
                shutil.rmtree(folder / name, ignore_errors=True)
        for name in ("jobs", "logs"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        write_text(folder / "suite.yaml", yaml.safe_dump(suite.to_dict(), sort_keys=False))
        where = make_engine(engine, folder, workers)
        tell = on_event or (lambda event: None)
        scheduler = _Scheduler(make_plan(suite), folder, where, device, tell)
        with _terminated_by_exception():
            return scheduler.run()


class _Scheduler:
    def __init__(
        self,
        plan: BenchmarkPlan,
        folder: Path,
        engine: Engine,
        device: str,
        on_event: Callable[[Event], None],
    ) -> None:
        self._plan, self._folder, self._engine, self._device = plan, folder, engine, device
        self._on_event = on_event
        self._began = time.perf_counter()
        self._results: dict[str, dict[str, Any]] = {}
        self._failures: dict[str, str] = {}
        self._running: dict[str, Running] = {}
        self._alone: set[str] = set()  # of those that run: have all processors for themselves

    def run(self) -> Outcome:
        priorities = self._plan.priorities()
        waiting = sorted(self._plan.jobs.values(), key=lambda job: -priorities[job.key])
        for job in list(waiting):
            found = read_result(self._folder, job.key)
            if found is not None:
                self._results[job.key] = found
                waiting.remove(job)
                self._tell("found", job, found.get("summary", ""))
        try:
            while waiting or self._running:
                self._collect_finished()
                self._drop_hopeless(waiting)
                started = self._start_next(waiting)
                if not started:
                    time.sleep(_POLL_SECONDS)
        finally:
            self._engine.stop(self._running.values())
        seconds = time.perf_counter() - self._began
        return Outcome(self._plan, self._results, self._failures, seconds, self._engine.workers)

    def _start_next(self, waiting: list[Job]) -> bool:
        """Start the most urgent job that can run now; False where there is none."""
        if self._alone & self._running.keys():
            return False
        ready = [job for job in waiting if self._ready(job)]
        if not ready or len(self._running) >= self._engine.workers:
            return False
        # It has all processors where nothing runs and no other could: where something does, one
        # processor now is more than all of them later, and as many as there are processors take
        # one each, which costs fewer processes.
        others = sum(job.wide for job in ready) >= self._engine.workers
        job = ready[0]
        waiting.remove(job)
        self._start(job, wide=job.wide and not self._running and not others)
        return True

    def _ready(self, job: Job) -> bool:
        over = self._results.keys() | self._failures.keys()
        return self._results.keys() >= {*job.needs} and over >= {*job.after}

    def _start(self, job: Job, wide: bool) -> None:
        write_json(
            self._folder / "jobs" / f"{job.key}.spec.json",
            {
                "kind": job.kind,
                "title": job.title,
                "spec": job.spec,
                "needs": list(job.needs),
                "workers": self._engine.width if wide else 1,
                # Not part of what a job is: the same job may go on elsewhere.
                "device": self._device,
            },
        )
        log = self._folder / "logs" / f"{job.key}.log"
        log.write_text(f"# {job.title}\n", encoding="utf-8")
        self._running[job.key] = self._engine.start(self._folder, job.key, log, wide=wide)
        if wide:
            self._alone.add(job.key)
        self._tell("started", job)

    def _collect_finished(self) -> None:
        for key, process in list(self._running.items()):
            code = process.poll()
            if code is None:
                continue
            del self._running[key]
            job = self._plan.jobs[key]
            result = read_result(self._folder, key) if code == 0 else None
            if result is None:
                log = self._folder / "logs" / f"{key}.log"
                lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
                self._failures[key] = lines[-1] if lines else f"exit code {code}"
                tail = "\n".join(lines[-_LOG_TAIL_LINES:])
                self._tell("failed", job, f"exit code {code}, log {log}:\n{tail}")
            else:
                self._results[key] = result
                self._tell("finished", job, result.get("summary", ""))

    def _drop_hopeless(self, waiting: list[Job]) -> None:
        for job in list(waiting):
            broken = [need for need in job.needs if need in self._failures]
            if broken:
                waiting.remove(job)
                title = self._plan.jobs[broken[0]].title
                self._failures[job.key] = f"'{title}' failed: {self._failures[broken[0]]}"
                self._tell("failed", job, f"not run, because '{title}' failed")

    def _tell(self, kind: str, job: Job, detail: str = "") -> None:
        self._on_event(
            Event(
                kind=kind,
                job=job,
                elapsed=time.perf_counter() - self._began,
                done=len(self._results) + len(self._failures),
                total=len(self._plan.jobs),
                detail=detail,
            )
        )


@contextlib.contextmanager
def _terminated_by_exception() -> Iterator[None]:
    """Turn SIGTERM into an exception, so that running jobs are ended too."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may handle signals
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


__all__ = ["Event", "Outcome", "run_suite"]
