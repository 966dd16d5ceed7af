"""What is installed: everything under mbrl_agents, nothing under generic names."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Names of the files in a wheel, built from a copy so that nothing is left in the tree."""
    source = tmp_path_factory.mktemp("source")
    out = tmp_path_factory.mktemp("wheel")
    ignore = shutil.ignore_patterns("__pycache__")
    for name in ("mbrl_agents", "envs", "benchmarks"):
        shutil.copytree(ROOT / name, source / name, ignore=ignore)
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy2(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--wheel-dir", str(out), str(source)], check=True, capture_output=True)
    (wheel,) = out.glob("*.whl")
    return set(zipfile.ZipFile(wheel).namelist())


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
