"""Episodes of any format, one after another, and into another format."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from mbrl_agents.data.episode import Episode
from mbrl_agents.data.formats.base import (
    DAMAGE,
    Alike,
    DamagedData,
    ReadOptions,
    check_episode,
)
from mbrl_agents.data.formats.registry import detect, get_format
from mbrl_agents.data.locks import atomic_folder

OnBad = Callable[[DamagedData], None]
"""Told of what is left out."""


def episodes_of(
    path: Path,
    options: ReadOptions | None = None,
    *,
    on_bad: OnBad | None = None,
    limit: int | None = None,
) -> Iterator[tuple[str, Episode]]:
    """The episodes of a file or folder with the names of their places, read as they are asked for.

    Args:
        options: see `ReadOptions`.
        on_bad: told of every part that cannot be read, has values that no model can learn from,
            or is not like the episodes before it; such parts are left out.  None refuses them.
        limit: at most so many.

    Raises:
        DamagedData: without ``on_bad``, for the first such part.
        FileNotFoundError, ValueError: see `detect`; also where not one episode could be read.
    """
    alike, count = Alike(), 0
    for part in detect(path).parts(path, options or ReadOptions()):
        if limit is not None and count >= limit:
            return
        try:
            episode = part.read()
            check_episode(episode)
            alike.check(episode)
        except DAMAGE as error:
            damage = DamagedData(part.name, _reason(error))
            if on_bad is None:
                raise damage from error
            on_bad(damage)
            continue
        count += 1
        yield part.name, episode
    if not count:
        raise ValueError(f"no episodes in {path}" + (": all are damaged" if on_bad else ""))


def convert(
    path: Path,
    folder: Path,
    to: str,
    options: ReadOptions | None = None,
    *,
    on_bad: OnBad | None = None,
    on_episode: Callable[[Episode], None] | None = None,
    limit: int | None = None,
) -> int:
    """Write the episodes of ``path`` into ``folder`` in another format; all of them or nothing.

    Args:
        to: name of the format.
        options, on_bad, limit: see `episodes_of`.
        on_episode: told of every episode on its way.

    Returns:
        How many episodes were written.

    Raises:
        FileExistsError: where there is something at ``folder`` already.
        DamagedData, FileNotFoundError, ValueError: see `episodes_of`; an unknown format.
    """
    written_as = get_format(to)

    def stream() -> Iterator[Episode]:
        for _, episode in episodes_of(path, options, on_bad=on_bad, limit=limit):
            if on_episode is not None:
                on_episode(episode)
            yield episode

    with atomic_folder(folder) as temporary:
        return written_as.write(temporary, stream())


def _reason(error: Exception) -> str:
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    return text or type(error).__name__


__all__ = ["convert", "episodes_of"]
