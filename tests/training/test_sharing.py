"""Several processes that train together: what one process with the whole batch would have done."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from shared_training import INTERRUPTED, METHODS, MODELS, RESUMED, command
from typer.testing import CliRunner

from mbrl_agents.cli.main import app
from mbrl_agents.data.collect import Collection, collect_to_folder
from mbrl_agents.nn import sharing
from mbrl_agents.nn.masked import weighted_mean
from mbrl_agents.runs.spec import RunSpec
from mbrl_agents.runs.training import train_run
from mbrl_agents.training.fit import FitPhase

SUPPORT = Path(__file__).parents[1] / "support"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which two processes trained, and beside each run one of a single process."""
    folder = tmp_path_factory.mktemp("sharing")
    collection = Collection("toy_reach:ToyReach-v0", {}, source="expert", episodes=4)
    collect_to_folder(folder / "data", collection)
    begin_and_stop(folder)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    paths = [str(SUPPORT), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2",
         "--master-addr", "127.0.0.1", "--master-port", str(port),
         str(SUPPORT / "shared_training.py"), str(folder)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    for method in METHODS:
        # One process of two speaks.
        assert done.stdout.count(f"{method}: ") == 1 + (method == INTERRUPTED)
        result = CliRunner().invoke(app, command(method, folder, folder / f"{method}-alone"))
        assert result.exit_code == 0, result.output
    return folder


def begin_and_stop(folder: Path) -> None:
    """Train in one process until the fifth update, after a checkpoint at the fourth."""
    update, calls = FitPhase.update, 0

    def until_killed(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 6:
            raise KeyboardInterrupt
        return update(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FitPhase, "update", until_killed)
        CliRunner().invoke(app, command(INTERRUPTED, folder, folder / RESUMED))
    assert (folder / RESUMED / "checkpoint.safetensors").is_file()
    assert not (folder / RESUMED / "run.json").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_a_shared_batch_has_the_loss_and_gradient_of_the_whole(trained: Path, model: str) -> None:
    found = json.loads((trained / "gaps.json").read_text())[model]
    assert found["size"] > 1e-3
    assert found["loss"] < 1e-5
    assert found["gradient"] < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "folder"), [*((name, name) for name in METHODS), (INTERRUPTED, RESUMED)]
)
def test_two_processes_end_with_the_weights_of_one(trained: Path, method: str, folder: str) -> None:
    together, alone = trained / folder, trained / f"{method}-alone"
    assert {p.name for p in together.glob("*.safetensors")} == {
        p.name for p in alone.glob("*.safetensors")
    }
    for file in alone.glob("*.safetensors"):
        expected, found = load_file(file), load_file(together / file.name)
        assert expected.keys() == found.keys()
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, rtol=1e-3, atol=2e-5, msg=name)
    rows = [(folder / "training_logs.csv").read_text().splitlines() for folder in (together, alone)]
    assert len(rows[0]) == len(rows[1]) > 2


def test_without_several_processes_nothing_is_shared() -> None:
    rows = torch.arange(6)
    with sharing.joined() as count, sharing.sharing():
        assert count == sharing.processes() == 1
        assert sharing.mine(rows) is rows
        assert sharing.whole_shape((3, 2)) == (3, 2)
        assert sharing.counted(torch.zeros(3)) == 1.0
        assert weighted_mean(torch.tensor([1.0, 3.0]), torch.tensor([1.0, 1.0])) == 2.0


def test_rows_are_shared_out_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = SimpleNamespace(
        is_available=lambda: True,
        is_initialized=lambda: True,
        get_world_size=lambda: 2,
        get_rank=lambda: 1,
    )
    monkeypatch.setattr(sharing, "dist", fake)
    rows = torch.arange(8)
    assert sharing.mine(rows) is rows  # not outside of sharing
    with sharing.sharing():
        assert sharing.mine(rows).tolist() == [4, 5, 6, 7]
        assert sharing.mine(rows, 2).tolist() == [2, 3, 6, 7]
        assert sharing.mine(torch.arange(11), 2).tolist() == [2, 3, 7, 8]
        assert sharing.whole_shape((4, 3)) == (8, 3)
        with pytest.raises(ValueError, match="multiple of 2"):
            sharing.mine(torch.arange(7))


@pytest.mark.parametrize(
    ("method", "steps", "message"),
    [
        ("dreamer", 100, "train together on recorded episodes only"),
        ("world-models", 0, "train together on recorded episodes only"),
        ("sb3-ppo", 100, "sb3-ppo trains in one process"),
    ],
)
def test_what_cannot_be_trained_together_is_refused(
    method: str, steps: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mbrl_agents.runs.training.processes", lambda: 2)
    with pytest.raises(ValueError, match=message):
        train_run(RunSpec(method, "CartPole-v1", steps=steps), tmp_path)
    assert not any(tmp_path.iterdir())
