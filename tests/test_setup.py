"""scripts/setup.sh on a machine without cmake: packages that need it can still be built.

Nothing is fetched: a wheel named cmake, a few lines long, is laid out like the real one, and pip
builds a small package in its usual isolation.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import venv
import zipfile
from pathlib import Path

import pytest

pip = pytest.importorskip("pip", reason="packages are built with this environment's pip")

ROOT = Path(__file__).parent.parent
BASH = shutil.which("bash")
pytestmark = pytest.mark.skipif(BASH is None, reason="setup.sh needs bash")

BACKEND = """
import subprocess, zipfile

def build_wheel(folder, config_settings=None, metadata_directory=None):
    print(subprocess.check_output(["cmake", "--version"], text=True))
    name = "needs_cmake-1.0-py3-none-any.whl"
    info = "needs_cmake-1.0.dist-info/"
    with zipfile.ZipFile(f"{folder}/{name}", "w") as wheel:
        metadata = "Metadata-Version: 2.1\\nName: needs_cmake\\nVersion: 1.0\\n"
        wheel.writestr(info + "METADATA", metadata)
        wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\\nTag: py3-none-any\\n")
        wheel.writestr(info + "RECORD", "")
    return name
"""
CMAKE = """
import os, subprocess, sys

CMAKE_BIN_DIR = os.path.join(os.path.dirname(__file__), "data", "bin")

def cmake():
    raise SystemExit(subprocess.call([os.path.join(CMAKE_BIN_DIR, "cmake"), *sys.argv[1:]]))
"""


class Machine:
    """A virtual environment, a package index with cmake in it, and no cmake on PATH."""

    def __init__(self, folder: Path) -> None:
        self.venv = folder / "venv"
        venv.create(self.venv)
        self.python = self.venv / "bin" / "python"
        (self.packages,) = self.venv.glob("lib/python3*/site-packages")
        # This environment's pip: unpacking another would take most of the test's time.
        (self.packages / "pip").symlink_to(Path(pip.__file__).parent)
        self.index = folder / "index"
        self.index.mkdir()
        self._cmake_wheel()
        self.package = folder / "needs_cmake"
        self.package.mkdir()
        (self.package / "backend.py").write_text(BACKEND)
        (self.package / "pyproject.toml").write_text(
            '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        )
        tools = folder / "tools"
        tools.mkdir()
        for name in ("mktemp", "rm", "uname"):
            (tools / name).symlink_to(str(shutil.which(name)))
        kept = {key: os.environ[key] for key in ("HOME", "TMPDIR", "LANG") if key in os.environ}
        self.env = {
            **kept,
            "PATH": f"{self.venv / 'bin'}:{tools}",
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(self.index),
            "PIP_NO_CACHE_DIR": "1",
            "PIP_CONFIG_FILE": os.devnull,
        }

    def _cmake_wheel(self) -> None:
        program = zipfile.ZipInfo("cmake/data/bin/cmake")
        program.external_attr = 0o100755 << 16
        info = "cmake-3.31.0.dist-info/"
        with zipfile.ZipFile(self.index / "cmake-3.31.0-py3-none-any.whl", "w") as wheel:
            wheel.writestr("cmake/__init__.py", CMAKE)
            wheel.writestr(program, f"#!{BASH}\necho cmake version 3.31.0\n")
            wheel.writestr(
                info + "METADATA", "Metadata-Version: 2.1\nName: cmake\nVersion: 3.31.0\n"
            )
            wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
            wheel.writestr(info + "entry_points.txt", "[console_scripts]\ncmake = cmake:cmake\n")
            wheel.writestr(info + "RECORD", "")

    def run(self, script: str, **env: str) -> subprocess.CompletedProcess[str]:
        """A bash script that has setup.sh's functions at hand."""
        return subprocess.run(
            [str(BASH), "-euc", f". {ROOT}/scripts/build_tools.sh\n{script}"],
            env={**self.env, **env},
            capture_output=True,
            text=True,
            check=False,
        )

    def pip(self, *arguments: object) -> str:
        """A command line of the environment's pip."""
        return " ".join(map(str, [self.python, "-m pip", *arguments]))

    @property
    def build(self) -> str:
        """The command that builds the package which calls cmake, isolated as pip does it."""
        return self.pip("wheel --quiet --no-deps --wheel-dir", self.index.parent, self.package)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    return Machine(tmp_path_factory.mktemp("machine"))


@pytest.fixture
def bare(machine: Machine) -> Machine:
    for installed in machine.packages.glob("cmake*"):
        shutil.rmtree(installed)
    (machine.venv / "bin" / "cmake").unlink(missing_ok=True)
    assert machine.run("command -v cmake").returncode != 0
    return machine


def test_without_cmake_the_program_inside_its_package_is_put_on_the_path(bare):
    done = bare.run(f"provide_cmake {bare.python}\ncommand -v cmake\n{bare.build}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].endswith("site-packages/cmake/data/bin/cmake")


def test_the_script_that_pip_installs_is_not_enough(bare):
    """Otherwise the test above would prove nothing: an unfinished set-up leaves this script."""
    assert bare.run(bare.pip("install --quiet cmake")).returncode == 0
    assert bare.run("cmake --version").stdout == "cmake version 3.31.0\n"
    assert bare.run("cmake_builds").returncode != 0
    done = bare.run(bare.build)
    assert done.returncode != 0
    assert "No module named 'cmake'" in done.stdout + done.stderr
    done = bare.run(f"provide_cmake {bare.python}\n{bare.build}")
    assert done.returncode == 0, done.stderr


def test_a_cmake_that_works_is_left_alone(bare, tmp_path):
    program = tmp_path / "cmake"
    program.write_text(f"#!{BASH}\necho of the system\n")
    program.chmod(0o755)
    done = bare.run(
        f"provide_cmake {bare.python}\ncmake --version", PATH=f"{tmp_path}:{bare.env['PATH']}"
    )
    assert done.stdout == "of the system\n", done.stderr
    assert not (bare.venv / "bin" / "cmake").exists()


def test_failure_is_reported_where_the_index_has_no_cmake(bare, tmp_path):
    done = bare.run(
        f"provide_cmake {bare.python} || echo none to be had", PIP_FIND_LINKS=str(tmp_path)
    )
    assert done.stdout == "none to be had\n", done.stderr


def test_set_up_does_it_before_it_installs_the_project():
    lines = (ROOT / "scripts" / "setup.sh").read_text().splitlines()
    (sourced,) = (i for i, line in enumerate(lines) if line == ". scripts/build_tools.sh")
    (provided,) = (i for i, line in enumerate(lines) if line.startswith("provide_cmake "))
    (installed,) = (i for i, line in enumerate(lines) if "-m pip install" in line)
    assert sourced < provided < installed
