"""Which formats there are, and which one a file or folder is of."""

from __future__ import annotations

import importlib
from pathlib import Path

from mbrl_agents.data.formats.base import Format
from mbrl_agents.names import lookup

_HERE = "mbrl_agents.data.formats"

FORMATS: dict[str, str | Format] = {
    "lerobot": f"{_HERE}.lerobot:LeRobot",
    "minari": f"{_HERE}.minari:Minari",
    "columns": f"{_HERE}.columns:Columns",
    "libero": f"{_HERE}.libero_hdf5:LiberoHdf5",
}
"""By name, in the order in which they are asked; classes named as text are imported when needed."""


def add_format(entry: Format) -> None:
    """Add a format; `mbrl data` and `mbrl train --data` know it from then on.

    Raises:
        ValueError: when there is one of that name.
    """
    if FORMATS.get(entry.name, entry) is not entry:
        raise ValueError(f"there is a format {entry.name!r} already")
    FORMATS[entry.name] = entry


def get_format(name: str) -> Format:
    """The format of that name.

    Raises:
        ValueError: for an unknown one; the message lists them.
    """
    entry = lookup(FORMATS, name, "format")
    if isinstance(entry, str):
        module, _, attribute = entry.partition(":")
        made: Format = getattr(importlib.import_module(module), attribute)()
        FORMATS[name] = entry = made
    return entry


def detect(path: Path) -> Format:
    """The format of a file or folder.

    Raises:
        FileNotFoundError: there is nothing at ``path``.
        ValueError: it is of no known format.
    """
    if not path.exists():
        raise FileNotFoundError(f"no episodes in {path}: it does not exist")
    for name in FORMATS:
        entry = get_format(name)
        if entry.detects(path):
            return entry
    known = "\n".join(f"  {name}: {get_format(name).summary}" for name in FORMATS)
    raise ValueError(f"no episodes in {path}: it is of no known format\n{known}")


__all__ = ["FORMATS", "add_format", "detect", "get_format"]
