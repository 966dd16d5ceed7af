"""Jobs in environments: the same results from any number of processes, whatever befalls them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from multiprocessing.connection import Connection
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from stable_baselines3.common.monitor import Monitor

from mbrl_agents.data.env_workers import EnvFactory, EnvWorkers

pytestmark = pytest.mark.slow


def rewards(place, job):
    """Sum of the rewards of three steps, and a number that all jobs share."""
    place.memo["jobs"] = place.memo.get("jobs", 0) + 1
    place.env.reset(seed=job)
    return sum(place.env.step(np.zeros(2, np.float32))[1] for _ in range(3)) + place.shared


def dies_once(place, job):
    """Of one job the process dies or hangs, the first time."""
    number, marker, how = job
    if number == 1 and not Path(marker).exists():
        Path(marker).touch()
        if how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)
    return number, os.getpid()


def dies(place, job):
    os._exit(3)


def raises(place, job):
    raise KeyError("a mistake of the job")


@pytest.fixture(scope="module")
def factory():
    env = Monitor(gymnasium.make("toy_images:ToyImages-v0"))
    return EnvFactory.of(env.spec)


def test_processes_change_nothing(factory):
    with EnvWorkers(factory) as here, EnvWorkers(factory, workers=2) as there:
        for shared in (10.0, 20.0):
            expected = list(here.run(rewards, range(5), shared=shared))
            assert len(set(expected)) == 5
            assert list(there.run(rewards, range(5), shared=shared)) == expected
        assert here._here.memo == {"jobs": 5}


@pytest.mark.parametrize(("how", "timeout"), [("killed", 60.0), ("hangs", 12.0)])
def test_a_process_that_dies_or_hangs_costs_a_job_of_time(factory, tmp_path, how, timeout):
    with EnvWorkers(factory, workers=1, timeout=timeout) as workers:
        jobs = [(number, str(tmp_path / "marker"), how) for number in range(3)]
        found = list(workers.run(dies_once, jobs))
        assert [number for number, _ in found] == [0, 1, 2]
        assert len({process for _, process in found}) == 2
        assert workers.lost == 1


def test_a_job_that_always_fails_is_reported(factory):
    with EnvWorkers(factory, workers=1, attempts=2) as workers:
        with pytest.raises(RuntimeError, match="failed 2 times: its process died"):
            list(workers.run(dies, [0]))
        with pytest.raises(RuntimeError, match="a mistake of the job"):
            list(workers.run(raises, [0]))


def test_a_death_is_no_delay_though_the_system_has_yet_to_tell_of_it(factory, monkeypatch):
    monkeypatch.setattr(multiprocessing.process.BaseProcess, "is_alive", lambda process: True)
    monkeypatch.setattr(Connection, "poll", lambda pipe, timeout=0.0: False)
    died = pytest.raises(RuntimeError, match="failed 1 times: its process died")
    with EnvWorkers(factory, workers=1, attempts=1) as workers, died:
        list(workers.run(dies, [0]))


def test_an_environment_that_cannot_be_built_again_is_refused():
    class Silent(gymnasium.Wrapper):
        pass

    env = Silent(gymnasium.make("toy_images:ToyImages-v0"))
    with pytest.raises(ValueError, match="Silent does not record its arguments"):
        EnvFactory.of(env.spec)
    with pytest.raises(ValueError, match=r"gymnasium\.make"):
        EnvFactory.of(None)
