"""Assets that several tests of environments share."""

from __future__ import annotations

from pathlib import Path

import pytest

from mbrl_agents.envs.libero.assets import write_primitive_assets


@pytest.fixture(scope="module")
def primitive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_primitive_assets(tmp_path_factory.mktemp("assets") / "primitive")
