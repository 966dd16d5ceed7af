"""A run for the hub: safetensors, settings, a card with what was measured, and back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

import mbrl_agents
from mbrl_agents.cli.main import app

TOY = "toy_reach:ToyReach-v0"
QUICK = ["planner.horizon=4", "planner.samples=16", "planner.elites=4", "training.model_steps=3"]


def mbrl(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_a_run_goes_to_the_hub_and_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, run, out = tmp_path / "data", tmp_path / "run", tmp_path / "hub"
    assert mbrl("collect", data, "--env", TOY, "--episodes", 3, "--workers", 1).exit_code == 0
    assert mbrl("train", "simple-cem", "--data", data, "--out", run, *QUICK).exit_code == 0
    result = mbrl("export", "hub", run, "--out", tmp_path / "unmeasured")
    assert result.exit_code == 0, result.output
    assert "Not evaluated" in (tmp_path / "unmeasured" / "README.md").read_text()
    result = mbrl("eval", run, "--episodes", 2, "--out", run, "--json")
    assert result.exit_code == 0, result.output
    measured = json.loads(result.stdout)
    result = mbrl("export", "hub", run, "--out", out, "--json")
    assert result.exit_code == 0, result.output
    files = json.loads(result.stdout)["files"]
    assert {"README.md", "config.json", "world_model.safetensors"} <= set(files)
    assert not [name for name in files if name.endswith((".pth", ".pkl", ".bin", ".zip"))]
    config = json.loads((out / "config.json").read_text())
    assert (config["method"], config["environment"]["id"]) == ("simple-cem", TOY)
    assert config["settings"]["planner"]["horizon"] == 4
    assert config["evaluation"] == measured
    card = (out / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: mbrl-agents\n")
    assert f"| episodes | {measured['episodes']} |" in card
    assert f"| return mean | {measured['return_mean']:.4g} |" in card

    asked = []

    def download(name: str, revision: str | None = None, **_: object) -> str:
        asked.append((name, revision))
        if name != "owner/name":
            raise OSError("not found")
        return str(out)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    observation = {"pose": np.linspace(-1, 1, 14).astype(np.float32)}
    wanted, _ = mbrl_agents.load(run).predict(observation, deterministic=True)
    for source in (out, "hf://owner/name", "hf://owner/name@v1"):
        action, _ = mbrl_agents.load(source).predict(observation, deterministic=True)
        np.testing.assert_array_equal(action, wanted)
    assert asked == [("owner/name", None), ("owner/name", "v1")]
    with pytest.raises(FileNotFoundError, match="gave no model 'owner/other'"):
        mbrl_agents.load("hf://owner/other")
    # It is a run folder too.
    assert mbrl("eval", out, "--episodes", 1).exit_code == 0
    result = mbrl("export", "hub", run, "--out", out)
    assert (result.exit_code, "exists already" in result.stderr) == (2, True)
    result = mbrl("export", "hub", run, "--out", tmp_path / "x", "--evaluation", tmp_path)
    assert (result.exit_code, "no evaluation in" in result.stderr) == (1, True)
    assert not (tmp_path / "x").exists()
