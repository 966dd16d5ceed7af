"""Formats of recorded episodes, by name: what detects, reads and writes each.

`open_source` makes a path of what a user names, `episodes_of` streams it, `convert` writes another
format, `as_folder` gives a run something to train on.
"""

from mbrl_agents.data.formats.base import (
    DamagedData,
    Format,
    Part,
    ReadOptions,
    check_episode,
    text_goal,
)
from mbrl_agents.data.formats.registry import FORMATS, add_format, detect
from mbrl_agents.data.formats.sources import as_folder, open_source
from mbrl_agents.data.formats.streaming import convert, episodes_of

__all__ = [
    "FORMATS",
    "DamagedData",
    "Format",
    "Part",
    "ReadOptions",
    "add_format",
    "as_folder",
    "check_episode",
    "convert",
    "detect",
    "episodes_of",
    "open_source",
    "text_goal",
]
