"""Jobs forked off a server: what becomes of those that fail, are killed, or lose the server."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mbrl_agents.benchmarks.engines import LocalEngine
from mbrl_agents.benchmarks.job import read_result

LONG = {
    "method": "sb3-ppo",
    "env_id": "CartPole-v1",
    "env_kwargs": {},
    "overrides": ["baseline.n_steps=32"],
    "seed": 0,
    "steps": 10_000_000,
    "demonstrations": False,
}


@pytest.fixture
def engine() -> Iterator[LocalEngine]:
    made = LocalEngine(2)
    yield made
    made.stop([])


def start(engine: LocalEngine, folder: Path, key: str, kind: str, **spec: Any) -> Any:
    (folder / "jobs").mkdir(exist_ok=True)
    job = {"kind": kind, "title": key, "spec": spec, "needs": [], "workers": 1, "device": "cpu"}
    (folder / "jobs" / f"{key}.spec.json").write_text(json.dumps(job))
    return engine.start(folder, key, folder / f"{key}.log", wide=False)


def ended(job: Any, seconds: float = 60.0) -> int:
    deadline = time.monotonic() + seconds
    while job.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert job.code is not None, "the job never ended"
    return int(job.code)


def at_work(job: Any, folder: Path, key: str) -> int:
    deadline = time.monotonic() + 60.0
    while not (folder / "models" / key / "config.yaml").exists() and time.monotonic() < deadline:
        assert job.poll() is None
        time.sleep(0.02)
    assert job.pid is not None
    return int(job.pid)


def there(process: int) -> bool:
    """Whether a process runs; one that has ended and waits for its parent does not."""
    try:
        status = Path(f"/proc/{process}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] not in ("Z", "X")


@pytest.mark.slow
def test_a_job_that_works_fails_or_is_killed_costs_no_other(
    engine: LocalEngine, tmp_path: Path
) -> None:
    good = start(engine, tmp_path, "good", "collect", env_id="CartPole-v1", env_kwargs={},
                 source="random", episodes=2, seed=0, attempts=1, noise={})  # fmt: skip
    long = start(engine, tmp_path, "long", "train", **LONG)
    bad = start(engine, tmp_path, "bad", "train", **{**LONG, "method": "no-such-method"})
    assert (ended(good), ended(bad)) == (0, 1)
    result = read_result(tmp_path, "good")
    assert result is not None
    assert result["episodes"] == 2
    assert "no-such-method" in (tmp_path / "bad.log").read_text()
    process = at_work(long, tmp_path, "long")
    assert os.getsid(process) == process  # in nobody else's group: Ctrl-C does not reach it
    os.kill(process, signal.SIGKILL)
    assert ended(long) == -signal.SIGKILL


@pytest.mark.slow
def test_without_its_server_a_job_has_failed(engine: LocalEngine, tmp_path: Path) -> None:
    job = start(engine, tmp_path, "long", "train", **LONG)
    process = at_work(job, tmp_path, "long")
    assert engine._server is not None
    engine._server._process.kill()
    assert ended(job) == -signal.SIGKILL
    # Asked for afterwards, a job fails too, in place of being waited for.
    assert ended(start(engine, tmp_path, "late", "train", **LONG)) == -signal.SIGKILL
    deadline = time.monotonic() + 10.0
    while there(process) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not there(process)


@pytest.mark.slow
def test_jobs_that_have_not_begun_are_not_waited_for(engine: LocalEngine, tmp_path: Path) -> None:
    job = start(engine, tmp_path, "long", "train", **LONG)
    began = time.monotonic()
    engine.stop([job])  # while the server still imports
    assert time.monotonic() - began < 3.0
    assert not (tmp_path / "models").exists()
