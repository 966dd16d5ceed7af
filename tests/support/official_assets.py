"""LIBERO's own assets, where this machine has them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Read before any test changes the environment.
OFFICIAL = Path(
    os.environ.get("MBRL_LIBERO_ASSETS")
    or Path(__file__).parents[3] / "shared" / "libero" / "official"
).absolute()


def official_folder() -> Path:
    """LIBERO's own assets of libero_spatial, or skip."""
    if not OFFICIAL.is_dir():
        pytest.skip("no official LIBERO assets on this machine")
    return OFFICIAL
