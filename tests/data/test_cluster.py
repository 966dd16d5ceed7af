"""Jobs on a Ray cluster of two nodes on this machine: the results of one process, whoever dies."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from ray_nodes import two_nodes

from mbrl_agents.data import cluster
from mbrl_agents.data.collect import Collection, collect
from mbrl_agents.data.env_workers import EnvFactory, EnvWorkers, rollouts_in
from mbrl_agents.data.parallel import ordered_map

pytest.importorskip("ray")
pytestmark = [pytest.mark.slow, pytest.mark.cluster]


@pytest.fixture(scope="module")
def nodes():
    with two_nodes() as found:
        yield found


@pytest.fixture(scope="module")
def factory():
    return EnvFactory.of(gymnasium.make("toy_images:ToyImages-v0").spec)


def square(cache, job):
    time.sleep(0.01 * (job % 3))
    return job * job, os.getpid()


def meets(cache, job):
    """The node that two jobs run on, which end when both have begun."""
    import ray

    number, folder = job
    (Path(folder) / str(number)).touch()
    deadline = time.monotonic() + 120
    while len(list(Path(folder).iterdir())) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert time.monotonic() < deadline, "the other job never began"
    return ray.get_runtime_context().get_node_id()


def dies_once(cache, job):
    number, marker = job
    if number == 2 and not Path(marker).exists():
        Path(marker).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def always_dies(cache, job):
    os.kill(os.getpid(), signal.SIGKILL)


def raises(cache, job):
    raise KeyError("a mistake of the job")


def rewards(place, job):
    place.env.reset(seed=job)
    return sum(place.env.step(np.zeros(2, np.float32))[1] for _ in range(3)) + place.shared


def hangs_once(place, job):
    number, marker = job
    if number == 1 and not Path(marker).exists():
        Path(marker).touch()
        time.sleep(300)
    return number


def send(function):
    """Have nodes find a function of this module, which they cannot import, by its value."""
    import ray.cloudpickle

    ray.cloudpickle.register_pickle_by_value(__import__("sys").modules[__name__])
    return function


def test_results_come_in_the_order_of_jobs(nodes):
    found = list(ordered_map(send(square), range(12), workers=0, engine="ray"))
    assert [value for value, _ in found] == [job * job for job in range(12)]
    assert os.getpid() not in {process for _, process in found}


def test_all_nodes_work_at_once(nodes, tmp_path):
    jobs = [(number, str(tmp_path)) for number in range(2)]
    found = list(ordered_map(send(meets), jobs, workers=0, engine="ray"))
    assert len(set(found)) == 2


def test_a_process_that_dies_costs_its_time(nodes, tmp_path):
    jobs = [(number, str(tmp_path / "marker")) for number in range(4)]
    assert list(cluster.cluster_map(send(dies_once), jobs)) == [0, 1, 2, 3]
    assert (tmp_path / "marker").exists()


def test_failures_are_told(nodes, monkeypatch):
    monkeypatch.setattr(cluster, "RETRIES", 1)
    with pytest.raises(RuntimeError, match="a mistake of the job"):
        list(cluster.cluster_map(send(raises), [0]))
    with pytest.raises(RuntimeError, match="ended 2 times on the cluster"):
        list(cluster.cluster_map(send(always_dies), [0]))


def test_collected_episodes_are_those_of_one_process(nodes):
    collection = Collection("toy_reach:ToyReach-v0", {"obs": "pose"}, episodes=5, tasks=[0, 1])
    here = collect(collection)
    there = collect(collection, workers=0, engine="ray")
    assert len(here) == len(there) == 10
    for ours, theirs in zip(here, there, strict=True):
        assert ours.info == theirs.info
        assert np.array_equal(ours.actions, theirs.actions)
        assert np.array_equal(ours.observations["pose"], theirs.observations["pose"])


def test_rollouts_are_those_of_one_process(nodes, factory):
    with EnvWorkers(factory) as here, rollouts_in(factory, workers=0, engine="ray") as there:
        assert there.workers == 2
        for shared in (10.0, 20.0):
            expected = list(here.run(rewards, range(5), shared=shared))
            assert list(there.run(send(rewards), range(5), shared=shared)) == expected


def test_a_job_that_hangs_is_tried_again(nodes, factory, tmp_path):
    jobs = [(number, str(tmp_path / "marker")) for number in range(3)]
    with cluster.ClusterRollouts(factory, timeout=12.0) as there:
        assert list(there.run(send(hangs_once), jobs)) == [0, 1, 2]
        assert there.lost == 1


def test_unknown_engines_are_refused():
    with pytest.raises(ValueError, match="unknown engine 'rey'; valid: local, ray"):
        list(ordered_map(square, [1], engine="rey"))
