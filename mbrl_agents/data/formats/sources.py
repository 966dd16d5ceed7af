"""What a user names as data: a path, a dataset of the Hugging Face Hub, a Minari dataset's id."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from mbrl_agents.data.episode import Episode
from mbrl_agents.data.formats.base import ReadOptions
from mbrl_agents.data.formats.columns import is_own
from mbrl_agents.data.formats.registry import detect
from mbrl_agents.data.formats.streaming import convert

HUB = "hf://"
VERSION = 1
"""Of what is kept; raised where the same source would be read differently."""

_HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_WANTED = ["*.parquet", "*.json", "*.mp4", "*.hdf5", "*.h5"]


def open_source(source: str | os.PathLike[str]) -> Path:
    """The file or folder that holds a source.

    Args:
        source: a path; "hf://OWNER/NAME", a dataset of the Hugging Face Hub (also plain
            "OWNER/NAME", unless there is a folder OWNER here); "minari:ID".

    Raises:
        FileNotFoundError: there is nothing of that name.
        ImportError: for "minari:ID" without the package.
    """
    text = os.fspath(source)
    if text.startswith(HUB):
        return _downloaded(text.removeprefix(HUB).removeprefix("datasets/"))
    if text.startswith("minari:"):
        from mbrl_agents.data.formats.minari import local_folder

        return local_folder(text.removeprefix("minari:"))
    path = Path(text)
    if not path.exists() and _HUB_NAME.fullmatch(text) and not path.parent.exists():
        return _downloaded(text)
    return path


def as_folder(
    source: str | os.PathLike[str],
    options: ReadOptions | None = None,
    *,
    on_episode: Callable[[Episode], None] | None = None,
) -> Path:
    """An episode folder (see `mbrl_agents.data.dataset`) with the episodes of a source.

    A folder of that kind is returned as it is.  Anything else is converted once, into the cache
    (``$MBRL_CACHE``, else ``~/.cache/mbrl_agents``), under a name that depends on the source's
    files, their sizes and times.  A folder that does not exist is returned as well: whoever reads
    it says so.

    Raises:
        DamagedData: a part of the source is damaged; `mbrl data convert --skip-bad` leaves it out.
        FileNotFoundError, ValueError: see `open_source` and `detect`.
    """
    path = open_source(source)
    if not path.exists() or (path.is_dir() and not any(path.iterdir())) or is_own(path):
        return path
    found = detect(path)
    options = options or ReadOptions()
    folder = _cache() / f"{path.stem}-{_digest(path, options)}"
    with _alone(folder):
        if folder.is_dir():
            return folder
        try:
            convert(path, folder, "columns", options, on_episode=on_episode)
        except ValueError as error:
            raise ValueError(
                f"{error}\n({path} is read as {found.name!r}; `mbrl data validate {path}` names "
                "everything that is damaged, `mbrl data convert --skip-bad` leaves it out)"
            ) from error
    return folder


def _downloaded(name: str) -> Path:
    """A dataset of the hub, in the hub's own cache."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, repo_type="dataset", allow_patterns=_WANTED))
    except Exception as error:  # the hub's errors, and those of the network
        raise FileNotFoundError(
            f"{name} is no folder here, and the Hugging Face Hub gave no dataset of that name: "
            f"{error}"
        ) from error


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder that is about to be written."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f".{folder.name}.lock").open("wb") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _cache() -> Path:
    from mbrl_agents.envs.libero.assets.primitive import cache_root

    return cache_root() / "data"


def _digest(path: Path, options: ReadOptions) -> str:
    """Names what would be read."""
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    told = [
        [str(file), (found := file.stat()).st_size, found.st_mtime_ns]
        for file in files
        if not any(part.startswith(".") for part in file.relative_to(path).parts)
    ]
    text = json.dumps([VERSION, str(path.resolve()), asdict(options), told])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


__all__ = ["as_folder", "open_source"]
