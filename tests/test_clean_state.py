"""scripts/clean_state.sh: commands see nothing of this machine's past."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "scripts" / "clean_state.sh"
pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("bash", "git"))), reason="the script needs bash and git"
)


class Machine:
    """A repository with a file that is committed and one that is not, and a PATH with caches."""

    def __init__(self, folder: Path) -> None:
        self.repository, self.tmp = folder / "repository", folder / "tmp"
        self.tools, self.venv = folder / "tools", folder / "venv"
        for path in (self.repository / "scripts", self.tmp, self.tools, self.venv / "bin"):
            path.mkdir(parents=True)
        shutil.copy2(SCRIPT, self.repository / "scripts")
        (self.repository / "committed").write_text("here\n")
        git = ["git", "-C", str(self.repository), "-c", "user.name=x", "-c", "user.email=x@x"]
        subprocess.run([*git, "init", "--quiet"], check=True)
        subprocess.run([*git, "add", "."], check=True)
        subprocess.run([*git, "commit", "--quiet", "-m", "all"], check=True)
        (self.repository / "new").write_text("not yet\n")
        for place, name in (
            (self.tools, "cmake"), (self.tools, "ccache"), (self.tools, "own"),
            (self.venv / "bin", "of-the-environment"),
        ):  # fmt: skip
            (place / name).write_text("#!/bin/sh\necho found\n")
            (place / name).chmod(0o755)
        (self.tools / "cc").symlink_to("ccache")
        (self.venv / "pyvenv.cfg").write_text("")

    def run(self, *commands: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self.repository / "scripts" / "clean_state.sh"), *commands],
            env={
                "PATH": f"{self.tools}:{self.venv / 'bin'}:{os.environ['PATH']}",
                "HOME": str(self.repository),
                "TMPDIR": str(self.tmp),
                "SECRET": "of this shell",
                **env,
            },
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    return Machine(tmp_path_factory.mktemp("machine"))


def test_a_command_finds_the_commit_and_nothing_else(machine: Machine) -> None:
    done = machine.run(
        "cat committed; ls new 2>/dev/null || echo no new; ls -A $HOME | wc -l; own",
        "for n in cmake ccache of-the-environment; do command -v $n || echo no $n; done",
        "readlink -f $(command -v cc) | grep ccache || echo no cached compiler; echo $SECRET.",
    )
    assert done.returncode == 0, done.stderr
    lines = [line.strip() for line in done.stdout.splitlines()]
    assert lines[:4] == ["here", "no new", "0", "found"]
    assert lines[4:7] == ["no cmake", "no ccache", "no of-the-environment"]
    assert lines[7:9] == ["no cached compiler", "."]
    assert "what is not committed is left out" in done.stderr
    assert list(machine.tmp.iterdir()) == []


def test_times_and_failures_are_told_of_every_command(machine: Machine) -> None:
    done = machine.run("sleep 1", "exit 3", "exit 4", "true")
    assert done.returncode == 3
    found = re.findall(r"(\d+) s  exit (\d)  (.*)", done.stdout)
    assert [(code, command) for _, code, command in found] == [
        ("0", "sleep 1"), ("3", "exit 3"), ("4", "exit 4"), ("0", "true"),
    ]  # fmt: skip
    assert 1 <= int(found[0][0]) < 30


def test_where_packages_come_from_is_kept_and_so_is_the_folder_if_asked(machine: Machine) -> None:
    done = machine.run("echo $PIP_INDEX_URL; pwd", PIP_INDEX_URL="https://x.invalid", KEEP="1")
    assert done.returncode == 0, done.stderr
    index, clone, _ = done.stdout.splitlines()
    assert index == "https://x.invalid"
    assert (Path(clone) / "committed").is_file()
    shutil.rmtree(Path(clone).parent)
