"""A package of somebody else adds a world model and a method: installed, then used from outside."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TOY = "toy_reach:ToyReach-v0"
QUICK = ("training.model_steps=50", "training.batch_size=64")

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs Python where the example is installed besides everything this interpreter has."""
    folder = tmp_path_factory.mktemp("examples")
    venv = folder / "venv"
    made = subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", str(venv)],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        pytest.skip(f"this Python creates no virtual environments: {made.stderr[-200:]}")
    python = venv / "bin" / "python"
    own = sysconfig.get_path("purelib", vars={"base": str(venv), "platbase": str(venv)})
    # Not --system-site-packages: of a virtual environment those are the ones it was made from.
    (Path(own) / "beside.pth").write_text(
        f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n"
    )
    # A copy, because an editable installation leaves files beside the source.
    source = folder / "source" / "linear_model"
    shutil.copytree(ROOT / "examples" / "linear_model", source)
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    offline = ["--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
    subprocess.run([*pip, *offline, "-e", str(source)], check=True, capture_output=True)
    paths = [str(ROOT / "tests" / "support"), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [str(python), *map(str, arguments)],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done

    return run


def mbrl(run: Run, *arguments: object) -> str:
    return run("-m", "mbrl_agents.cli.main", *arguments).stdout


def test_it_is_listed_and_described(run: Run) -> None:
    names = [entry["name"] for entry in json.loads(mbrl(run, "methods", "--json"))]
    assert "linear-cem" in names
    report = json.loads(mbrl(run, "inspect", "linear-cem", "--env", TOY, "--json"))
    assert report["components"]["algorithm"] == "linear_model.model:Linear"
    # 14 observations, 7 actions: changes, and a reward of observations and their products.
    assert report["parameters"]["world_model"] == (14 + 7 + 1) * 14 + (14 + 14 * 14 + 1)
    assert report["config"]["world_model"] == {"reward_weight": 1.0}


def test_being_installed_imports_no_torch(run: Run) -> None:
    run("-c", "import sys, mbrl_agents; assert 'linear-cem' in mbrl_agents.methods(); "
        "assert 'torch' not in sys.modules")  # fmt: skip


def test_its_model_satisfies_the_protocol(run: Run) -> None:
    run(
        "-c",
        "import gymnasium, mbrl_agents; from mbrl_agents.protocols import WorldModel; "
        "env = gymnasium.make('Pendulum-v1'); model = mbrl_agents.make_world_model('linear', "
        "env.observation_space, env.action_space); assert isinstance(model, WorldModel)",
    )


def test_it_is_trained_and_evaluated(run: Run, tmp_path: Path) -> None:
    data, folder = tmp_path / "data", tmp_path / "run"
    where = ("--env", TOY, "--source", "random")
    mbrl(run, "collect", data, *where, "--episodes", 30, "--workers", 1)
    given = ("--data", data, "--out", folder, "--json")
    report = json.loads(mbrl(run, "train", "linear-cem", *given, *QUICK))
    assert list(report["parameters"]) == ["world_model"]
    assert report["metrics"]["held_out/world_model/loss"] < 0.01
    summary = json.loads(mbrl(run, "eval", folder, "--episodes", 4, "--json"))
    assert summary["method"] == "linear-cem"
    assert summary["successes"] >= 3  # of random actions, one in twenty


@pytest.mark.slow
def test_it_stands_in_a_table(run: Run, tmp_path: Path) -> None:
    suite = tmp_path / "suite.yaml"
    suite.write_text(
        f"env: {TOY}\n"
        "data: {source: random, episodes: 30}\n"
        "evaluation: {episodes: 2}\n"
        f"methods: [random, {{method: linear-cem, overrides: [{', '.join(QUICK)}]}}]\n"
    )
    table = mbrl(run, "bench", suite, "--out", tmp_path / "out", "--workers", 1)
    assert "| random " in table
    assert "| linear-cem " in table
    rows = json.loads((tmp_path / "out" / "summary.json").read_text())["methods"]
    assert [(row["method"], row["status"]) for row in rows] == [
        ("random", "ok"),
        ("linear-cem", "ok"),
    ]
