"""Two Ray nodes on this machine, each with one processor."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

MEMORY = 80 * 2**20


@contextlib.contextmanager
def two_nodes() -> Iterator[tuple[Any, Any]]:
    """The cluster and its second node, to which this process is connected."""
    import ray
    from ray.cluster_utils import Cluster

    support = str(Path(__file__).parent)
    before = dict(os.environ)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [support, before.get("PYTHONPATH")]))
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # Beside anything else, Ray's own niceness of 15 would have its processes wait for minutes.
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 (its name)
    cluster = None
    try:
        try:
            cluster = Cluster(
                initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": MEMORY}
            )
            second = cluster.add_node(num_cpus=1, object_store_memory=MEMORY)
            ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
        except Exception as error:  # no ports, no shared memory: nothing of ours
            pytest.skip(f"Ray starts no two nodes on this machine: {error}")
        yield cluster, second
    finally:
        ray.shutdown()
        if cluster is not None:
            cluster.shutdown()
        os.environ.clear()
        os.environ.update(before)
