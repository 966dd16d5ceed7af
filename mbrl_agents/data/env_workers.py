"""Jobs that act in environments: in processes that may hang or die at the cost of a job's time."""

from __future__ import annotations

import multiprocessing
import pickle
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

import gymnasium

from mbrl_agents.data.parallel import _start_worker

Job = TypeVar("Job")
Result = TypeVar("Result")


@dataclass(frozen=True)
class EnvFactory:
    """Builds environments like one that there is; picklable.

    Attributes:
        spec: Gymnasium's, of the environment and of the wrappers around it.
    """

    spec: Any

    def __call__(self) -> gymnasium.Env:
        import mbrl_agents.envs  # noqa: F401  registers

        return gymnasium.make(self.spec, disable_env_checker=True)

    @classmethod
    def of(cls, spec: Any) -> EnvFactory:
        """A factory of the environments that ``spec`` describes, less Stable-Baselines3's Monitor.

        Raises:
            ValueError: when it does not say how to build one, or one of its wrappers.
        """
        if spec is None:
            raise ValueError(
                "this environment does not say how to build another like it, which training needs: "
                "make it with gymnasium.make"
            )
        wrappers = tuple(w for w in spec.additional_wrappers if w.name != "Monitor")
        for wrapper in wrappers:
            if wrapper.kwargs is None:
                raise ValueError(
                    f"the wrapper {wrapper.name} does not record its arguments, so no environment "
                    "like it can be built: derive it from gymnasium.utils.RecordConstructorArgs, "
                    "or register an environment that applies it"
                )
        plain = pickle.loads(pickle.dumps(spec))
        plain.additional_wrappers = wrappers
        return cls(plain)


@dataclass
class Workplace:
    """What a job finds where it runs.

    Attributes:
        env: built once, used by one job after another.
        shared: what `EnvWorkers.run` was given for all of them.
        memo: for what jobs build of ``shared``; emptied when that changes.
    """

    env: gymnasium.Env
    shared: Any = None
    memo: dict[str, Any] = field(default_factory=dict)


class EnvWorkers:
    """Runs jobs in environments of its own; see `mbrl_agents.protocols.Rollouts`.

    A process that dies, or takes too long over a job, is replaced, and the job is given to another.
    An exception that a job raises is raised here: it would come again.

    Args:
        factory: builds an environment; picklable.
        workers: processes; 0 runs jobs in this process, where nothing can be timed out.
        timeout: seconds that a job may take.
        attempts: how often a job is tried before its failure is raised.
    """

    def __init__(
        self,
        factory: Callable[[], gymnasium.Env],
        *,
        workers: int = 0,
        timeout: float = 900.0,
        attempts: int = 3,
    ) -> None:
        if workers < 0 or attempts < 1 or timeout <= 0:
            raise ValueError(
                "workers must not be negative, attempts at least 1 and timeout positive, got "
                f"{workers}, {attempts}, {timeout}"
            )
        self.factory, self.workers = factory, workers
        self.timeout, self.attempts = timeout, attempts
        self.lost = 0  # jobs that were given to another process
        self._here: Workplace | None = None
        self._processes: list[_Process] = []
        self._shared: Any = None
        self._payload: bytes = pickle.dumps(None)
        self._version = 0

    def run(
        self,
        function: Callable[[Workplace, Job], Result],
        jobs: Iterable[Job],
        *,
        shared: Any = None,
    ) -> Iterator[Result]:
        """``function(workplace, job)`` of every job, in the order of ``jobs``.

        Raises:
            RuntimeError: a job failed ``attempts`` times by its process's death or by time; or it
                raised something in its process, whose text is part of the message.
        """
        if shared is not self._shared:
            self._shared, self._version = shared, self._version + 1
            self._payload = pickle.dumps(shared)
            if self._here is not None:
                self._here.shared, self._here.memo = shared, {}
        if self.workers == 0:
            if self._here is None:
                self._here = Workplace(self.factory(), shared)
            for job in jobs:
                yield function(self._here, job)
            return
        yield from self._in_processes(function, list(jobs))

    def close(self) -> None:
        """End the processes and close the environment; `run` starts new ones."""
        for process in self._processes:
            process.stop()
        self._processes = []
        if self._here is not None:
            self._here.env.close()
            self._here = None

    def __enter__(self) -> EnvWorkers:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _in_processes(self, function: Any, jobs: list[Any]) -> Iterator[Any]:
        waiting = list(range(len(jobs)))[::-1]
        tried = [0] * len(jobs)
        done: dict[int, Any] = {}
        given = 0
        while len(self._processes) < min(self.workers, len(jobs)):
            self._processes.append(_Process(self.factory))
        try:
            while given < len(jobs):
                for process in self._processes:
                    if process.job is None and waiting:
                        number = waiting.pop()
                        tried[number] += 1
                        self._give(process, number, function, jobs[number])
                for process in self._next():
                    held, lost = process.job, process.receive(done, self.timeout)
                    if lost is None:
                        continue
                    self.lost += 1
                    if held is not None and tried[held] >= self.attempts:
                        raise RuntimeError(
                            f"a job in an environment failed {tried[held]} times: its process "
                            f"{lost}; fewer workers need less memory"
                        )
                    process.stop()
                    self._processes[self._processes.index(process)] = _Process(self.factory)
                    if held is not None:
                        waiting.append(held)
                while given in done:
                    yield done.pop(given)
                    given += 1
        finally:
            if any(process.job is not None for process in self._processes):
                # Whoever reads no further must not find the rest among later results.
                for process in self._processes:
                    process.stop()
                self._processes = []

    def _give(self, process: _Process, number: int, function: Any, job: Any) -> None:
        try:
            if process.version != self._version:
                process.pipe.send(("shared", self._payload))
                process.version = self._version
            process.pipe.send(("job", (function, job)))
        except OSError:  # it died while it was idle; `receive` finds out
            pass
        process.job, process.began = number, time.monotonic()

    def _next(self) -> list[_Process]:
        """Processes that have something to say, died, or are late."""
        busy = [process for process in self._processes if process.job is not None]
        soonest = min(process.began for process in busy) + self.timeout - time.monotonic()
        found = wait(
            [x for process in busy for x in (process.pipe, process.process.sentinel)],
            max(0.0, min(soonest, 3600.0)),
        )
        late = time.monotonic() - self.timeout
        return [
            process
            for process in busy
            if process.pipe in found or process.process.sentinel in found or process.began <= late
        ]


def rollouts_in(factory: EnvFactory, *, workers: int, engine: str) -> Any:
    """A context that runs jobs in environments; see `mbrl_agents.protocols.Rollouts`.

    Args:
        factory: builds an environment.
        workers: of `EnvWorkers`; on a cluster jobs at once, 0 for as many as it has processors.
        engine: "local", or "ray" for a cluster.
    """
    if engine == "local":
        return EnvWorkers(factory, workers=workers)
    from mbrl_agents.data.cluster import ClusterRollouts, check_engine

    check_engine(engine)
    return ClusterRollouts(factory, workers=workers)


class _Process:
    """One worker, and the number of the job it works on."""

    def __init__(self, factory: Callable[[], gymnasium.Env]) -> None:
        # Spawned, not forked: a forked child inherits locks of torch in any state.
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=_serve, args=(other, factory), daemon=True)
        self.process.start()
        other.close()
        self.job: int | None = None
        self.began, self.version = 0.0, 0

    def receive(self, done: dict[int, Any], timeout: float) -> str | None:
        """Take in a result; returns what became of a process that gives none any more."""
        assert self.job is not None
        if self.pipe.poll():
            try:
                kind, value = self.pipe.recv()
            except (EOFError, OSError):
                return "died"
            if kind == "error":
                raise RuntimeError(f"a job in an environment failed in its process:\n{value}")
            done[self.job], self.job = value, None
            return None
        # Its sentinel is ready a moment before the process counts as dead: time tells them apart.
        if time.monotonic() - self.began < timeout:
            return "died (killed, perhaps for lack of memory)"
        return f"took longer than {timeout:g} s"

    def stop(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()
        self.job = None


def _serve(pipe: Connection, factory: Callable[[], gymnasium.Env]) -> None:
    _start_worker()
    place: Workplace | None = None
    shared: Any = None
    try:
        while True:
            kind, value = pipe.recv()
            if kind == "shared":
                shared = pickle.loads(value)
                if place is not None:
                    place.shared, place.memo = shared, {}
                continue
            try:
                if place is None:
                    place = Workplace(factory(), shared)
                function, job = value
                answer: tuple[str, Any] = ("result", function(place, job))
            except Exception:
                answer = ("error", traceback.format_exc())
            pipe.send(answer)
    except (EOFError, OSError):
        pass  # whoever asked is gone
    finally:
        if place is not None:
            place.env.close()


__all__ = ["EnvFactory", "EnvWorkers", "Workplace", "rollouts_in"]
