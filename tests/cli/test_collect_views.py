"""`mbrl collect --also`: the same episodes as another observation shows them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from mbrl_agents.cli.main import app
from mbrl_agents.runs.data import env_of_data

LIBERO = ["--task", "2", "env.obs=image"]


def collect(folder: Path, *words: object) -> Result:
    return CliRunner().invoke(app, ["collect", str(folder), *map(str, words)])


@pytest.mark.libero
def test_both_folders_name_the_environment_that_shows_them(tmp_path: Path) -> None:
    images, poses = tmp_path / "images", tmp_path / "poses"
    short = ["env.max_episode_steps=5", "env.assets=primitive", "--episodes", 1, "--workers", 1]
    result = collect(images, *LIBERO, *short, "--also", f"pose={poses}", "--json")
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert summary["added"] == 1
    assert summary["also"] == {"pose": {"folder": str(poses), "added": 1}}
    for folder, obs in ((images, "image"), (poses, "pose")):
        env, keywords = env_of_data(folder)
        assert env == "mbrl/LiberoSpatial-v0"
        assert keywords["obs"] == obs
    # A view that is asked for later gets what is there, which is not added twice.
    robot = tmp_path / "robot"
    told = collect(images, *LIBERO, *short, "--also", f"robot_pose={robot}").stdout
    assert f"0 added (0 successful), 1 in {images}\n" in told
    assert f"1 added as robot_pose, 1 in {robot}\n" in told


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([*LIBERO, "--also", "pose"], "--also takes OBS=FOLDER"),
        ([*LIBERO, "--also", "=poses"], "--also takes OBS=FOLDER"),
        ([*LIBERO, "--also", "poes=b"], "no obs='poes' (valid: robot_pose, pose, image)"),
        ([*LIBERO, "--also", "image=b"], "'image' is recorded already"),
        ([*LIBERO, "--also", "pose=b", "--also", "pose=c"], "'pose' is recorded already"),
        ([*LIBERO, "--also", "pose=a"], "a is given twice"),
        (["--env", "Pendulum-v1", "--source", "random", "--also", "pose=b"], "Pendulum-v1 has no"),
    ],
)
def test_mistakes_are_named_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = collect(Path("a"), *words)
    assert result.exit_code == 2
    assert message in result.stderr
    assert not list(tmp_path.iterdir())
