"""Jobs on a Ray cluster: what `parallel` and `env_workers` do on one machine, on many.

Ray is an extra (``pip install "mbrl-agents[ray]"``).  It connects to the cluster that the
environment variable ``RAY_ADDRESS`` names ("auto" for one that this machine belongs to); without
it, Ray starts one of this machine alone.  Every node needs this package in the same version.
"""

from __future__ import annotations

import hashlib
import pickle
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import gymnasium

from mbrl_agents.data.env_workers import Workplace
from mbrl_agents.data.parallel import run_in_worker

Job = TypeVar("Job")
Result = TypeVar("Result")

LOCAL, RAY = "local", "ray"
ENGINES = (LOCAL, RAY)
"""Where jobs run: in processes of this machine, or on a Ray cluster."""

RETRIES = 3
"""How often a job is given to another process when its own, or the whole node, dies."""


def check_engine(engine: str) -> None:
    """Refuse an engine that there is not, or whose package is not installed.

    Raises:
        ValueError: for an unknown name.
        ModuleNotFoundError: without Ray.
    """
    if engine not in ENGINES:
        raise ValueError(f"unknown engine {engine!r}; valid: {', '.join(ENGINES)}")
    if engine == RAY:
        _ray()


def connected() -> Any:
    """The module ``ray``, connected to a cluster.

    Raises:
        ModuleNotFoundError: without Ray.
        ConnectionError: when there is no cluster where ``RAY_ADDRESS`` says.
    """
    ray = _ray()
    if not ray.is_initialized():
        ray.init(log_to_driver=False, logging_level="ERROR", include_dashboard=False)
    return ray


def processors() -> int:
    """Processors of the cluster, at least 1."""
    return max(1, int(connected().cluster_resources().get("CPU", 1)))


def cluster_map(
    function: Callable[[Any, Job], Result], jobs: Iterable[Job], *, workers: int | None = None
) -> Iterator[Result]:
    """`mbrl_agents.data.parallel.ordered_map` on a cluster: one processor for each job.

    A job whose process or node dies is given to another, `RETRIES` times.

    Args:
        workers: jobs at once; None for as many as the cluster has processors.

    Raises:
        RuntimeError: the processes of a job died again and again.
    """
    ray = connected()
    remote = ray.remote(num_cpus=1, max_retries=RETRIES)(run_in_worker)
    ahead = 2 * (workers or processors())
    waiting, running = deque(jobs), deque[Any]()
    try:
        while waiting or running:
            while waiting and len(running) < ahead:
                running.append(remote.remote(function, waiting.popleft()))
            yield _value(ray, running.popleft(), RETRIES + 1)
    finally:
        for ref in running:
            ray.cancel(ref, force=True)


class ClusterRollouts:
    """Jobs in environments, as `mbrl_agents.data.env_workers.EnvWorkers` runs them, on a cluster.

    A process that dies, or takes too long over a job, costs the job's time: it is tried again.

    Args:
        factory: builds an environment; picklable.
        workers: jobs at once; 0 for as many as the cluster has processors.
        timeout: seconds that a job may take.
        attempts: how often a job is tried before its failure is raised.
    """

    def __init__(
        self,
        factory: Callable[[], gymnasium.Env],
        *,
        workers: int = 0,
        timeout: float = 900.0,
        attempts: int = RETRIES,
    ) -> None:
        if workers < 0 or attempts < 1 or timeout <= 0:
            raise ValueError(
                "workers must not be negative, attempts at least 1 and timeout positive, got "
                f"{workers}, {attempts}, {timeout}"
            )
        self._ray = connected()
        self.workers, self.timeout, self.attempts = workers or processors(), timeout, attempts
        self.lost = 0  # jobs that were tried again for want of time
        payload = pickle.dumps(factory)
        self._factory = hashlib.sha256(payload).hexdigest(), self._ray.put(factory)
        self._shared: Any = None
        self._version, self._ref = 0, self._ray.put(None)
        self._remote = self._ray.remote(num_cpus=1, max_retries=attempts - 1)(_in_workplace)

    def run(
        self,
        function: Callable[[Workplace, Job], Result],
        jobs: Iterable[Job],
        *,
        shared: Any = None,
    ) -> Iterator[Result]:
        """See `mbrl_agents.protocols.Rollouts.run`.

        Raises:
            RuntimeError: a job failed ``attempts`` times by its process's death or by time; or it
                raised something, whose text is part of the message.
        """
        if shared is not self._shared:
            self._shared, self._version = shared, self._version + 1
            self._ref = self._ray.put(shared)
        every = list(jobs)
        tried = [0] * len(every)
        waiting, running = deque(range(len(every))), dict[Any, tuple[int, float]]()
        done: dict[int, Result] = {}
        given = 0
        try:
            while given < len(every):
                while waiting and len(running) < self.workers:
                    number = waiting.popleft()
                    tried[number] += 1
                    name, factory = self._factory
                    ref = self._remote.remote(
                        (name, self._version), factory, self._ref, function, every[number]
                    )
                    running[ref] = number, time.monotonic()
                ready, _ = self._ray.wait(list(running), num_returns=1, timeout=1.0)
                for ref in ready:
                    done[running.pop(ref)[0]] = _value(self._ray, ref, self.attempts)
                for number in self._late(running):
                    if tried[number] >= self.attempts:
                        raise RuntimeError(
                            f"a job in an environment failed {tried[number]} times: its process "
                            f"took longer than {self.timeout:g} s"
                        )
                    self.lost += 1
                    waiting.appendleft(number)
                while given in done:
                    yield done.pop(given)
                    given += 1
        finally:
            for ref in running:
                self._ray.cancel(ref, force=True)

    def _late(self, running: dict[Any, tuple[int, float]]) -> list[int]:
        """Numbers of the jobs that had their time; they run no longer."""
        found = []
        for ref, (number, began) in list(running.items()):
            if time.monotonic() - began > self.timeout:
                self._ray.cancel(ref, force=True)
                del running[ref]
                found.append(number)
        return found

    def close(self) -> None:
        """Nothing to end: Ray keeps processes for whoever comes next."""

    def __enter__(self) -> ClusterRollouts:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


_PLACES: dict[str, tuple[Workplace, int]] = {}  # of this process, by factory


def _in_workplace(
    key: tuple[str, int],
    factory: Callable[[], gymnasium.Env],
    shared: Any,
    function: Callable[[Workplace, Any], Any],
    job: Any,
) -> Any:
    name, version = key
    if name not in _PLACES:
        for place, _ in _PLACES.values():
            place.env.close()
        _PLACES.clear()
        _PLACES[name] = Workplace(factory(), shared), version
    place, known = _PLACES[name]
    if known != version:
        place.shared, place.memo = shared, {}
        _PLACES[name] = place, version
    return function(place, job)


def _value(ray: Any, ref: Any, attempts: int) -> Any:
    """A finished job's result, its failure in words of ours."""
    try:
        return ray.get(ref)
    except ray.exceptions.RayTaskError as error:
        raise RuntimeError(f"a job failed on the cluster:\n{error}") from error
    except ray.exceptions.RayError as error:
        raise RuntimeError(
            f"the process of a job ended {attempts} times on the cluster (killed, perhaps for "
            f"lack of memory, or its node is gone): {type(error).__name__}"
        ) from error


def _ray() -> Any:
    try:
        import ray
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'the engine "ray" needs Ray: pip install "mbrl-agents[ray]"'
        ) from error
    return ray


__all__ = [
    "ENGINES",
    "LOCAL",
    "RAY",
    "RETRIES",
    "ClusterRollouts",
    "check_engine",
    "cluster_map",
    "connected",
    "processors",
]
