"""What programs of ours do with memory they free."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mbrl_agents.allocator import keep_freed_memory

SCRIPT = """
import resource, sys
import numpy as np
from mbrl_agents.allocator import keep_freed_memory

if sys.argv[1] == "keep" and not keep_freed_memory():
    sys.exit(3)
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def work():
    np.ones(4_000_000)
work()
before = faults()
for _ in range(5):
    work()
print(faults() - before)
"""


def pages_cleared(mode: str) -> int:
    """Pages the system had to clear for 160 MB that were taken and freed over and over."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, mode], capture_output=True, text=True, check=False
    )
    if done.returncode == 3:
        pytest.skip("not glibc")
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_memory_that_is_kept_is_not_cleared_again():
    kept = pages_cleared("keep")
    assert kept < 100
    assert kept * 2 < pages_cleared("default")


def test_it_says_whether_it_could(monkeypatch):
    monkeypatch.setattr("mbrl_agents.allocator.ctypes.CDLL", lambda name: object())
    assert keep_freed_memory() is False
