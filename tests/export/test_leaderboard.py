"""What is handed in acts by itself: a bare interpreter, torch, and the folder."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from typer.testing import CliRunner, Result

from mbrl_agents.cli.main import app
from mbrl_agents.data.parallel import make_env
from mbrl_agents.export.sources import standalone
from mbrl_agents.runs.loading import load_run

TOY = "toy_reach:ToyReach-v0"
QUICK = ["planner.horizon=4", "planner.samples=16", "planner.elites=4"]
DREAMER = [
    "world_model.deter=32", "world_model.hidden=16", "world_model.units=16",
    "world_model.stoch=4", "training.batch_size=4", "training.sequence_length=8",
    "training.learning_starts=40", "training.train_ratio=2", "actor_critic.imagination=3",
]  # fmt: skip
FITTED = [*DREAMER[:6], "training.model_steps=3", "training.policy_steps=3"]
BARE = """
import json, sys
sys.path[:0] = sys.argv[1:3]
import torch
assert "mbrl_agents" not in sys.modules
agent = torch.load(sys.argv[1] + "/miniGRP.pth", weights_only=False)
found = []
for episode in json.load(sys.stdin):
    agent.reset()
    found.append([agent.act({k: torch.tensor(v) for k, v in o.items()}).tolist() for o in episode])
absent = [n for n in ("mbrl_agents", "numpy", "gymnasium", "stable_baselines3", "safetensors")
          if n in sys.modules]
json.dump({"actions": found, "loaded": absent}, sys.stdout)
"""
NEEDED = ("torch", "torchgen", "functorch", "typing_extensions", "sympy", "mpmath", "networkx",
          "jinja2", "markupsafe", "filelock", "fsspec", "nvidia")  # fmt: skip
"""torch, and what torch itself imports."""


def mbrl(*arguments: object) -> Result:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output
    return result


def bare_path(folder: Path) -> Path:
    """A folder to import from that has torch, and neither us nor NumPy."""
    folder.mkdir()
    for name in NEEDED:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            continue
        origin = Path(spec.origin)
        package = origin.name == "__init__.py"
        place = origin.parent if package else origin
        (folder / place.name).symlink_to(place)
    return folder


def episodes(count: int = 2, steps: int = 5) -> list[list[dict[str, list[float]]]]:
    env = make_env(TOY, {})
    rng, found = np.random.default_rng(0), []
    for seed in range(count):
        seen = [env.reset(seed=seed)[0]]
        seen += [env.step(rng.uniform(-1, 1, 7).astype(np.float32))[0] for _ in range(steps)]
        found.append([{key: value.tolist() for key, value in o.items()} for o in seen])
    return found


@pytest.mark.parametrize(
    ("method", "settings", "file"),
    [
        ("simple-policy-cem", [*QUICK, "training.model_steps=3", "training.policy_steps=3"],
         "simple_world_model"),
        ("simple-cem", [*QUICK, "training.model_steps=3"], "simple_world_model"),
        ("dreamer-policy-cem", [*QUICK, *FITTED], "dreamerV3"),
        ("dreamer", DREAMER, "dreamerV3"),
    ],
)  # fmt: skip
def test_a_bare_interpreter_acts_as_we_do(
    method: str, settings: list[str], file: str, tmp_path: Path
) -> None:
    run, out, source = tmp_path / "run", tmp_path / "out", ["--env", TOY, "--steps", 60]
    if method != "dreamer":
        mbrl("collect", tmp_path / "data", "--env", TOY, "--episodes", 4, "--workers", 1)
        source = ["--data", tmp_path / "data"]
    mbrl("train", method, *source, "--out", run, *settings)
    told = json.loads(mbrl("export", "leaderboard", run, "--out", out, "--json").stdout)
    expected = {"miniGRP.pth", f"{file}.py", ".hydra/config.yaml", ".hydra/overrides.yaml"}
    expected |= {"policy.pth"} if method != "simple-cem" else set()
    assert set(told["files"]) == expected
    played = episodes()
    finished = subprocess.run(
        [sys.executable, "-I", "-S", "-c", BARE, str(out), str(bare_path(tmp_path / "bare"))],
        input=json.dumps(played),
        capture_output=True,
        text=True,
        timeout=200,
        env={"OMP_NUM_THREADS": "1", "PATH": os.environ["PATH"]},
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    found = json.loads(finished.stdout)
    assert found["loaded"] == []
    agent = load_run(run)
    for seen, theirs in zip(played, found["actions"], strict=True):
        state, ours = None, []
        for observation in seen:
            arrays = {key: np.array(value, np.float32) for key, value in observation.items()}
            action, state = agent.predict(arrays, state, deterministic=True)
            ours.append(action)
        np.testing.assert_allclose(theirs, np.stack(ours), atol=1e-5)
    config = yaml.safe_load((out / ".hydra" / "config.yaml").read_text())
    assert (config["method"], config["exp_name"], config["env_id"]) == (method, "run", TOY)
    assert yaml.safe_load((out / ".hydra" / "overrides.yaml").read_text()) == settings
    if "policy.pth" in expected:
        assert torch.load(out / "policy.pth", weights_only=True)


def test_what_cannot_be_handed_in_is_refused(tmp_path: Path) -> None:
    mbrl("train", "sb3-ppo", "--env", TOY, "--steps", 16, "--out", tmp_path / "run",
         "baseline.n_steps=16")  # fmt: skip
    out = tmp_path / "out"
    result = CliRunner().invoke(
        app, ["export", "leaderboard", str(tmp_path / "run"), "--out", str(out)]
    )
    assert (result.exit_code, "baseline" in result.stderr, out.exists()) == (1, True, False)
    result = CliRunner().invoke(app, ["export", "leaderboard", str(tmp_path / "nothing")])
    assert (result.exit_code, "does not exist" in result.stderr) == (2, True)


def test_the_file_takes_no_more_than_it_needs() -> None:
    text = standalone(
        ["mbrl_agents.algorithms.simple:Simple"], "simple_world_model", "Mine", "A title."
    )
    assert text.startswith('"""A title.')
    assert "simple_world_model_parts.algorithms.simple.model" in text
    assert "algorithms.iris" not in text
    assert "import numpy" not in text
    assert "from mbrl_agents" not in text
