"""What users name as data, and what a run trains on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from mbrl_agents.cli.main import app
from mbrl_agents.data.dataset import read_episodes
from mbrl_agents.data.formats import as_folder, open_source
from mbrl_agents.data.formats.registry import get_format
from recordings import recorded, write_public

TOY = "toy_reach:ToyReach-v0"


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MBRL_CACHE", str(tmp_path / "cache"))


def mbrl(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def hub(monkeypatch: pytest.MonkeyPatch, folder: Path) -> list[str]:
    """Stands for the Hugging Face Hub; returns what was asked for."""
    asked: list[str] = []

    def download(name: str, **_: object) -> str:
        asked.append(name)
        if name != "owner/set":
            raise OSError("not found")
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    return asked


def test_a_dataset_of_the_hub_is_named_in_three_ways(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = hub(monkeypatch, tmp_path)
    monkeypatch.chdir(tmp_path)
    names = ["hf://owner/set", "hf://datasets/owner/set", "owner/set"]
    assert [open_source(name) for name in names] == [tmp_path] * 3
    assert asked == ["owner/set"] * 3
    with pytest.raises(FileNotFoundError, match="no dataset of that name"):
        open_source("owner/other")
    # Where there is a folder of that name, what is missing in it is no dataset of the hub.
    (tmp_path / "data").mkdir()
    assert open_source("data/bowl") == Path("data/bowl")
    assert len(asked) == 4


def test_minari_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "minari", None)
    monkeypatch.setitem(__import__("sys").modules, "minari.storage.datasets_root_dir", None)
    with pytest.raises(ImportError, match=r"mbrl-agents\[minari\]"):
        open_source("minari:some/set-v0")


def test_other_formats_are_converted_once(tmp_path: Path) -> None:
    get_format("columns").write(tmp_path / "own", [recorded(2, images=False)])
    assert as_folder(tmp_path / "own") == tmp_path / "own"
    (tmp_path / "set").mkdir()
    get_format("minari").write(tmp_path / "set", [recorded(n, images=False) for n in (2, 3)])
    told = []
    folder = as_folder(tmp_path / "set", on_episode=told.append)
    assert [len(e) for e in read_episodes(folder)] == [2, 3]
    assert as_folder(tmp_path / "set", on_episode=told.append) == folder
    assert len(told) == 2
    (tmp_path / "set" / "data" / "metadata.json").touch()  # as if it had been written anew
    assert as_folder(tmp_path / "set") != folder
    assert as_folder(tmp_path / "nowhere") == tmp_path / "nowhere"


@pytest.mark.parametrize("to", ["minari", "libero"])
def test_a_run_trains_on_any_format_as_on_the_folder(to: str, tmp_path: Path) -> None:
    data, other = tmp_path / "data", tmp_path / "other"
    command = ["collect", data, "--env", TOY, "--episodes", 3, "--workers", 1]
    assert mbrl(*command).exit_code == 0
    result = mbrl("data", "convert", data, other, "--to", to)
    assert result.exit_code == 0, result.output
    for source, run in ((data, "a"), (other, "b")):
        result = mbrl("train", "simple-cem", "--data", source, "--out", tmp_path / run,
                      "training.model_steps=3")  # fmt: skip
        assert result.exit_code == 0, result.output
    weights = [(tmp_path / run / "world_model.safetensors").read_bytes() for run in "ab"]
    assert weights[0] == weights[1]
    spec = json.loads((tmp_path / "b" / "run.json").read_text())["spec"]
    assert (spec["env_id"], spec["data"]) == (TOY, str(other))


def test_a_run_refuses_damaged_data_and_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a_demo.hdf5").write_bytes(b"no demonstrations")
    result = mbrl("train", "simple-cem", "--data", tmp_path / "set", "--out", tmp_path / "run")
    assert result.exit_code == 2
    assert "a_demo.hdf5" in result.stderr
    assert "--skip-bad" in result.stderr
    assert not (tmp_path / "run").exists()


def test_inspect_and_validate(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    write_public(tmp_path / "data" / "train-00000-of-00002.parquet", [3, 5])
    result = mbrl("data", "inspect", tmp_path, "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert (told["format"], told["episodes"], told["steps"]) == ("columns", 2, 8)
    assert told["observations"]["image"] == ["(8, 8, 3) uint8"]
    assert list(told["goals"].values()) == [2]
    assert mbrl("data", "validate", tmp_path).exit_code == 0
    (tmp_path / "data" / "train-00001-of-00002.parquet").write_bytes(b"PAR1 and nothing else")
    result = mbrl("data", "validate", tmp_path)
    assert result.exit_code == 1
    assert "train-00001-of-00002.parquet" in result.stderr
    assert "2 episodes are sound, 1 are damaged" in result.stdout
    result = mbrl("data", "inspect", tmp_path)
    assert (result.exit_code, "3 steps" not in result.stdout) == (0, True)
    assert "damaged" in result.stderr


def test_convert_by_command(tmp_path: Path) -> None:
    get_format("columns").write(tmp_path / "set", [recorded(2, images=False)])
    (tmp_path / "set" / "data" / "train-00009.parquet").write_bytes(b"nothing")
    result = mbrl("data", "convert", tmp_path / "set", tmp_path / "out", "--to", "minari")
    assert result.exit_code == 1
    assert "--skip-bad leaves out" in result.stderr
    result = mbrl("data", "convert", tmp_path / "set", tmp_path / "out", "--skip-bad", "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert (told["episodes"], len(told["damaged"])) == (1, 1)
    result = mbrl("data", "convert", tmp_path / "set", tmp_path / "out")
    assert (result.exit_code, "exists already" in result.stderr) == (2, True)
    result = mbrl("data", "convert", tmp_path / "set", tmp_path / "new", "--to", "zip")
    assert (result.exit_code, "unknown format 'zip'" in result.stderr) == (2, True)
    assert mbrl("data", "inspect", tmp_path / "nothing").exit_code == 2
