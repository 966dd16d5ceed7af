"""The scripts that compare with stock LIBERO, and the one that kills commands."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import mujoco
import pytest

SCRIPTS = Path(__file__).parents[1] / "scripts"
OTHERS = {"film_differences", "kill_trials", "release_notes"}
STOCK = sorted(path for path in SCRIPTS.glob("*.py") if path.stem not in OTHERS)
REFERENCE = ("reference_images.py", "reference_poses.py")


@pytest.mark.parametrize("name", REFERENCE)
def test_a_reference_is_recorded_under_its_own_mujoco_only(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mujoco, "__version__", "3.8.1")
    out = tmp_path / "out.npz"
    monkeypatch.setattr(sys, "argv", [name, "--assets", str(tmp_path), "--out", str(out)])
    monkeypatch.setattr(sys, "path", [str(SCRIPTS), *sys.path])
    with pytest.raises(SystemExit, match=r"the reference is MuJoCo 3\.3\.0, this is 3\.8\.1"):
        runpy.run_path(str(SCRIPTS / name), run_name="__main__")
    assert not out.exists()


@pytest.mark.parametrize("name", REFERENCE)
def test_no_reference_is_overwritten_unasked(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", [name, "--assets", str(tmp_path)])
    monkeypatch.setattr(sys, "path", [str(SCRIPTS), *sys.path])
    with pytest.raises(SystemExit):
        runpy.run_path(str(SCRIPTS / name), run_name="__main__")
    assert "required: --out" in capsys.readouterr().err


@pytest.mark.parametrize("script", STOCK, ids=lambda path: path.stem)
def test_examples_name_one_folder_for_the_other_mujoco(script: Path) -> None:
    text = script.read_text(encoding="utf-8")
    assert set(re.findall(r"--target (\S+) mujoco==3\.3\.0", text)) == {"mujoco330"}
    assert set(re.findall(r"PYTHONPATH=(\S+) python", text)) == {"mujoco330"}


def test_a_trial_tells_what_a_command_left(tmp_path: Path) -> None:
    trials = runpy.run_path(str(SCRIPTS / "kill_trials.py"))
    mark = "a mark of this test"
    sleeping = [sys.executable, "-c", "import time; time.sleep(60)"]
    process = subprocess.Popen(sleeping, env={**os.environ, trials["MARK"]: mark})
    try:
        assert trials["marked"](mark) == [process.pid]
    finally:
        process.kill()
        process.wait()
    assert trials["marked"](mark) == []
    for name, left in ((".run.json.x.partial", True), (".in-use", True), ("run.json", False)):
        assert trials["temporary"](tmp_path / name) is left
    assert not trials["temporary"](tmp_path / ".arrays" / "rewards.npy")
