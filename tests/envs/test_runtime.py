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
        place.mkdir(exist_ok=True)
    given = {name: str(place) for name, place in places.items()}
    inherited = {name: word for name, word in os.environ.items() if name != "LIBERO_CONFIG_PATH"}
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**inherited, **given, **variables},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_killed_while_it_imports_it_leaves_nothing(tmp_path: Path) -> None:
    assert run(KILLED, tmp_path).returncode == -9
    assert not list((tmp_path / "home").iterdir())
    assert not list((tmp_path / "tmp").iterdir())


@pytest.mark.parametrize("named", ["by the variable", "at home", "nowhere", "by an empty variable"])
@pytest.mark.parametrize("configured", [False, True])
def test_no_question_is_asked_and_no_configuration_written(
    tmp_path: Path, named: str, configured: bool
) -> None:
    own = tmp_path / ("home/.libero" if named == "at home" else "own")
    variables = {"by the variable": str(own), "by an empty variable": ""}
    if configured:
        own.mkdir(parents=True)
        (own / "config.yaml").write_text("bddl_files: /somewhere\n")
    asks = f"{IMPORT}\nimport os, libero.libero\n"
    asks += "print(os.environ.get('LIBERO_CONFIG_PATH'), libero.libero.config_file, sep='\\n')"
    given = {} if named not in variables else {"LIBERO_CONFIG_PATH": variables[named]}
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    done = run(asks, tmp_path, **given)
    assert done.returncode == 0, done.stderr
    told, read = done.stdout.splitlines()
    assert told == variables.get(named, "None")  # the user's variable is as it was
    found = configured and named in ("by the variable", "at home")
    assert (read == str(own / "config.yaml")) == found
    left = {path for path in tmp_path.rglob("*") if "libero" in path.name.lower()}
    assert left <= before.keys()
