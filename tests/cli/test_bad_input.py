"""Values that no command can use: a usage error that names them, and nothing begun."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import gymnasium
import pytest
import typer
from typer.testing import CliRunner

from mbrl_agents.cli import console
from mbrl_agents.cli.main import app

SPATIAL = "mbrl/LiberoSpatial-v0"
TOY = ["--env", "toy_reach:ToyReach-v0"]
TRAIN = ["train", "simple-cem", "--data", "nowhere"]
BOMB = f"[&a {['x'] * 9}, " + ", ".join(
    f"&{after} [{', '.join([f'*{before}'] * 9)}]"
    for before, after in zip("abcdefgh", "bcdefghi", strict=True)
) + "]"  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["collect", "x", "--task", "5-2"], "the range of tasks '5-2' is empty; write 2-5"),
        (["eval", "random", "--task", "0,5-2"], "the range of tasks '5-2' is empty; write 2-5"),
        (["collect", "x", "--seed", "-1", *TOY], "Invalid value for '--seed'"),
        (["eval", "random", "--seed", "-1", *TOY], "Invalid value for '--seed'"),
        (["collect", "x", "env.obs=[1,"], "the value of 'env.obs=[1,' is not valid YAML"),
        (["eval", "random", "env.obs=[1,"], "the value of 'env.obs=[1,' is not valid YAML"),
        (["collect", "x", "env.obs=!!python/object/apply:os.system [ls]"], "os.system"),
        (["eval", "random", "--out", "/proc/nope", *TOY], "cannot create the folder /proc/nope"),
        (["eval", "random", "--video", "/proc/nope", *TOY], "cannot create the folder /proc/nope"),
        (["collect", "/proc/nope", *TOY], "cannot create the folder /proc/nope"),
        (["collect", "/dev/null", *TOY], "cannot create the folder /dev/null: File exists"),
        (["export", "leaderboard", "nowhere"], "nowhere does not exist: no run.json"),
        (["export", "hub", "nowhere"], "nowhere does not exist: no run.json"),
        (["export", "submission", "nowhere"], "nowhere is no folder"),
        (["doctor", "env.settle_step=3"], "no keyword 'settle_step'; did you mean 'settle_steps'?"),
        (["eval", "random", "env.fixture=random"], "did you mean 'fixtures'? (valid: suite, task"),
        (["collect", "x", "env.fixture=random"], "no keyword 'fixture'; did you mean 'fixtures'?"),
        (["inspect", "simple-cem", "env.rewards=dense"], "did you mean 'reward'?"),
        (["train", "sb3-sac", "--env", SPATIAL, "--steps", "9", "env.fixture=x"], "'fixtures'?"),
        (["eval", "random", "env.rewad=x", *TOY], "did you mean 'reward'?"),
        (["eval", "random", "env.max_episode_step=9", *TOY], "did you mean 'max_episode_steps'?"),
        ([*TRAIN, "--planner.horizon", "3"], "write planner.horizon=3 instead of"),
        (["eval", "random", "--planner.horizon=3"], "write planner.horizon=3 instead of"),
        ([*TRAIN, "training.seed=[1,"], "the value of 'training.seed=[1,' is not valid YAML"),
        ([*TRAIN, "training.seed=!!python/name:os.system"], "expected plain values"),
        ([*TRAIN, f"training.seed={BOMB}"], "once its aliases"),
        ([*TRAIN, f"training.seed={'[' * 5000}"], "nested too deeply"),
        ([*TRAIN, f"training.seed={'[' * 60}{']' * 60}"], "nested too deeply"),
        (["collect", "x", f"env.obs={BOMB}", *TOY], "once its aliases"),
        (["bench", "quick", f"env_kwargs.x={BOMB}"], "once its aliases"),
        (["bench", "quick", "seeds"], "an override looks like"),
        (["bench", "quik"], "no suite 'quik'; did you mean 'quick'?"),
        (["bench", "sped"], "did you mean 'speed'?"),
        (["bench", "quick", "env_kwargs.asets=official"], "in env_kwargs: 'asets'; did you mean"),
        (["bench", "quick", "evaluation.env_kwargs.fixture=x"], "in evaluation.env_kwargs"),
        (["eval", "random", "--device", "gpu", *TOY], "must be auto, cpu or cuda, not 'gpu'"),
        (["eval", "random", "--video-episodes", "best", *TOY], "give both"),
        (["eval", "random", "--video", "v", "--video-episodes", "20", *TOY], "from 0 to 19"),
        (["eval", "random", "--video", "v", "--video-episodes", "bets", *TOY], "not 'bets'"),
    ],
)
def test_bad_values_are_usage_errors(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, arguments)
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    assert not list(tmp_path.iterdir())


class OfNothing(gymnasium.Env):
    def __init__(self, size: int = 1) -> None:
        raise AssertionError("a check builds nothing")


class OfAnything(gymnasium.Env):
    def __init__(self, size: int = 1, **others: int) -> None:
        raise AssertionError("a check builds nothing")


@pytest.fixture
def registered() -> Iterator[None]:
    gymnasium.register("OfNothing-v0", entry_point=OfNothing)
    gymnasium.register("OfAnything-v0", entry_point=OfAnything)
    gymnasium.register("Missing-v0", entry_point="nowhere_to_be:Found")
    yield
    for name in ("OfNothing-v0", "OfAnything-v0", "Missing-v0"):
        del gymnasium.registry[name]


@pytest.mark.usefixtures("registered")
def test_keywords_of_environments_are_checked_by_signature(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for env_id in ("OfAnything-v0", "Missing-v0", "nowhere_to_be:Env-v0"):
        console.check_env_keywords(env_id, ["anything"])
    console.check_env_keywords(SPATIAL, ["task", "render_mode", "max_episode_steps"])
    console.check_env_keywords("OfNothing-v0", ["size", "max_episode_steps"])
    with pytest.raises(typer.Exit):
        console.check_env_keywords("OfNothing-v0", ["siz"])
    said = (
        "OfNothing-v0 has no keyword 'siz'; did you mean 'size'? (valid: size, max_episode_steps)"
    )
    assert said in capsys.readouterr().err
