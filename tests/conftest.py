"""A small environment with a demonstrator, quick enough to stand in for LIBERO in most tests."""

from __future__ import annotations

import os

# Before torch or numpy is imported: several test processes share few cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# SB3's baselines and the readers must not look for anything outside this machine.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
