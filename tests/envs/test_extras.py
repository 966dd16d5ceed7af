"""Where a package is missing, one sentence says which extra brings it."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import gymnasium
import pytest
from typer.testing import CliRunner

from mbrl_agents.cli.main import app
from mbrl_agents.envs.extras import MissingExtra
from mbrl_agents.envs.registration import ENV_IDS

EXTRAS = {
    "mbrl/DMC-v0": ("dm_control", "dmc"),
    "mbrl/Atari-v0": ("ale_py", "atari"),
    "mbrl/MiniGrid-v0": ("minigrid", "minigrid"),
}


@pytest.fixture
def without(monkeypatch):
    """Packages of the extras cannot be found."""
    found = importlib.util.find_spec
    hidden = {module for module, _ in EXTRAS.values()}
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name, *rest: None if name in hidden else found(name)
    )


@pytest.mark.parametrize("env_id", EXTRAS)
def test_the_extra_is_named(env_id, without):
    module, extra = EXTRAS[env_id]
    with pytest.raises(MissingExtra) as error:
        gymnasium.make(env_id)
    assert str(error.value) == (
        f"{env_id} needs the package {module}, which is not installed: "
        f'pip install "mbrl-agents[{extra}]"'
    )
    assert isinstance(error.value, ImportError)
    assert isinstance(error.value, gymnasium.error.DependencyNotInstalled)


def test_a_command_says_the_same_without_a_traceback(without, tmp_path):
    arguments = ["train", "dreamer", "--env", "mbrl/DMC-v0", "--steps", "10"]
    done = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "run")])
    assert done.exit_code != 0
    assert 'pip install "mbrl-agents[dmc]"' in done.output
    assert "Traceback" not in done.output


def test_the_project_has_these_extras():
    folder = next(p for p in Path(__file__).resolve().parents if (p / "pyproject.toml").is_file())
    listed = (folder / "pyproject.toml").read_text(encoding="utf-8")
    for _, extra in EXTRAS.values():
        assert re.search(rf"^{extra} = \[", listed, re.MULTILINE)
    assert set(EXTRAS) < set(ENV_IDS)
    assert set(ENV_IDS) <= set(gymnasium.registry)
