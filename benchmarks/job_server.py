"""A process that forks jobs off itself: ``python -m mbrl_agents.benchmarks.job_server PIPE``.

What every job imports takes four seconds of processor time, as long as many an evaluation.  Here it
is imported once.  One request a line comes in, ``{"folder": F, "key": K, "log": L}``, and is
answered by ``{"key": K, "pid": N}``; when the job has ended, ``{"key": K, "code": C}`` follows.
The end of requests ends the server, and its jobs end with the pipe whose descriptor is ``PIPE``.

MuJoCo is not imported here: it opens a display, which processes do not share.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import select
import signal
import sys
import warnings
from typing import Any

from mbrl_agents.data.lifetime import end_with_pipe

from . import job

PRELOADED = (
    "matplotlib.backends.backend_agg",
    "matplotlib.figure",
    "mbrl_agents.agents.agent",
    "mbrl_agents.evaluation.rollouts",
    "mbrl_agents.runs.loading",
    "mbrl_agents.runs.training",
    "numba",
    "stable_baselines3",
    "torch._dynamo",
    "torch.utils.tensorboard",
)
"""What jobs import, as far as it opens nothing that processes must not share."""


def main(arguments: list[str]) -> int:
    alive = int(arguments[0])
    # Ctrl-C reaches the runner alone, which then ends its jobs in one way.
    os.setsid()
    # What modules print as they are imported is no answer.
    answers = os.dup(1)
    os.dup2(2, 1)
    for name in PRELOADED:
        # What cannot be imported is the business of the jobs that need it.
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    # Of Python 3.12: pyarrow's allocator has a thread, and looks after it when a process is forked.
    warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
    request = _serve(answers)
    return 0 if request is None else _work(request, alive)


def _serve(answers: int) -> dict[str, Any] | None:
    """Fork a process for every request.

    Returns:
        In such a process its request; in the server None, when there are no more.
    """
    wake, woken = os.pipe()
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    partial = b""
    jobs: dict[int, str] = {}
    while True:
        ready, _, _ = select.select([0, wake], [], [])
        if wake in ready:
            os.read(wake, 4096)
        for pid, code in _ended(list(jobs)):
            _tell(answers, {"key": jobs.pop(pid), "code": code})
        if 0 not in ready:
            continue
        read = os.read(0, 65536)
        if not read:
            return None
        *lines, partial = (partial + read).split(b"\n")
        for line in lines:
            request: dict[str, Any] = json.loads(line)
            pid = os.fork()
            if not pid:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for end in (wake, woken, answers):
                    os.close(end)
                return request
            jobs[pid] = request["key"]
            _tell(answers, {"key": request["key"], "pid": pid})


def _ended(jobs: list[int]) -> list[tuple[int, int]]:
    """Processes among those that have ended, and their exit codes, negative for signals."""
    found = [(pid, *os.waitpid(pid, os.WNOHANG)) for pid in jobs]
    return [(pid, os.waitstatus_to_exitcode(status)) for pid, ended, status in found if ended]


def _tell(answers: int, answer: dict[str, Any]) -> None:
    os.write(answers, json.dumps(answer).encode() + b"\n")


def _work(request: dict[str, Any], alive: int) -> int:
    """Do the job that a forked process was made for; its exit code."""
    os.setsid()  # the group that the runner ends: this job and its own worker processes
    log = os.open(request["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    for own, used in ((alive, 0), (log, 1), (log, 2)):
        os.dup2(own, used)
    os.close(log)
    os.close(alive)
    end_with_pipe(0)
    return job.main([request["folder"], request["key"]])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
