"""What knows of what: an algorithm is known to its own folder and to the registry alone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "mbrl_agents"
FOLDERS = sorted(
    path.name
    for path in (PACKAGE / "algorithms").iterdir()
    if path.is_dir() and not path.name.startswith(("_", "."))
)
NAMES = re.compile(r"dreamer_v[123]|DreamerV[123]|iris|mdn", re.IGNORECASE)
"""Of algorithms; a shared layer cites the paper it comes from."""


def lines(folder: Path) -> list[tuple[Path, int, str]]:
    """Path within the package, number and text of every line of its files."""
    found = []
    for path in sorted(folder.rglob("*")):
        if path.suffix in (".py", ".yaml", ".md"):
            text = path.read_text(encoding="utf-8").splitlines()
            inside = path.relative_to(PACKAGE)
            found += [(inside, number, line) for number, line in enumerate(text, 1)]
    return found


def test_there_is_something_to_look_at():
    assert {"simple", "dreamer_v3"} <= set(FOLDERS)
    assert len({path for path, _, _ in lines(PACKAGE)}) > 50
    assert NAMES.search("from mbrl_agents.algorithms.dreamer_v3 import DreamerV3Model")


def test_no_algorithm_is_named_outside_its_folder_and_the_registry():
    named = [
        f"{path}:{number}: {line.strip()}"
        for path, number, line in lines(PACKAGE)
        if path.parts[0] != "registry"
        and not (path.parts[0] == "algorithms" and path.parts[1] in FOLDERS)
        and NAMES.search(line)
    ]
    assert not named


@pytest.mark.parametrize("folder", FOLDERS)
def test_an_algorithm_takes_nothing_from_another(folder):
    others = "|".join(name for name in FOLDERS if name != folder)
    taken = re.compile(rf"mbrl_agents\.algorithms\.({others})\b")
    found = [
        f"{path}:{number}: {line.strip()}"
        for path, number, line in lines(PACKAGE / "algorithms" / folder)
        if taken.search(line)
    ]
    assert not found


@pytest.mark.parametrize("folder", FOLDERS)
def test_nothing_outside_imports_an_algorithm(folder):
    """By name it is made: whoever needs one asks the registry."""
    taken = re.compile(rf"^\s*(from|import) mbrl_agents\.algorithms\.{folder}\b")
    found = [
        f"{path}:{number}: {line.strip()}"
        for path, number, line in lines(PACKAGE)
        if path.parts[:2] != ("algorithms", folder) and taken.search(line)
    ]
    assert not found
