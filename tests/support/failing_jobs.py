"""Jobs that fail, where worker processes find them."""

from __future__ import annotations

import os

from mbrl_agents.data.parallel import EnvCache


def fail_at_two(cache: EnvCache, job: int) -> int:
    """The job's number; an exception for the third."""
    if job == 2:
        raise ValueError("job 2")
    return job


def die(cache: EnvCache, job: int) -> int:
    """End the process as a kill does."""
    os._exit(1)
