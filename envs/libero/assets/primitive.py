"""Write the primitive asset folder: once, atomically, and again when the generator changes."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import uuid
from functools import cache
from pathlib import Path

from . import furniture, groceries, tableware
from .layout import CATEGORY_FILES, FLOOR_SCENE, TABLE_SCENE
from .mjcf import Model, model_xml
from .scenes import FLOOR_TEXTURE, WALL_TEXTURE, scene_xml
from .textures import tile_png

STAMP = "primitive-assets.sha256"
"""File in the folder that holds the digest of everything else in it."""

FLOOR_TILE = ((196, 196, 194), (172, 172, 170))
WALL_PLASTER = ((205, 204, 200), (205, 204, 200))
"""Tile and joint colours, 0 to 255."""


def primitive_models() -> dict[str, Model]:
    """Every primitive object by category."""
    everything = (*tableware.models(), *groceries.models(), *furniture.models())
    return {model.category: model for model in everything}


@cache
def primitive_files() -> dict[str, bytes]:
    """Relative path -> content of every file of the folder, the stamp left out."""
    files = {
        CATEGORY_FILES[category]: model_xml(model).encode()
        for category, model in primitive_models().items()
    }
    files[TABLE_SCENE.xml] = scene_xml("table").encode()
    files[FLOOR_SCENE.xml] = scene_xml("floor").encode()
    files[f"textures/{FLOOR_TEXTURE}"] = tile_png(*FLOOR_TILE)
    files[f"textures/{WALL_TEXTURE}"] = tile_png(*WALL_PLASTER)
    return files


@cache
def primitive_digest() -> str:
    """SHA-256 of the generated files: the version of the primitive assets."""
    digest = hashlib.sha256()
    for path, content in sorted(primitive_files().items()):
        digest.update(f"{path}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def _is_current(folder: Path) -> bool:
    try:
        return (folder / STAMP).read_text().strip() == primitive_digest()
    except OSError:
        return False


def write_primitive_assets(folder: Path) -> Path:
    """Make sure that ``folder`` holds the primitive assets of this version.

    Any number of processes may call this at once: each writes a complete folder beside it and the
    first rename wins, so nobody ever sees half of it. A folder of an older version is replaced.

    Args:
        folder: where to write; its parents are made.

    Returns:
        The folder.

    Raises:
        FileExistsError: ``folder`` holds something that this function did not write.
    """
    folder = Path(folder)
    if _is_current(folder):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    draft.chmod(0o755)  # mkdtemp is private; a cache may be shared by a group
    try:
        for path, content in primitive_files().items():
            target = draft / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        (draft / STAMP).write_text(primitive_digest() + "\n")
        _put(draft, folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder


def _put(draft: Path, folder: Path) -> None:
    """Rename ``draft`` to ``folder``, moving an older version out of the way."""
    for _ in range(20):
        try:
            draft.rename(folder)  # on POSIX this also replaces an empty folder
            return
        except OSError:
            if _is_current(folder):
                return
        if folder.exists():
            if not folder.is_dir() or (any(folder.iterdir()) and not (folder / STAMP).is_file()):
                raise FileExistsError(f"{folder} exists and holds no primitive assets")
            old = folder.with_name(f".{folder.name}-{uuid.uuid4().hex}")
            try:
                folder.rename(old)
            except FileNotFoundError:
                continue  # another process moved it first
            shutil.rmtree(old, ignore_errors=True)
    raise OSError(f"could not put the primitive assets into {folder}")


def cache_root() -> Path:
    """``$MBRL_CACHE``, else ``$XDG_CACHE_HOME/mbrl_agents``, else ``~/.cache/mbrl_agents``."""
    if own := os.environ.get("MBRL_CACHE"):
        return Path(own).expanduser()
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base).expanduser() / "mbrl_agents"
    return Path.home() / ".cache" / "mbrl_agents"


def primitive_assets_dir(root: Path | None = None) -> Path:
    """The primitive assets in the cache, written if need be.

    The folder's name carries the version, so an older process keeps the folder it started with.

    Args:
        root: cache folder; None for `cache_root`.
    """
    base = Path(root) if root is not None else cache_root()
    return write_primitive_assets(base / "assets" / f"primitive-{primitive_digest()[:12]}")
