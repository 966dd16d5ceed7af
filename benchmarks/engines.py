"""Where the jobs of a suite run: in processes of this machine, or on a Ray cluster."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

from mbrl_agents.data.cluster import LOCAL, RETRIES, check_engine, connected, processors

_PATIENCE_SECONDS = 2.0  # for a job that was told to stop
_POLL_SECONDS = 0.02
_CHECK_SECONDS = 60.0  # for a node to say whether it sees a folder


class Running(Protocol):
    """A job that was started."""

    def poll(self) -> int | None:
        """Its exit code; None while it runs."""
        ...


class Engine(Protocol):
    """Starts jobs, which read and write the benchmark's folder and nothing else.

    Attributes:
        workers: jobs at once.
        width: processes that a job which runs alone may use.
    """

    workers: int
    width: int

    def start(self, folder: Path, key: str, log: Path, *, wide: bool) -> Running:
        """Begin the job whose specification lies in the folder; ``log`` takes what it prints."""
        ...

    def stop(self, running: Iterable[Any]) -> None:
        """End what still runs: asked first, so that it saves what is finished, then killed."""
        ...


class LocalEngine:
    """A process of its own for every job, forked off `job_server`; see `Engine`."""

    def __init__(self, workers: int) -> None:
        if workers < 1:
            raise ValueError(f"workers must be at least 1, got {workers}")
        self.workers = self.width = workers
        self._server: _Server | None = None

    def start(self, folder: Path, key: str, log: Path, *, wide: bool) -> _Forked:
        if self._server is None:
            self._server = _Server()
        return self._server.start(folder, key, log)

    def stop(self, running: Iterable[_Forked]) -> None:
        found = list(running)
        for job in found:
            job.ask_to_end()
        deadline = time.monotonic() + _PATIENCE_SECONDS
        begun = [job for job in found if job.pid is not None]
        while any(job.poll() is None for job in begun) and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        for job in found:
            job.end()
        if self._server is not None:
            self._server.close()
            self._server = None


class _Server:
    """A running `job_server`."""

    def __init__(self) -> None:
        # Closed when this process ends, however: the jobs then end too.
        listened, self._alive = os.pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "mbrl_agents.benchmarks.job_server", str(listened)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[listened],
            env={
                **os.environ,
                "OMP_NUM_THREADS": "1",
                "MKL_NUM_THREADS": "1",
                # Whether there is a GPU is asked without opening it: a forked process cannot use
                # one that was open.
                "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
            },
        )
        os.close(listened)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._requests, self._answers = self._process.stdin, self._process.stdout
        os.set_blocking(self._answers.fileno(), False)
        self._partial = b""
        self._jobs: dict[str, _Forked] = {}

    def start(self, folder: Path, key: str, log: Path) -> _Forked:
        request = {"folder": str(folder.absolute()), "key": key, "log": str(log.absolute())}
        job = self._jobs[key] = _Forked(self)
        # A server that is gone takes no request: the job has then failed.
        with contextlib.suppress(BrokenPipeError):
            self._requests.write(json.dumps(request).encode() + b"\n")
            self._requests.flush()
        return job

    def hear(self) -> None:
        """Take note of what jobs began and ended."""
        gone = self._process.poll() is not None
        read = self._answers.read()
        *lines, self._partial = (self._partial + (read or b"")).split(b"\n")
        for answer in map(json.loads, lines):
            job = self._jobs[answer["key"]]
            job.pid = answer.get("pid", job.pid)
            job.code = answer.get("code")
        if gone:
            for job in self._jobs.values():
                if job.code is None:
                    job.code = -int(signal.SIGKILL)
                    job.end()

    def close(self) -> None:
        # What it has been asked for and not begun is not wanted any more.
        self._process.kill()
        self._process.wait()
        for pipe in (self._requests, self._answers):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        os.close(self._alive)


class _Forked:
    """A job forked off a server, see `Running`."""

    def __init__(self, server: _Server) -> None:
        self._server = server
        self.pid: int | None = None
        self.code: int | None = None

    def poll(self) -> int | None:
        if self.code is None:
            self._server.hear()
        return self.code

    def ask_to_end(self) -> None:
        """So that it saves what is finished."""
        self._signal(os.kill, signal.SIGTERM)

    def end(self) -> None:
        """The whole group: a job's own worker processes do not outlive it either."""
        self._signal(os.killpg, signal.SIGKILL)
        if self.code is None:
            self._signal(os.kill, signal.SIGKILL)  # one so young that it has no group yet

    def _signal(self, send: Callable[[int, int], None], number: int) -> None:
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                send(self.pid, number)


class RayEngine:
    """A fresh process of a cluster for every job; see `Engine`.

    All nodes must see the benchmark's folder under the same path, as on clusters with a shared
    file system.  A job whose process or node dies is given to another, `RETRIES` times; one that
    fails by itself is not, as it would fail again.

    Args:
        folder: the benchmark's.
        workers: jobs at once; 0 for as many as the cluster has processors.

    Raises:
        ValueError: when nodes do not see the folder.
    """

    def __init__(self, folder: Path, workers: int = 0) -> None:
        self._ray = connected()
        self.workers = workers or processors()
        nodes = [node for node in self._ray.nodes() if node["Alive"]]
        self.width = max(1, *(int(node["Resources"].get("CPU", 1)) for node in nodes))
        self._check_shared(folder, nodes)

    def start(self, folder: Path, key: str, log: Path, *, wide: bool) -> _OnCluster:
        work = self._ray.remote(
            num_cpus=self.width if wide else 1,
            max_retries=RETRIES,
            # A process of its own: nothing is left of the job before.
            max_calls=1,
        )(_work)
        return _OnCluster(self._ray, work.remote(str(folder.absolute()), key, str(log.absolute())))

    def stop(self, running: Iterable[_OnCluster]) -> None:
        found = list(running)
        for job in found:
            self._ray.cancel(job.ref)
        deadline = time.monotonic() + _PATIENCE_SECONDS
        for job in found:
            self._ray.wait([job.ref], timeout=max(0.0, deadline - time.monotonic()))
            self._ray.cancel(job.ref, force=True)

    def _check_shared(self, folder: Path, nodes: list[dict[str, Any]]) -> None:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        token = folder.absolute() / f".shared-{uuid.uuid4().hex}"
        token.touch()
        try:
            asked = {
                self._ray.remote(num_cpus=0)(os.path.exists)
                .options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], False))
                .remote(str(token)): node["NodeManagerAddress"]
                for node in nodes
            }
            ready, silent = self._ray.wait(
                list(asked), num_returns=len(asked), timeout=_CHECK_SECONDS
            )
            blind = [asked[ref] for ref in ready if not self._ray.get(ref)]
            blind += [f"{asked[ref]} (no answer)" for ref in silent]
        finally:
            token.unlink()
        if blind:
            raise ValueError(
                f"{folder.absolute()} is not seen by the nodes {', '.join(blind)}: jobs exchange "
                "their files through it, so it must lie on a file system that all nodes share"
            )


class _OnCluster:
    """A job on the cluster, see `Running`."""

    def __init__(self, ray: Any, ref: Any) -> None:
        self._ray, self.ref = ray, ref

    def poll(self) -> int | None:
        ready, _ = self._ray.wait([self.ref], timeout=0)
        if not ready:
            return None
        try:
            return int(self._ray.get(self.ref))
        except self._ray.exceptions.RayError:
            return -int(signal.SIGKILL)  # its processes died, every time


def _work(folder: str, key: str, log: str) -> int:
    """The job's process, on whichever node; what it prints goes where a local one's goes."""
    import traceback

    import ray

    from mbrl_agents.benchmarks.job import main, read_result

    if read_result(Path(folder), key) is not None:
        return 0  # done just before a node was lost
    lines = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(lines, 1)
    os.dup2(lines, 2)
    os.close(lines)
    os.write(1, f"# node {ray.get_runtime_context().get_node_id()}\n".encode())
    try:
        return main([folder, key])
    except (SystemExit, KeyboardInterrupt):
        raise
    except BaseException:
        traceback.print_exc()
        return 1


def make_engine(name: str, folder: Path, workers: int) -> Engine:
    """The engine of that name.

    Args:
        folder: the benchmark's, which is there.
        workers: jobs at once; 0 on a cluster for as many as it has processors.

    Raises:
        ValueError: for an unknown engine, or one that cannot work with these.
    """
    check_engine(name)
    return LocalEngine(workers) if name == LOCAL else RayEngine(folder, workers)


__all__ = ["Engine", "LocalEngine", "RayEngine", "Running", "make_engine"]
