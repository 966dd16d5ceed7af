"""Baselines on disk: nothing in them is run, and nothing is lost."""

from __future__ import annotations

import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import mbrl_agents
from mbrl_agents.cli.main import app
from mbrl_agents.runs.spec import BASELINE_FILE, PICKLED_FILE, RunSpec
from mbrl_agents.runs.training import train_run

TOY = "toy_reach:ToyReach-v0"
SMALL: dict[str, tuple[str, tuple[str, ...]]] = {
    "sb3-sac": ("Pendulum-v1", ("baseline.learning_starts=8", "baseline.batch_size=8")),
    "sb3-ppo": (TOY, ("baseline.n_steps=8", "baseline.batch_size=8")),
    "sb3-dqn": ("CartPole-v1", ("baseline.learning_starts=8", "baseline.batch_size=8")),
}


def trained(method: str, folder: Path) -> Path:
    env, overrides = SMALL[method]
    overrides = (*overrides, "baseline.net_arch=[8]")
    train_run(RunSpec(method, env, overrides=overrides, steps=24), folder)
    return folder


def flat(values: Any, name: str = "") -> dict[str, Any]:
    """Nested values by dotted name."""
    if isinstance(values, torch.Tensor):
        return {name: values.tolist()}
    if not isinstance(values, dict | list | tuple):
        return {name: values}
    pairs = values.items() if isinstance(values, dict) else enumerate(values)
    return {k: v for key, value in pairs for k, v in flat(value, f"{name}.{key}").items()}


@pytest.mark.parametrize("method", SMALL)
def test_a_baseline_acts_and_learns_on_as_saved(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[Any] = []
    make = mbrl_agents.agents.sb3.build_baseline

    def keep(*arguments: Any, **named: Any) -> Any:
        kept.append(make(*arguments, **named))
        return kept[-1]

    monkeypatch.setattr("mbrl_agents.agents.sb3.build_baseline", keep)
    run = trained(method, tmp_path)
    original, monkeypatch = kept[-1], monkeypatch.undo()
    env = gymnasium.make(SMALL[method][0])
    model = mbrl_agents.load(run, env)
    assert type(model).__name__ == type(original).__name__
    assert model.num_timesteps == original.num_timesteps
    seen = [env.observation_space.sample() for _ in range(5)]
    for obs in seen:
        expected, _ = original.predict(obs, deterministic=True)
        np.testing.assert_array_equal(model.predict(obs, deterministic=True)[0], expected)
    # Optimisers too.
    assert flat(model.get_parameters()) == flat(original.get_parameters())
    model.learn(16)
    assert not list(run.glob("*.zip"))


class Harm:
    """What somebody pickles into a file that others will load."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return Path.touch, (self.marker,)


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """A run folder whose zip touches the file ``harmed`` when it is loaded."""
    import base64

    run = trained("sb3-ppo", tmp_path / "run")
    model = mbrl_agents.load(run)
    model.save(run / PICKLED_FILE)
    (run / BASELINE_FILE).unlink()
    with zipfile.ZipFile(run / PICKLED_FILE) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    data = json.loads(files["data"])
    code = base64.b64encode(pickle.dumps(Harm(tmp_path / "harmed"))).decode()
    data["extra"] = {":type:": "<class 'object'>", ":serialized:": code}
    files["data"] = json.dumps(data).encode()
    with zipfile.ZipFile(run / PICKLED_FILE, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return run


def test_pickled_code_runs_for_nobody_who_did_not_say_so(prepared: Path, tmp_path: Path) -> None:
    for command in (["eval", prepared], ["collect", tmp_path / "data", "--env", TOY, "--agent",
                                         prepared, "--workers", "1"]):  # fmt: skip
        result = CliRunner().invoke(app, [*map(str, command), "--episodes", "1"])
        assert result.exit_code != 0
        assert "--trust-pickle" in result.stderr
    with pytest.raises(ValueError, match="trust_pickle=True"):
        mbrl_agents.load(prepared)
    assert not (tmp_path / "harmed").exists()
    result = CliRunner().invoke(app, ["eval", str(prepared), "--episodes", "1", "--trust-pickle"])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "harmed").exists()


def test_an_environment_of_another_task_is_named(tmp_path: Path) -> None:
    run = trained("sb3-ppo", tmp_path)
    with pytest.raises(ValueError, match="give it the environment, task and settings of its"):
        mbrl_agents.load(run, gymnasium.make("Pendulum-v1"))
    agent = mbrl_agents.make_agent("simple-cem", "Pendulum-v1")
    agent.save(tmp_path / "agent")
    for act in (lambda env: mbrl_agents.load(tmp_path / "agent", env), agent.set_env):
        with pytest.raises(ValueError, match=r"the observations \{'obs': \(3,\)\}, but this"):
            act(gymnasium.make(TOY))


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("run.json", lambda text: text[:20], "is damaged"),
        ("run.json", lambda text: text.replace('"env_steps"', '"env_stps"'), "another version"),
        ("config.yaml", lambda text: text.replace("gamma:", "gama:"), "does not have"),
        ("config.yaml", lambda text: f"{text}\nx: [1,", "not valid YAML"),
    ],
)
def test_a_run_of_another_version_says_so(
    file: str, change: Any, message: str, tmp_path: Path
) -> None:
    run = trained("sb3-ppo", tmp_path)
    (run / file).write_text(change((run / file).read_text()))
    with pytest.raises(ValueError, match=message):
        mbrl_agents.load(run)
