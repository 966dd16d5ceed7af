"""``mbrl imagine``, and the same images at the end of training."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner, Result

from mbrl_agents.cli.main import app

TOY = "toy_reach:ToyReach-v0"
TINY = [
    "world_model.deter=32",
    "world_model.hidden=16",
    "world_model.units=16",
    "world_model.stoch=4",
    "training.model_steps=4",
    "training.policy_steps=4",
    "training.batch_size=4",
    "training.sequence_length=8",
]


def mbrl(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_a_run_is_shown_after_training_and_by_command(tmp_path: Path) -> None:
    data, run = tmp_path / "data", tmp_path / "run"
    assert mbrl("collect", data, "--env", TOY, "--episodes", 6, "--workers", 1).exit_code == 0
    result = mbrl("train", "dreamer-policy", "--data", data, "--out", run, *TINY)
    assert result.exit_code == 0, result.output
    metrics = run / "imagination" / "metrics.json"
    assert json.loads(metrics.read_text())["source"] == "held-out episodes"
    command = ("imagine", run, "--context", 2, "--horizon", 3, "--json")
    result = mbrl(*command)
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert summary["context"] == 2
    assert summary == json.loads(metrics.read_text())
    other = tmp_path / "other"
    mbrl("collect", other, "--env", TOY, "--episodes", 2, "--seed", 5, "--workers", 1)
    result = mbrl("imagine", run, "--context", 2, "--data", other, "--out", tmp_path / "shown")
    assert result.exit_code == 0, result.output
    assert "2 episodes it was not trained on" in result.stdout
    assert (tmp_path / "shown" / "imagination" / "best-curves.png").is_file()
    result = mbrl("imagine", run, "--context", 500)
    assert result.exit_code == 1
    assert "more than 500 frames" in result.stderr


def test_a_run_on_own_experience_is_shown_the_newest_of_it(tmp_path: Path) -> None:
    run = tmp_path / "run"
    result = mbrl(
        "train", "mbpo", "--env", "CartPole-v1", "--steps", 60, "--out", run,
        "world_model.members=2", "world_model.elites=2", "world_model.hidden=[8]",
        "world_model.end_hidden=[8]", "model_free.hidden=[8]", "training.random_steps=30",
        "training.first_updates=2", "training.rollouts=8", "training.updates_per_step=0.1",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    result = mbrl("imagine", run, "--context", 1, "--horizon", 5, "--json")
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert summary["source"] == "replayed episodes"
    found = summary["per_dimension"]["obs"]
    assert {name: len(numbers) for name, numbers in found.items()} == {
        "error": 4, "range": 4, "inside": 4
    }  # fmt: skip
    assert all(width > 0 for width in found["range"])
    assert all(0 <= share <= 1 for share in found["inside"])
    assert (run / "imagination" / "worst-curves.png").is_file()
    (run / "checkpoint.safetensors").unlink()
    result = mbrl("imagine", run)
    assert result.exit_code == 1
    assert "keeps no experience of its own" in result.stderr


def test_runs_that_cannot_be_shown(tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = ("train", "sb3-ppo", "--env", TOY, "--steps", 32, "--out", run, "baseline.n_steps=16")
    result = mbrl(*command)
    assert result.exit_code == 0, result.output
    assert not (run / "imagination").exists()
    result = mbrl("imagine", run)
    assert result.exit_code == 2
    assert "sb3-ppo has no world model" in result.stderr
    result = mbrl("imagine", tmp_path / "nowhere")
    assert result.exit_code == 2


def test_a_run_that_gathered_its_own_episodes_is_shown_on_new_ones(tmp_path: Path) -> None:
    run, env = tmp_path / "run", "toy_images:ToyImages-v0"
    small = [
        "world_model.latent=4", "world_model.depth=2", "world_model.hidden=8",
        "training.rollouts=2", "training.vision_updates=2", "training.encode_parts=1",
        "training.memory_updates=2", "training.batch_size=2", "training.sequence_length=4",
        "controller.generations=1", "controller.population=2", "controller.episodes=1",
        "controller.evaluate_episodes=1",
    ]  # fmt: skip
    result = mbrl("train", "world-models", "--env", env, "--workers", 0, "--out", run, *small)
    assert result.exit_code == 0, result.output
    shown = run / "imagination"
    assert json.loads((shown / "metrics.json").read_text())["source"] == "replayed episodes"
    assert not (run / "replay").exists()
    for path in shown.iterdir():
        path.unlink()
    result = mbrl("imagine", run, "--episodes", 2, "--context", 2, "--horizon", 4, "--json")
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert summary["source"] == "episodes it was not trained on"
    assert "prior.png" in {path.name for path in shown.iterdir()}
    for name in ("dreams", "latents", "mixture-entropy", "dream-beside-reality"):
        assert (shown / f"{name}.png").stat().st_size > 500
    for name in ("dreams", "dream-beside-reality"):
        assert any((shown / f"{name}{suffix}").is_file() for suffix in (".mp4", ".gif"))
    assert summary["illustrations"]["mixture-entropy/entropy_1"] > 0
