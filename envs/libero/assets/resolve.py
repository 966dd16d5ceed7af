"""Decide which asset folder an environment loads, and check that it is whole."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import logging
import os
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .layout import CATEGORY_FILES, SUITE_NEEDS, Needs
from .primitive import primitive_assets_dir, primitive_files

KINDS = ("auto", "primitive", "official")
ENVIRONMENT_VARIABLE = "MBRL_LIBERO_ASSETS"
FETCH_COMMAND = "mbrl assets fetch"
OFFICIAL_DATASET = "lerobot/libero-assets"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class AssetFolder:
    """An asset folder that holds what was asked for."""

    kind: str
    """"primitive" or "official"."""
    path: Path
    needs: Needs = field(default_factory=lambda: Needs(frozenset()))
    """What it was asked for."""


def resolve_assets(
    kind: str = "auto",
    *,
    suite: str | None = None,
    categories: Iterable[str] | None = None,
    problem: str | None = None,
    folder: Path | str | None = None,
    cache_root: Path | None = None,
) -> AssetFolder:
    """Find the asset folder for a suite or a task.

    Say what is needed either by ``suite`` or by ``categories`` and ``problem`` (both from the BDDL
    file); with neither, the folder is not checked.

    Args:
        kind: "primitive", "official", or "auto": official if there is one, else primitive. In
            "auto" a folder that was named (``folder`` or the environment variable) must be whole;
            an incomplete cache is passed over with a warning.
        suite: for example "libero_spatial".
        categories: object and fixture categories of one task.
        problem: problem name of one task, for example "libero_tabletop_manipulation".
        folder: official assets, before any other place.
        cache_root: where primitive assets are kept; None for the default.

    Raises:
        ValueError: unknown kind, suite, category or problem; or primitive assets that have no
            model of a category.
        FileNotFoundError: no official assets, or a folder that lacks a file.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown kind of assets {kind!r}; valid: {', '.join(KINDS)}")
    needs = _needs(suite, categories, problem)
    if kind != "primitive":
        named = _named_folder(folder)
        if named is not None:
            check_assets(named, needs)
            return AssetFolder("official", named, needs)
        for place in _default_places():
            if not place.is_dir():
                continue
            try:
                check_assets(place, needs)
            except FileNotFoundError as error:
                if kind == "official":
                    raise
                _log.warning("%s; using primitive assets instead", error)
                continue
            return AssetFolder("official", place, needs)
        if kind == "official":
            looked = ", ".join(str(place) for place in _default_places())
            raise FileNotFoundError(
                f"no official LIBERO assets: ${ENVIRONMENT_VARIABLE} is not set and neither of "
                f"{looked} exists; `{FETCH_COMMAND}` downloads them"
            )
    _check_primitive(needs)
    return AssetFolder("primitive", primitive_assets_dir(cache_root), needs)


def official_cache() -> Path:
    """Where hf-libero keeps downloaded assets."""
    return Path.home() / ".cache" / "libero" / "assets"


def check_assets(folder: Path, needs: Needs) -> None:
    """Raise FileNotFoundError that names the first file which ``needs`` lacks in ``folder``."""
    if not folder.is_dir():
        raise FileNotFoundError(f"asset folder {folder} does not exist")
    for path in _needed_files(folder, needs):
        if not path.is_file():
            raise FileNotFoundError(f"asset folder {folder} lacks {os.path.relpath(path, folder)}")


@functools.cache
def assets_digest(assets: AssetFolder, suite: str) -> str:
    """Twelve hexadecimal digits of the files that a suite's tasks are built from.

    Where it is not known what the whole suite needs, of the files that ``assets`` was asked for.
    What is missing in the folder is left out: it may hold what one task needs.
    """
    digest = hashlib.sha256()
    files: set[Path] = set()
    folder, needs = assets.path, SUITE_NEEDS.get(suite, assets.needs)
    # One after another: what an XML file refers to is only known where it is there.
    for part in (
        *(Needs(frozenset({category})) for category in needs.categories),
        Needs(frozenset(), needs.scenes),
    ):
        with contextlib.suppress(FileNotFoundError):
            files.update(_needed_files(folder, part))
    for file in sorted(files):
        if file.is_file():
            digest.update(os.path.relpath(file, folder).encode())
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:12]


def fetch_official_assets(
    target: Path | None = None, on_progress: Callable[[str], None] | None = None
) -> Path:
    """Download LIBERO's own assets (about 1 GB) from the Hugging Face Hub.

    Args:
        target: folder to fill; None for hf-libero's cache, where `resolve_assets` finds them.
        on_progress: called with a line of text at the start and at the end.

    Returns:
        The folder.

    Raises:
        ConnectionError: the Hub could not be reached or refused.
    """
    from huggingface_hub import snapshot_download

    folder = Path(target) if target is not None else official_cache()
    tell = on_progress or (lambda _line: None)
    tell(f"downloading {OFFICIAL_DATASET} to {folder}")
    try:
        # hf-libero's own function does the same, but importing it may prompt for input and it
        # passes an option that newer versions of the Hub's client no longer take.
        snapshot_download(repo_id=OFFICIAL_DATASET, repo_type="dataset", local_dir=folder)
    except Exception as error:
        raise ConnectionError(
            f"could not download {OFFICIAL_DATASET} from the Hugging Face Hub ({error}); check the "
            f"network, or copy the assets and set {ENVIRONMENT_VARIABLE} to their folder"
        ) from error
    tell(f"official assets are in {folder}")
    return folder


def _needs(suite: str | None, categories: Iterable[str] | None, problem: str | None) -> Needs:
    if suite is not None and (categories is not None or problem is not None):
        raise ValueError("give either suite, or categories and problem")
    if suite is not None:
        return Needs.of_suite(suite)
    if categories is None and problem is None:
        return Needs(frozenset())
    if categories is None or problem is None:
        raise ValueError("categories and problem go together")
    return Needs.of_task(categories, problem)


def _named_folder(folder: Path | str | None) -> Path | None:
    """The folder of the argument or of the environment variable."""
    if folder is not None:
        return Path(folder).expanduser().absolute()
    named = os.environ.get(ENVIRONMENT_VARIABLE)
    return Path(named).expanduser().absolute() if named else None


def _default_places() -> list[Path]:
    """hf-libero's cache and its package folder, found without importing it (it may prompt)."""
    places = [official_cache()]
    spec = importlib.util.find_spec("libero")
    if spec is not None:
        places += [
            Path(root) / "libero" / "assets" for root in spec.submodule_search_locations or ()
        ]
    return places


def _needed_files(folder: Path, needs: Needs) -> Iterator[Path]:
    for category in sorted(needs.categories):
        xml = folder / CATEGORY_FILES[category]
        yield xml
        yield from _referenced_files(xml, skip_textures=frozenset())
    for scene in needs.scenes:
        xml = folder / scene.xml
        yield xml
        # The arena class replaces these two file names by the scene's style.
        yield from _referenced_files(xml, skip_textures=frozenset({"texplane", "tex-wall"}))
        for texture in scene.textures:
            yield folder / texture


def _referenced_files(xml: Path, skip_textures: frozenset[str]) -> Iterator[Path]:
    """Meshes and textures of one XML file; robosuite resolves them beside the file.

    Only evaluated when the caller has seen that ``xml`` is there.
    """
    try:
        tree = ET.parse(xml)
    except ET.ParseError as error:
        raise FileNotFoundError(f"{xml} is not a readable XML file: {error}") from error
    for node in tree.iterfind(".//*[@file]"):
        if node.tag == "texture" and node.get("name") in skip_textures:
            continue
        yield xml.parent / node.attrib["file"]


def _check_primitive(needs: Needs) -> None:
    files = primitive_files()
    lacking = sorted(c for c in needs.categories if CATEGORY_FILES[c] not in files)
    if lacking:
        raise ValueError(
            f"no primitive model of {lacking}; use official assets (`{FETCH_COMMAND}`)"
        )
    for scene in needs.scenes:
        if scene.xml not in files:
            raise ValueError(
                f"no primitive model of {scene.xml}; use official assets (`{FETCH_COMMAND}`)"
            )
