"""Asset folders are written, found and checked."""

from __future__ import annotations

import multiprocessing
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from official_assets import official_folder

from mbrl_agents.envs.libero.assets import (
    AssetFolder,
    assets_digest,
    fetch_official_assets,
    primitive_assets_dir,
    primitive_digest,
    resolve_assets,
    write_primitive_assets,
)
from mbrl_agents.envs.libero.assets.layout import CATEGORY_FILES, Needs
from mbrl_agents.envs.libero.assets.primitive import STAMP, primitive_files
from mbrl_agents.envs.libero.bddl import describe
from mbrl_agents.envs.libero.suites import SUITES, get_suite

# -- writing ------------------------------------------------------------------------------------


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path.relative_to(folder)): (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_writing_twice_changes_nothing(tmp_path: Path) -> None:
    folder = write_primitive_assets(tmp_path / "a")
    before = snapshot(folder)
    assert write_primitive_assets(tmp_path / "a") == folder
    assert snapshot(folder) == before
    assert set(before) == {*primitive_files(), STAMP}
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_an_older_version_is_rewritten(tmp_path: Path) -> None:
    folder = write_primitive_assets(tmp_path / "a")
    (folder / STAMP).write_text("an older version\n")
    (folder / CATEGORY_FILES["plate"]).unlink()
    write_primitive_assets(folder)
    assert (folder / CATEGORY_FILES["plate"]).is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_someone_elses_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(FileExistsError):
        write_primitive_assets(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "precious"


def write_and_check(folder: Path) -> bool:
    written = write_primitive_assets(folder)
    return all((written / path).read_bytes() == data for path, data in primitive_files().items())


def test_processes_may_write_at_once(tmp_path: Path) -> None:
    with multiprocessing.get_context("fork").Pool(4) as pool:
        assert all(pool.map(write_and_check, [tmp_path / "a"] * 16, chunksize=1))
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_cache_folder_follows_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MBRL_CACHE", str(tmp_path / "own"))
    assert primitive_assets_dir().is_relative_to(tmp_path / "own")
    monkeypatch.delenv("MBRL_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    folder = primitive_assets_dir()
    assert folder.is_relative_to(tmp_path / "xdg" / "mbrl_agents")
    assert primitive_digest()[:12] in folder.name


# -- resolving ----------------------------------------------------------------------------------


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without official assets; returns the home folder."""
    from mbrl_agents.envs.libero.assets import resolve

    monkeypatch.delenv("MBRL_LIBERO_ASSETS", raising=False)
    monkeypatch.setenv("MBRL_CACHE", str(tmp_path / "cache"))
    home = tmp_path / "home"
    monkeypatch.setattr(
        resolve,
        "_default_places",
        lambda: [home / ".cache" / "libero" / "assets", tmp_path / "package" / "assets"],
    )
    return home


def test_unknown_names_list_the_valid_ones() -> None:
    with pytest.raises(ValueError, match="auto, primitive, official"):
        resolve_assets("realistic")
    with pytest.raises(ValueError, match="libero_goal"):
        resolve_assets("primitive", suite="libero_sptial")
    with pytest.raises(ValueError, match="akita_black_bowl"):
        Needs.of_task({"toaster"}, "libero_tabletop_manipulation")
    with pytest.raises(ValueError, match="libero_floor_manipulation"):
        Needs.of_task({"plate"}, "libero_moon_manipulation")


def test_primitive_lacks_other_suites(bare: Path) -> None:
    with pytest.raises(ValueError, match="microwave"):
        resolve_assets(
            "auto",
            categories={"microwave", "kitchen_table"},
            problem="libero_kitchen_tabletop_manipulation",
        )


def test_auto_is_primitive_without_official(bare: Path) -> None:
    found = resolve_assets("auto", suite="libero_goal")
    assert found.kind == "primitive"
    assert found == resolve_assets("primitive", suite="libero_goal")


def test_no_official_says_where_it_looked_and_what_to_do(bare: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        resolve_assets("official", suite="libero_spatial")
    for part in ("MBRL_LIBERO_ASSETS", ".cache/libero/assets", "package", "mbrl assets fetch"):
        assert part in str(caught.value)


def test_argument_goes_before_environment(
    bare: Path, tmp_path: Path, primitive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A primitive folder is whole, so it can play the part of an official one.
    other = write_primitive_assets(tmp_path / "other")
    monkeypatch.setenv("MBRL_LIBERO_ASSETS", str(primitive))
    for kind in ("auto", "official"):
        assert resolve_assets(kind, suite="libero_object").path == primitive
        assert resolve_assets(kind, suite="libero_object", folder=other).path == other
        assert resolve_assets(kind, folder=other).kind == "official"


def test_incomplete_cache_is_passed_over(bare: Path) -> None:
    cache = write_primitive_assets(bare / ".cache" / "libero" / "assets")
    assert resolve_assets("auto", suite="libero_object").path == cache
    (cache / CATEGORY_FILES["milk"]).unlink()
    assert resolve_assets("auto", suite="libero_object").kind == "primitive"
    assert resolve_assets("auto", suite="libero_goal").path == cache
    with pytest.raises(FileNotFoundError, match=re.escape(CATEGORY_FILES["milk"])):
        resolve_assets("official", suite="libero_object")


@pytest.mark.parametrize(
    "missing",
    [
        "stable_hope_objects/cookies/cookies.xml",
        "stable_hope_objects/cookies/texture_map.png",
        "articulated_objects/flat_stove/stove_burner/burnerplate.stl",
        "scenes/libero_tabletop_base_style.xml",
        "textures/light-gray-floor-tile.png",
        "textures/martin_novak_wood_table.png",
    ],
)
def test_a_broken_official_folder_names_the_file(bare: Path, tmp_path: Path, missing: str) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(official_folder(), broken, copy_function=os.symlink)
    assert resolve_assets("official", suite="libero_spatial", folder=broken).path == broken
    (broken / missing).unlink()
    with pytest.raises(FileNotFoundError, match=re.escape(missing)):
        resolve_assets("official", suite="libero_spatial", folder=broken)
    with pytest.raises(FileNotFoundError, match=re.escape(missing)):
        resolve_assets("auto", suite="libero_spatial", folder=broken)


def test_a_task_asks_only_for_what_it_uses(bare: Path, tmp_path: Path) -> None:
    folder = write_primitive_assets(tmp_path / "partial")
    shutil.rmtree(folder / "stable_hope_objects")
    found = resolve_assets(
        "official",
        categories={"table", "plate", "akita_black_bowl"},
        problem="LIBERO_Tabletop_Manipulation",
        folder=folder,
    )
    assert found.path == folder


def test_fetch_without_network_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = pytest.importorskip("huggingface_hub")

    def refuse(**_options: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(hub, "snapshot_download", refuse)
    lines: list[str] = []
    with pytest.raises(ConnectionError, match="MBRL_LIBERO_ASSETS"):
        fetch_official_assets(tmp_path / "official", lines.append)
    assert len(lines) == 1


@pytest.mark.parametrize("suite", list(SUITES))
def test_every_suite_has_a_digest_of_what_its_tasks_are_built_from(suite: str) -> None:
    task = describe(get_suite(suite).bddl_file(0))
    needs = {"categories": task.categories, "problem": task.problem}
    try:
        found = resolve_assets("primitive", **needs)
    except ValueError:  # there is no primitive model of some suites' things
        folder = resolve_assets("primitive").path
        found = AssetFolder("official", folder, Needs.of_task(**needs))
    assert re.fullmatch("[0-9a-f]{12}", assets_digest(found, suite))


def test_the_digest_says_whether_a_file_changed(tmp_path: Path) -> None:
    first = resolve_assets("primitive", suite="libero_spatial")
    copies = [tmp_path / name for name in ("same", "changed", "lacking")]
    for copy in copies:
        shutil.copytree(first.path, copy)
    bowl = CATEGORY_FILES["akita_black_bowl"]
    with (copies[1] / bowl).open("a") as stream:
        stream.write("<!-- -->")
    (copies[2] / bowl).unlink()
    of = [assets_digest(replace(first, path=p), "libero_spatial") for p in [first.path, *copies]]
    assert of[0] == of[1]
    assert len(set(of)) == 3
