"""Runs jobs that need an environment in worker processes, results in the order of the jobs.

Collection and evaluation share this.  A worker keeps the environment it built last, because
building one costs seconds where running an episode costs little more.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

import gymnasium

from mbrl_agents.data.lifetime import end_with_parent

Job = TypeVar("Job")
Result = TypeVar("Result")


class EnvCache:
    """Holds the environment used last and builds another only when asked for another."""

    def __init__(self) -> None:
        self._key: str | None = None
        self._env: gymnasium.Env | None = None
        self._built: tuple[Any, Any] | None = None

    def get(self, env_id: str, env_kwargs: Mapping[str, Any]) -> gymnasium.Env:
        """The environment ``gym.make(env_id, **env_kwargs)``, built or kept from the last call."""
        key = f"{env_id} {sorted(env_kwargs.items())!r}"
        if self._env is None or key != self._key:
            self.close()
            self._env = make_env(env_id, env_kwargs)
            self._key = key
        return self._env

    def build(self, factory: Callable[[gymnasium.Env], Result]) -> Result:
        """``factory(env)`` for the present environment, kept while the factory stays equal.

        Factories compare by value where they are frozen dataclasses, so a predictor read from
        disk is read once per environment and not once per episode.
        """
        if self._env is None:
            raise RuntimeError("get an environment before building for it")
        if self._built is None or self._built[0] != factory:
            self._built = (factory, factory(self._env))
        return self._built[1]

    def close(self) -> None:
        self._built = None
        if self._env is not None:
            self._env.close()
        self._key, self._env = None, None


def make_env(env_id: str, env_kwargs: Mapping[str, Any]) -> gymnasium.Env:
    """``gym.make`` with this library's environments registered.

    Gymnasium's passive checker is left out: it repeats its checks at the first step of every
    environment, and the environments are checked by tests.
    """
    import mbrl_agents.envs  # noqa: F401  registers

    return gymnasium.make(env_id, disable_env_checker=True, **env_kwargs)


def ordered_map(
    function: Callable[[EnvCache, Job], Result],
    jobs: Iterable[Job],
    *,
    workers: int = 1,
    engine: str = "local",
) -> Generator[Result, None, None]:
    """Yield ``function(cache, job)`` of every job, in the order of ``jobs``.

    Whoever stops reading before the end closes it, which ends the processes at once.

    Args:
        function: importable by name (it is sent to other processes).
        jobs: picklable.
        workers: processes; 1 runs everything in this one.
        engine: "local", or "ray" for a cluster (see `mbrl_agents.data.cluster`), where ``workers``
            are jobs at once and 0 stands for as many as there are processors.

    Raises:
        RuntimeError: a worker process died (killed for memory, or crashed).
    """
    if engine != "local":
        from mbrl_agents.data.cluster import check_engine, cluster_map

        check_engine(engine)
        yield from cluster_map(function, jobs, workers=workers or None)
        return
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    jobs = list(jobs)
    if workers == 1 or len(jobs) <= 1:
        cache = EnvCache()
        try:
            for job in jobs:
                yield function(cache, job)
        finally:
            cache.close()
        return

    # Spawned, not forked: a forked child inherits locks of torch and OpenGL in any state.
    pool = ProcessPoolExecutor(
        max_workers=min(workers, len(jobs)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
    )
    waiting = deque(jobs)
    running: deque[Future[Result]] = deque()
    try:
        while waiting or running:
            # A few ahead of the one waited for: workers stay busy, finished results stay few.
            while waiting and len(running) < 4 * workers:
                running.append(pool.submit(run_in_worker, function, waiting.popleft()))
            yield running.popleft().result()
    except BrokenProcessPool as error:
        raise RuntimeError(
            "a worker process ended unexpectedly (killed, perhaps for lack of memory); "
            "fewer workers need less memory"
        ) from error
    except BaseException:
        # Whoever reads the results saves those it has now, not when the last job is done.
        _kill(pool)
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _kill(pool: ProcessPoolExecutor) -> None:
    """End the processes of a pool at once; its shutdown then waits for nothing."""
    for process in list((pool._processes or {}).values()):
        process.kill()


_CACHE = EnvCache()  # of this worker process


def _start_worker() -> None:
    # Ctrl-C reaches the whole process group; only the parent decides what to do about it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
    # Several processes share the cores already; torch reads this when it is imported.
    os.environ["OMP_NUM_THREADS"] = "1"


def run_in_worker(function: Callable[[EnvCache, Job], Result], job: Job) -> Result:
    """``function(cache, job)`` with the environments of this process."""
    return function(_CACHE, job)


__all__ = ["EnvCache", "make_env", "ordered_map", "run_in_worker"]
