"""What is installed: everything under mbrl_agents, nothing under generic names."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def copied(folder: Path) -> Path:
    """A copy of what packages are built from, so that nothing is left in the tree."""
    ignore = shutil.ignore_patterns("__pycache__")
    for name in ("mbrl_agents", "envs", "benchmarks"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignore)
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy2(ROOT / name, folder)
    return folder


def wheel_of(source: Path, out: Path) -> dict[str, bytes]:
    """The files of the wheel that a folder builds, by name."""
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--wheel-dir", str(out), str(source)], check=True, capture_output=True)
    (wheel,) = out.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return wheel_of(copied(tmp_path_factory.mktemp("source")), tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def shipped(wheel: dict[str, bytes]) -> set[str]:
    """Names of the files in a wheel."""
    return set(wheel)


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source distribution, unpacked; of a copy of its own, where no wheel left lists of files."""
    source, out = copied(tmp_path_factory.mktemp("source")), tmp_path_factory.mktemp("sdist")
    code = "import sys; from setuptools import build_meta as b; b.build_sdist(sys.argv[1])"
    run = [sys.executable, "-c", code, str(out)]
    subprocess.run(run, cwd=source, check=True, capture_output=True)
    (archive,) = out.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(out, filter="data")
    (folder,) = (path for path in out.iterdir() if path.is_dir())
    return folder


def test_only_one_name_is_taken(shipped: set[str]) -> None:
    tops = {name.split("/")[0] for name in shipped}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"mbrl_agents"}


def test_every_source_file_is_shipped(shipped: set[str]) -> None:
    for folder, place in [
        ("mbrl_agents", "mbrl_agents"),
        ("envs", "mbrl_agents/envs"),
        ("benchmarks", "mbrl_agents/benchmarks"),
    ]:
        for path in (ROOT / folder).rglob("*"):
            # Figures of past runs stay in the repository.
            if path.suffix in (".py", ".yaml", ".j2") and "results" not in path.parts:
                assert f"{place}/{path.relative_to(ROOT / folder).as_posix()}" in shipped


def test_package_data_is_shipped(shipped: set[str]) -> None:
    """Beside the code: what it reads when it runs."""
    for name in (
        "mbrl_agents/py.typed",
        "mbrl_agents/algorithms/simple/README.md",
        "mbrl_agents/envs/libero/reference/settled_spatial.npz",
    ):
        assert name in shipped
    assert not [name for name in shipped if "/results/" in name or "tests/" in name]


def test_a_source_distribution_builds_the_same_wheel(
    sdist: Path, wheel: dict[str, bytes], tmp_path: Path
) -> None:
    assert {"pyproject.toml", "setup.py", "README.md", "LICENSE"} <= set(os.listdir(sdist))
    again = wheel_of(sdist, tmp_path)
    assert again.keys() == wheel.keys()
    different = [name for name in wheel if again[name] != wheel[name]]
    # The list of files and their sums, whose order nothing promises.
    assert [name for name in different if not name.endswith("/RECORD")] == []


@pytest.mark.parametrize("folder", ["envs", "benchmarks"])
def test_generic_names_are_refused_with_the_right_one(folder: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"import {folder}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert f"mbrl_agents.{folder}" in done.stderr
