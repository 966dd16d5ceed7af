"""A small environment with a demonstrator, quick enough to stand in for LIBERO in most tests."""

from __future__ import annotations

import os

import pytest

# Before torch or numpy is imported: several test processes share few cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# SB3's baselines and the readers must not look for anything outside this machine.
os.environ.setdefault("HF_HUB_OFFLINE", "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first: a process left with one at the end keeps the others waiting."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
