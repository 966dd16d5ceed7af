"""Errors that say that something else has to be asked for."""

from __future__ import annotations


class UsageError(ValueError):
    """What was asked for cannot work, however long it runs: a name, a setting, or spaces.

    The command line ends with exit code 2 wherever one is raised.
    """


__all__ = ["UsageError"]
