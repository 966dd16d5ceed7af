"""The zip has the layout of the course's text, and stays below its limit."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mbrl_agents.cli.main import app
from mbrl_agents.export.submission import OUTPUTS, export_submission
from mbrl_agents.registry.hand_in import CODE


def outputs(root: Path) -> Path:
    """Everything that the text asks for, a few bytes each."""
    for experiment, files in OUTPUTS.items():
        folder = root / "outputs" / experiment
        (folder / ".hydra").mkdir(parents=True)
        for name in ("config.yaml", "overrides.yaml"):
            (folder / ".hydra" / name).write_text("a: 1\n")
        for name in files:
            if not name.endswith("/"):
                (folder / name).write_text(name)
        (folder / "events.out.tfevents.1").write_text("left out")
    (root / "hw2").mkdir()
    for name in CODE:
        (root / "hw2" / name).write_text("pass\n")
    return root / "outputs"


def test_the_layout_is_that_of_the_text(tmp_path: Path) -> None:
    found = outputs(tmp_path)
    arguments = ["export", "submission", str(found), "--out", str(tmp_path / "s.zip"), "--json"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    with zipfile.ZipFile(tmp_path / "s.zip") as archive:
        names = set(archive.namelist())
        assert archive.testzip() is None
    assert names == set(json.loads(result.stdout)["files"])
    assert {f"submit/hw2/{name}" for name in CODE} | {"submit/README.md"} <= names
    assert {
        "submit/outputs/q1_simple_cem/miniGRP.pth",
        "submit/outputs/q1_simple_cem/training_logs.csv",
        "submit/outputs/q1_simple_cem/.hydra/config.yaml",
        "submit/outputs/q2_policy_training/policy.pth",
        "submit/outputs/q2_policy_cem/evaluation_results.json",
        "submit/outputs/q3_dreamer_cem/training_logs.csv",
        "submit/outputs/q4_dreamer_policy/policy.pth",
        "submit/outputs/q4_dreamer_policy_cem/evaluation_results.json",
    } <= names
    assert not [name for name in names if "tfevents" in name]


def test_what_is_missing_is_listed(tmp_path: Path) -> None:
    found = outputs(tmp_path)
    (found / "q2_policy_training" / "policy.pth").unlink()
    with pytest.raises(FileNotFoundError, match=r"outputs/q2_policy_training/policy\.pth"):
        export_submission(found, tmp_path / "s.zip")
    assert not (tmp_path / "s.zip").exists()
    # One experiment's folder stands for all of them.
    made = export_submission(found / "q1_simple_cem", tmp_path / "s.zip", partial=True)
    assert made.missing == ["outputs/q2_policy_training/policy.pth"]
    with pytest.raises(FileNotFoundError, match="none of the experiments"):
        export_submission(tmp_path / "nowhere" / "x", tmp_path / "t.zip", partial=True)


def test_a_zip_at_the_limit_is_refused(tmp_path: Path) -> None:
    found = outputs(tmp_path)
    (found / "q3_dreamer_cem" / "miniGRP.pth").write_bytes(os.urandom(60_000))
    (tmp_path / "s.zip").write_text("an earlier one")
    with pytest.raises(ValueError, match=r"largest: submit/outputs/q3_dreamer_cem/miniGRP\.pth"):
        export_submission(found, tmp_path / "s.zip", limit=50_000)
    assert (tmp_path / "s.zip").read_text() == "an earlier one"
    size = export_submission(found, tmp_path / "s.zip").size
    assert size == (tmp_path / "s.zip").stat().st_size
    with pytest.raises(ValueError, match="must stay below"):
        export_submission(found, tmp_path / "s.zip", limit=size)


def test_the_limit_is_the_texts(tmp_path: Path) -> None:
    found = outputs(tmp_path)
    (found / "q4_dreamer_policy" / "miniGRP.pth").write_bytes(os.urandom(50_000_000))
    result = CliRunner().invoke(
        app, ["export", "submission", str(found), "--out", str(tmp_path / "s.zip")]
    )
    assert (result.exit_code, "must stay below 50 MB" in result.stderr) == (1, True)
    assert not (tmp_path / "s.zip").exists()
