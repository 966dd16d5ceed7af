"""The six commands of the homework's text, as they are written there, on LIBERO at tiny size."""

from __future__ import annotations

import csv
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from typer.testing import CliRunner, Result

from mbrl_agents.cli.main import app

TEXT = {
    "q1_simple_cem": """
        model_type=simple planner.type=cem planner.horizon=10 planner.num_samples=100
        planner.num_elites=10 training.num_epochs=50 exp_name=q1_simple_cem""",
    "q2_policy_training": """
        model_type=simple planner.type=policy planner.horizon=10 training.num_epochs=50
        exp_name=q2_policy_training""",
    "q2_policy_cem": """
        model_type=simple planner.type=policy_guided_cem planner.horizon=10
        planner.num_samples=50 planner.num_elites=5
        load_policy=outputs/q2_policy_training/policy.pth exp_name=q2_policy_cem""",
    "q3_dreamer_cem": """
        model_type=dreamer planner.type=cem planner.horizon=10 planner.num_samples=100
        training.num_epochs=100 exp_name=q3_dreamer_cem""",
    "q4_dreamer_policy": """
        model_type=dreamer planner.type=policy planner.horizon=10 training.num_epochs=100
        exp_name=q4_dreamer_policy""",
    "q4_dreamer_policy_cem": """
        model_type=dreamer planner.type=policy_guided_cem planner.horizon=10
        planner.num_samples=50 load_policy=outputs/q4_dreamer_policy/policy.pth
        load_world_model=outputs/q3_dreamer_cem/world_model.pth
        exp_name=q4_dreamer_policy_cem""",
}
SHORT = ["env.max_episode_steps=25", "eval.episodes=1", "dataset.episodes=2"]


pytestmark = pytest.mark.slow


def mbrl(*words: str) -> Result:
    return CliRunner().invoke(app, ["train", *words, "--workers", "1"])


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all six have been run, one after the other."""
    folder = tmp_path_factory.mktemp("homework")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for text in TEXT.values():
            words = text.split()
            quick = [] if "load_policy" in text else ["training.num_epochs=2"]
            result = mbrl(*words, *SHORT, *quick)
            assert result.exit_code == 0, result.output
    return folder / "outputs"


@pytest.mark.parametrize("name", TEXT)
def test_each_leaves_what_the_text_asks_for(outputs: Path, name: str) -> None:
    folder = outputs / name
    results: dict[str, Any] = json.loads((folder / "evaluation_results.json").read_text())
    assert results["episodes"] == 1
    assert 0.0 <= results["success_rate"] <= 1.0
    assert results["plan_ms_p50"] > 0.0
    with (folder / "training_logs.csv").open() as stream:
        assert {"phase", "step", "metric", "value"} <= set(next(csv.DictReader(stream)))
    config = yaml.safe_load((folder / ".hydra/config.yaml").read_text())
    assert config["exp_name"] == name
    overrides = yaml.safe_load((folder / ".hydra/overrides.yaml").read_text())
    assert set(TEXT[name].split()) <= set(overrides)
    weights = torch.load(folder / "world_model.pth", weights_only=True)
    assert all(isinstance(tensor, torch.Tensor) for tensor in weights.values())
    assert (folder / "policy.pth").is_file() == ("policy" in name)
    architecture = "dreamerV3.py" if "dreamer" in name else "simple_world_model.py"
    assert (folder / "miniGRP.pth").stat().st_size > 0
    assert (folder / architecture).is_file()


def test_the_planner_is_the_one_asked_for(outputs: Path) -> None:
    config = yaml.safe_load((outputs / "q2_policy_cem/config.yaml").read_text())
    planner = config["planner"]
    assert (planner["horizon"], planner["samples"], planner["elites"]) == (10, 50, 5)


def test_what_is_loaded_is_not_trained(outputs: Path) -> None:
    for name in ("policy", "world_model"):
        a, b = (outputs / run / f"{name}.pth" for run in ("q2_policy_training", "q2_policy_cem"))
        first, second = (torch.load(file, weights_only=True) for file in (a, b))
        assert all(torch.equal(first[key], second[key]) for key in first)


def test_they_are_what_the_zip_asks_for(outputs: Path, tmp_path: Path) -> None:
    target = tmp_path / "submit.zip"
    result = CliRunner().invoke(
        app, ["export", "submission", str(outputs), "--out", str(target), "--partial"]
    )
    assert result.exit_code == 0, result.output
    names = zipfile.ZipFile(target).namelist()
    for wanted in ("q1_simple_cem/miniGRP.pth", "q4_dreamer_policy_cem/evaluation_results.json"):
        assert f"submit/outputs/{wanted}" in names
    assert not [name for name in names if name.endswith("world_model.pth")]


def test_a_finished_experiment_can_be_evaluated_like_any_run(
    outputs: Path,
) -> None:
    run = str(outputs / "q4_dreamer_policy_cem")
    result = CliRunner().invoke(app, ["eval", run, "--episodes", "1", "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["method"] == "dreamer-policy-cem"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["load_policy=outputs/none/policy.pth"], "does not exist"),
        (["load_policy=outputs/q1_simple_cem/world_model.pth"], "cannot use its weights"),
        (["load_policy=outputs/elsewhere/policy.pth"], "lies in no finished experiment"),
        (["load_policy=outputs/broken/policy.pth"], "not a readable state dict"),
        (
            [
                "load_policy=outputs/q2_policy_training/policy.pth",
                "load_world_model=outputs/other/world_model.pth",
            ],
            "another world model",
        ),
    ],
)
def test_what_cannot_be_loaded_is_named(
    outputs: Path,
    words: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    for name in ("q1_simple_cem", "q2_policy_training"):
        (tmp_path / "outputs").mkdir(exist_ok=True)
        (tmp_path / "outputs" / name).symlink_to(outputs / name)
    for name in ("elsewhere", "broken", "other"):
        (tmp_path / "outputs" / name).mkdir()
    (tmp_path / "outputs/elsewhere/policy.pth").write_bytes(b"")
    (tmp_path / "outputs/broken/run.json").write_bytes(
        (outputs / "q2_policy_training/run.json").read_bytes()
    )
    for file in (outputs / "q2_policy_training").iterdir():
        if file.is_file():
            (tmp_path / "outputs/broken" / file.name).write_bytes(file.read_bytes())
    (tmp_path / "outputs/broken/policy.pth").write_bytes(b"\x80\x02nothing")
    model = torch.load(outputs / "q1_simple_cem/world_model.pth", weights_only=True)
    shifted = {key: tensor + 1 for key, tensor in model.items()}
    torch.save(shifted, tmp_path / "outputs/other/world_model.pth")
    monkeypatch.chdir(tmp_path)
    result = mbrl("model_type=simple", "planner.type=policy_guided_cem", "exp_name=x", *words)
    assert result.exit_code == 1
    assert message in result.output
    assert not (tmp_path / "outputs/x").exists()


def test_a_finished_experiment_is_left_as_it_is(
    outputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(outputs.parent)
    results = outputs / "q2_policy_cem/evaluation_results.json"
    before = results.stat().st_mtime_ns
    words = [*TEXT["q2_policy_cem"].split(), *SHORT]
    assert mbrl(*words).exit_code == 0
    assert results.stat().st_mtime_ns == before
    other = mbrl(*words, "planner.num_iterations=1")
    assert other.exit_code == 1
    assert "holds another experiment" in other.output
    assert results.stat().st_mtime_ns == before


def test_options_that_the_text_says_otherwise_are_refused() -> None:
    result = mbrl("model_type=simple", "planner.type=cem", "--out", "runs/x")
    assert result.exit_code == 2
    assert "exp_name=NAME" in result.output


def test_settings_without_a_method_are_refused() -> None:
    result = mbrl("planner.horizon=10")
    assert result.exit_code == 2
    assert "name the method before it" in result.output
