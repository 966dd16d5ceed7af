"""Values that no command can use: a usage error that names them, and nothing begun."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from mbrl_agents.cli.main import app

TOY = ["--env", "toy_reach:ToyReach-v0"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["collect", "x", "--task", "5-2"], "the range of tasks '5-2' is empty; write 2-5"),
        (["eval", "random", "--task", "0,5-2"], "the range of tasks '5-2' is empty; write 2-5"),
        (["collect", "x", "--seed", "-1", *TOY], "Invalid value for '--seed'"),
        (["eval", "random", "--seed", "-1", *TOY], "Invalid value for '--seed'"),
        (["collect", "x", "env.obs=[1,"], "cannot read the value of 'env.obs=[1,'"),
        (["eval", "random", "env.obs=[1,"], "cannot read the value of 'env.obs=[1,'"),
        (["collect", "x", "env.obs=!!python/object/apply:os.system [ls]"], "os.system"),
        (["eval", "random", "--out", "/proc/nope", *TOY], "cannot create the folder /proc/nope"),
        (["eval", "random", "--video", "/proc/nope", *TOY], "cannot create the folder /proc/nope"),
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
