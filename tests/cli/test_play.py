"""`mbrl imagine RUN --play`: by a list, by a file, by the run's own policy, and by keys."""

from __future__ import annotations

import json
import os
import sys
import termios
from pathlib import Path

import numpy as np
import pytest
from gymnasium import spaces
from typer.testing import CliRunner, Result

from mbrl_agents.cli import keys
from mbrl_agents.cli.main import app

SMALL = [
    "world_model.latent=4", "world_model.depth=2", "world_model.hidden=8",
    "training.rollouts=2", "training.vision_updates=2", "training.encode_parts=1",
    "training.memory_updates=2", "training.batch_size=2", "training.sequence_length=4",
    "controller.generations=1", "controller.population=2", "controller.episodes=1",
    "controller.evaluate_episodes=1",
]  # fmt: skip


def mbrl(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_a_run_is_played_by_list_file_and_policy(tmp_path: Path) -> None:
    run, env = tmp_path / "run", "toy_images:ToyImages-v0"
    trained = mbrl("train", "world-models", "--env", env, "--workers", 0, "--out", run, *SMALL)
    assert trained.exit_code == 0, trained.output
    # The trained run keeps no episodes: its agent plays those to begin from.
    base = ("imagine", run, "--play", "--episodes", 1, "--context", 2, "--horizon", 4, "--json")
    result = mbrl(*base, "--actions", "0.5 -1; 1 0")
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    assert record["actions"] == [[0.5, -1.0], [1.0, 0.0]][: record["steps"]]
    for path in record["files"].values():
        assert Path(path).stat().st_size > 0
        assert Path(path).parent == run / "imagination"
    listed = tmp_path / "actions.txt"
    listed.write_text("0.5 -1\n1 0\n")
    again = json.loads(mbrl(*base, "--actions", listed).stdout)
    assert again["rewards"] == record["rewards"]
    own = json.loads(mbrl(*base, "--actions", "policy").stdout)
    assert 1 <= own["steps"] <= 4
    # Without a terminal and without a list the policy plays.
    assert json.loads(mbrl(*base).stdout)["actions"] == own["actions"]
    refused = mbrl(*base, "--actions", "0,1,2")
    assert refused.exit_code == 1
    assert "semicolon or a new line" in refused.stderr
    refused = mbrl("imagine", run, "--actions", "0,1")
    assert refused.exit_code == 2
    assert "give both" in refused.stderr


def test_keys_are_actions() -> None:
    discrete, box = spaces.Discrete(3, start=1), spaces.Box(-2, 4, (2,), np.float32)
    assert [keys.action_of(key, discrete) for key in "012"] == [1, 2, 3]
    assert keys.action_of("3", discrete) is keys.action_of("x", discrete) is None
    for key, expected in {
        "a": [-2, 1],
        "d": [4, 1],
        "s": [1, -2],
        "w": [1, 4],
        " ": [1, 1],
    }.items():
        np.testing.assert_array_equal(keys.action_of(key, box), expected)
    assert keys.action_of("j", box) is None
    typed = iter("zz1q")
    choose = keys.chooser(lambda: next(typed), discrete)
    assert choose(None, True) == 2
    assert choose(None, False) is None
    assert "0 to 2" in keys.help_text(discrete)
    keys.check_playable(discrete)
    with pytest.raises(ValueError, match="give --actions"):
        keys.check_playable(spaces.Discrete(99))


def test_keys_are_read_one_by_one_without_enter(monkeypatch: pytest.MonkeyPatch) -> None:
    master, slave = os.openpty()
    with os.fdopen(master, "wb", buffering=0) as typed, os.fdopen(slave) as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        before = termios.tcgetattr(terminal)
        with keys.single_keys() as read:
            typed.write(b"2")
            assert read() == "2"
        assert termios.tcgetattr(terminal) == before


def test_images_become_coloured_characters() -> None:
    image = np.zeros((8, 16, 3), np.uint8)
    image[:4] = (255, 0, 0)
    lines = keys.as_characters(image, rows=2).split("\n")
    assert len(lines) == 2
    assert lines[0].count("\u2580") == 8
    assert "38;2;255;0;0" in lines[0]
    assert "38;2;255;0;0" not in lines[1]
