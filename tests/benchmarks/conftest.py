"""Benchmarks whose jobs run in the test's own process."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

import pytest

from mbrl_agents.benchmarks import job


class InThisProcess:
    """An engine without processes: quick, where starting one takes longer than the job."""

    workers = width = 1

    def start(self, folder: Path, key: str, log: Path, *, wide: bool) -> Any:
        try:
            code = job.main([str(folder), key])
        except Exception:
            # As a process of its own would: its standard error is the log.
            log.write_text(traceback.format_exc(), encoding="utf-8")
            code = 1
        return type("Done", (), {"poll": lambda self: code})()

    def stop(self, running: Any) -> None:
        """Nothing runs on."""


@pytest.fixture
def jobs_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs a suite's jobs one after another in this process, whatever the number of workers."""
    monkeypatch.setattr(
        "mbrl_agents.benchmarks.runner.make_engine", lambda *arguments: InThisProcess()
    )
    monkeypatch.setattr(job.signal, "signal", lambda *arguments: None)
