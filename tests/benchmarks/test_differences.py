"""Films of episodes that one row of a benchmark solves and another does not."""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mbrl_agents.benchmarks.differences import _write_small, choose, film, find_differences
from mbrl_agents.benchmarks.runner import run_suite
from mbrl_agents.benchmarks.suite_files import suite_from_dict

SCRIPT = Path(__file__).parents[2] / "scripts" / "film_differences.py"
STUCK = "expert (stuck)"


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("benchmark")
    suite = suite_from_dict(
        {
            "name": "films",
            "env": "toy_tasks:ToyTasks-v0",
            "tasks": [2],
            "evaluation": {"episodes": 3},
            "methods": [
                "expert",
                {"method": "expert", "test_env_kwargs": {"disturbance": "stuck"}},
            ],
        }
    )
    support = str(Path(__file__).parent.parent / "support")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", support + os.pathsep + os.environ.get("PYTHONPATH", ""))
        outcome = run_suite(suite, folder, workers=2)
    assert not outcome.failures
    return folder


@pytest.mark.parametrize("rows", [("expert", STUCK), (STUCK, "expert")])
def test_episodes_that_one_row_alone_solves(benchmark: Path, rows: tuple[str, str]) -> None:
    found = find_differences(benchmark, *rows)
    assert [d.init_state for d in found] == [0, 1, 2]
    assert {(d.solved.row, d.failed.row, d.task) for d in found} == {("expert", STUCK, 2)}
    assert choose(found, 2) == found[:2]
    assert find_differences(benchmark, "expert", "expert") == []


def test_both_are_played_again_side_by_side(benchmark: Path, tmp_path: Path) -> None:
    difference = find_differences(benchmark, "expert", STUCK)[0]
    path = tmp_path / "film.gif"
    assert film(difference, path, side=64) == [True, False]
    with Image.open(path) as picture:
        assert picture.size == (2 * 64, 64 + 16)
        left, right = (np.asarray(picture.convert("RGB"))[1, x] for x in (60, 124))
    assert left[1] > left[0], "green: solved"
    assert right[0] > right[1], "red: not"


def test_films_stay_small(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, (60, 120, 3), dtype=np.uint8) for _ in range(60)]
    path = tmp_path / "noise.gif"
    _write_small(path, noise, 20, 100_000)
    assert 0 < path.stat().st_size <= 100_000
    with pytest.raises(ValueError, match="cannot be made as small as 100 bytes"):
        _write_small(path, noise, 20, 100)
    assert not path.exists()


def test_the_script(
    benchmark: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = [str(benchmark), STUCK, "expert", "--out", str(tmp_path), "--count", "1"]
    monkeypatch.setattr(sys, "argv", ["film", *arguments, "--format", "gif"])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    told = capsys.readouterr().out
    assert "3 episodes that expert solves alone" in told
    assert f"0 episodes that {STUCK} solves alone" in told
    (path,) = tmp_path.iterdir()
    assert path.name == "task2-state0-expert-solves-expert-stuck-fails.gif"
    assert path.stat().st_size <= 300_000
    assert "otherwise" not in told


def test_mistakes_are_answered(benchmark: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds no benchmark"):
        find_differences(tmp_path, "expert", STUCK)
    with pytest.raises(ValueError, match="unknown row of films: 'exper'; did you mean 'expert'"):
        find_differences(benchmark, "exper", STUCK)
    (tmp_path / "suite.yaml").write_text((benchmark / "suite.yaml").read_text())
    with pytest.raises(ValueError, match=r"no result of 'evaluate expert .* of task 2"):
        find_differences(tmp_path, "expert", STUCK)
