"""One process at a time writes into a folder."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from mbrl_agents.benchmarks.runner import run_suite
from mbrl_agents.benchmarks.suite_files import suite_from_dict
from mbrl_agents.data.collect import Collection, collect_to_folder
from mbrl_agents.data.files import PARTIAL, atomic
from mbrl_agents.data.locks import LOCK_FILE, FolderInUse, atomic_folder, locked
from mbrl_agents.runs.spec import RunSpec
from mbrl_agents.runs.training import train_run

TOY = "toy_reach:ToyReach-v0"


def collects(folder: Path) -> Any:
    return collect_to_folder(folder, Collection(TOY, episodes=1))


def trains(folder: Path) -> Any:
    return train_run(RunSpec("sb3-ppo", TOY, steps=16), folder)


def compares(folder: Path) -> Any:
    suite = {"name": "t", "env": TOY, "data": {"source": "expert"}, "methods": ["random"]}
    return run_suite(suite_from_dict(suite), folder)


@pytest.mark.parametrize("work", [collects, trains, compares])
def test_a_second_process_is_refused(work: Callable[[Path], Any], tmp_path: Path) -> None:
    with locked(tmp_path):
        with pytest.raises(FolderInUse) as refused:
            work(tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == [LOCK_FILE]
    told = str(refused.value)
    assert told.startswith(f"{tmp_path} is in use by process {os.getpid()} on ")
    assert told.endswith("wait until that one is done, or take another folder")


def test_a_released_folder_is_as_it_was(tmp_path: Path) -> None:
    with locked(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b" / LOCK_FILE).is_file()
    assert not list(tmp_path.iterdir())
    with suppress(RuntimeError), locked(tmp_path / "c"):
        (tmp_path / "c" / "kept").touch()
        raise RuntimeError
    assert [path.name for path in (tmp_path / "c").iterdir()] == ["kept"]


def test_a_killed_process_holds_nothing_and_its_partial_files_go(tmp_path: Path) -> None:
    (tmp_path / ".arrays").mkdir()
    spared = tmp_path / ".arrays" / f".index.json.12345678{PARTIAL}"
    settings = tmp_path / ".vscode.settings"
    for path in (spared, settings):
        path.touch()
    child = os.fork()
    if child == 0:
        with locked(tmp_path), atomic(tmp_path / "data" / "shard"):
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    left = [path for path in (tmp_path / "data").iterdir() if path.name.endswith(PARTIAL)]
    assert len(left) == 1
    assert (tmp_path / LOCK_FILE).is_file()
    with locked(tmp_path):
        assert not left[0].exists()
    assert spared.exists()
    assert settings.exists()
    assert not (tmp_path / LOCK_FILE).exists()


def test_a_folder_that_somebody_is_writing_is_refused(tmp_path: Path) -> None:
    target = tmp_path / "converted"
    with atomic_folder(target) as first:
        (first / "kept").touch()
        with (
            pytest.raises(FolderInUse, match=f"another process writes {target}"),
            atomic_folder(target),
        ):
            raise AssertionError("not to be reached")
    assert [path.name for path in target.iterdir()] == ["kept"]
    assert [path.name for path in tmp_path.iterdir()] == ["converted"]


def test_what_a_killed_process_left_of_a_folder_goes(tmp_path: Path) -> None:
    target = tmp_path / "converted"
    child = os.fork()
    if child == 0:
        with atomic_folder(target) as folder:
            (folder / "half").touch()
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert len(list(tmp_path.iterdir())) == 1
    with atomic_folder(target) as folder:
        (folder / "whole").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["converted", "whole"]


def test_a_folder_that_appeared_meanwhile_is_kept(tmp_path: Path) -> None:
    target = tmp_path / "converted"

    def raced() -> None:
        with atomic_folder(target):
            target.mkdir()
            (target / "theirs").touch()

    with pytest.raises(FileExistsError, match="exists already"):
        raced()
    assert [path.name for path in tmp_path.rglob("*")] == ["converted", "theirs"]
