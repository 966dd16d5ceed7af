"""Every format gives back what was written as far as it can hold it, and is told from others."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mbrl_agents.data.formats import FORMATS, convert, detect, episodes_of
from mbrl_agents.data.formats.registry import add_format, get_format
from recordings import assert_same, recorded

GREY = {"lerobot": 3.0}
"""What a format's images lose, in grey levels on average."""


def write(name: str, folder: Path, episodes) -> None:
    folder.mkdir()
    assert get_format(name).write(folder, episodes) == len(episodes)


def read(folder: Path):
    return [episode for _, episode in episodes_of(folder)]


@pytest.mark.parametrize("images", [True, False])
@pytest.mark.parametrize("name", FORMATS)
def test_what_is_written_is_read(name: str, images: bool, tmp_path: Path) -> None:
    if images and name == "lerobot":
        pytest.importorskip("imageio_ffmpeg")
    episodes = [recorded(steps, images) for steps in (3, 6, 2)]
    write(name, tmp_path / "set", episodes)
    assert detect(tmp_path / "set").name == name
    for first, second in zip(episodes, read(tmp_path / "set"), strict=True):
        assert_same(first, second, GREY.get(name, 0.0))


@pytest.mark.parametrize(("first", "second"), list(itertools.permutations(FORMATS, 2)))
def test_formats_convert_into_each_other(first: str, second: str, tmp_path: Path) -> None:
    episodes = [recorded(steps, images=False) for steps in (4, 2)]
    write(first, tmp_path / "a", episodes)
    assert convert(tmp_path / "a", tmp_path / "b", second) == 2
    for one, other in zip(episodes, read(tmp_path / "b"), strict=True):
        assert_same(one, other)


def test_tasks_of_other_sizes_share_a_folder_of_columns(tmp_path: Path) -> None:
    """Poses list the objects of a task, and tasks differ in how many there are."""
    episode = recorded(3, images=False)
    wide = np.zeros((4, 14), np.float32)
    episodes = [episode, replace(episode, observations={"pose": wide}), episode]
    write("libero", tmp_path / "a", episodes)
    assert convert(tmp_path / "a", tmp_path / "b", "columns") == 3
    assert [e.observations["pose"].shape[1] for e in read(tmp_path / "b")] == [7, 14, 7]


def test_only_the_first_are_read(tmp_path: Path) -> None:
    write("minari", tmp_path / "set", [recorded(n, images=False) for n in (2, 3, 4)])
    assert [len(e) for _, e in episodes_of(tmp_path / "set", limit=2)] == [2, 3]


def test_an_unknown_folder_lists_the_formats(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no episodes")
    with pytest.raises(ValueError, match="lerobot: LeRobot v3"):
        detect(tmp_path)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        detect(tmp_path / "nothing")


def test_others_may_add_a_format(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Mine:
        name, summary = "mine", "one file"

        def detects(self, path: Path) -> bool:
            return (path / "mine").is_file()

    monkeypatch.setattr("mbrl_agents.data.formats.registry.FORMATS", dict(FORMATS))
    add_format(Mine())  # type: ignore[arg-type]
    (tmp_path / "mine").write_text("")
    assert detect(tmp_path).name == "mine"
    with pytest.raises(ValueError, match="already"):
        add_format(Mine())  # type: ignore[arg-type]
