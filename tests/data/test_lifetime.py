"""What becomes of worker processes when the process that started them ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

SUPPORT = Path(__file__).parent.parent / "support"
PATIENCE = 60.0
"""Seconds to wait for what takes a moment on an idle machine."""


def wait_for(found: Callable[[], bool]) -> bool:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if found():
            return True
        time.sleep(0.02)
    return False


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def semaphores() -> set[str]:
    return {name for name in os.listdir("/dev/shm") if name.startswith("sem.")}


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes in /proc")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_their_parent(how: signal.Signals, tmp_path: Path) -> None:
    before = semaphores()
    path = os.pathsep.join([str(SUPPORT), *sys.path])
    parent = subprocess.Popen(
        [sys.executable, str(SUPPORT / "sleeping_workers.py"), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": path},
        stderr=subprocess.DEVNULL,
    )
    try:
        assert wait_for(lambda: len(list(tmp_path.iterdir())) == 2)
        workers = [int(file.name) for file in tmp_path.iterdir()]
        assert all(map(alive, workers))
        parent.send_signal(how)
        parent.wait(PATIENCE)  # their jobs take minutes
    finally:
        parent.kill()
    assert wait_for(lambda: not any(map(alive, workers)))
    assert wait_for(lambda: semaphores() <= before)


JOB = """
import os, signal, time
from mbrl_agents.data.lifetime import end_with_pipe
def saved(*_):
    os.write(1, b"asked\\n")  # print may have been interrupted in the middle of its own
signal.signal(signal.SIGTERM, saved)
end_with_pipe(0, patience=0.2)
print("ready", flush=True)
while True:
    time.sleep(0.05)
"""


def test_a_process_is_asked_and_then_ended_when_its_pipe_closes() -> None:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", JOB], env=env, text=True, **pipes) as job:  # type: ignore[call-overload]
        assert job.stdout.readline() == "ready\n"
        job.stdin.close()
        assert job.stdout.read() == "asked\n"
    assert job.returncode == 1
