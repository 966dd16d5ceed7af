"""LIBERO is imported without a question, and a process killed meanwhile leaves nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.libero

IMPORT = "from mbrl_agents.envs.libero.runtime import libero_envs; libero_envs()"
KILLED = f"""
import os, signal, sys

class Killer:
    def find_spec(self, name, path=None, target=None):
        if name == "libero.libero.envs":
            os.kill(os.getpid(), signal.SIGKILL)

sys.meta_path.insert(0, Killer())
{IMPORT}
"""


def run(code: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Python with an empty HOME and an empty folder for temporary files."""
    places = {"HOME": folder / "home", "TMPDIR": folder / "tmp"}
    for place in places.values():
        place.mkdir()
    given = {name: str(place) for name, place in places.items()}
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **given, **variables},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip


def left(folder: Path) -> list[str]:
    return [str(path) for path in folder.rglob("*") if "libero" in path.name]


def test_killed_while_it_imports_it_leaves_nothing(tmp_path: Path) -> None:
    assert run(KILLED, tmp_path).returncode == -9
    assert not list((tmp_path / "home").iterdir())
    assert not list((tmp_path / "tmp").iterdir())


@pytest.mark.parametrize("configured", [False, True])
def test_no_question_is_asked_and_no_configuration_written(
    tmp_path: Path, configured: bool
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    if configured:
        (own / "config.yaml").write_text("bddl_files: /somewhere\n")
    asks = "\nimport os, libero.libero; print(os.environ['LIBERO_CONFIG_PATH'])"
    asks += "\nprint(libero.libero.config_file)"
    done = run(IMPORT + asks, tmp_path, LIBERO_CONFIG_PATH=str(own))
    assert done.returncode == 0, done.stderr
    given, read = done.stdout.splitlines()
    assert given == str(own)  # the user's variable is as it was
    assert (read == str(own / "config.yaml")) == configured
    assert [path.name for path in own.iterdir()] == ["config.yaml"] * configured
    assert not left(tmp_path / "home")
    assert not left(tmp_path / "tmp")
