"""What a format of recorded episodes is, and what reading any of them has in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from mbrl_agents.data.episode import Episode

Convention = Literal["upright", "raw", "rotated"]
"""How recorded images lie: see `mbrl_agents.envs.libero.observation.IMAGE_CONVENTIONS`."""

DAMAGE = (ValueError, OSError, KeyError, IndexError, TypeError, RuntimeError, EOFError)
"""What readers of files raise for content that is not what it should be."""


@dataclass(frozen=True)
class ReadOptions:
    """How to read what leaves a choice.

    Attributes:
        replay: put recorded simulator states through the simulator, which gives poses of objects,
            rewards and success that the file does not have; LIBERO's demonstrations only.
        obs, reward, assets: keywords of the environment that replays them.
        images: how the recorded images lie; None for what the format says.  Episodes have them
            upright.
    """

    replay: bool = False
    obs: str = "pose"
    reward: str = "progress"
    assets: str = "auto"
    images: Convention | None = None


@dataclass(frozen=True)
class Part:
    """One episode of a source, read when asked for, or what stands where some should be.

    Attributes:
        name: the file, and the episode in it.
        read: gives the episode; raises one of `DAMAGE` for what cannot be read.
    """

    name: str
    read: Callable[[], Episode]


class Format(Protocol):
    """A way in which episodes lie on disk.

    Attributes:
        name: by which users choose it.
        summary: one line for people.
    """

    name: str
    summary: str

    def detects(self, path: Path) -> bool:
        """Whether a file or folder looks like this format, by names alone where that is enough."""

    def parts(self, path: Path, options: ReadOptions) -> Iterator[Part]:
        """What there is to read, in order; little of it in memory at a time.

        A part has to be read before the next one is asked for.
        """

    def write(self, folder: Path, episodes: Iterable[Episode]) -> int:
        """Write episodes into an empty folder as they come, and return how many there were."""


class DamagedData(ValueError):
    """Some part of a source cannot be read or is not what the rest is.

    Attributes:
        part: its name.
        reason: in words.
    """

    def __init__(self, part: str, reason: str) -> None:
        super().__init__(f"{part}: {reason}")
        self.part, self.reason = part, reason


def broken(name: str, error: Exception) -> Part:
    """The part that stands where a file could not be opened."""

    def read() -> Episode:
        raise error

    return Part(name, read)


def check_episode(episode: Episode) -> None:
    """Refuse numbers that no model can learn from.

    Raises:
        ValueError: for values that are not finite, and images that are not uint8.
    """
    for name, array in {**episode.observations, "rewards": episode.rewards}.items():
        if array.ndim == 4 and array.dtype != np.uint8:
            raise ValueError(f"image {name!r} has dtype {array.dtype}; expected uint8")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ValueError(f"{name!r} has values that are not finite")
        if array.dtype.kind not in "fiub":
            raise ValueError(f"{name!r} has dtype {array.dtype}; expected numbers")
    if episode.actions.ndim != 2 or not np.isfinite(episode.actions).all():
        raise ValueError(
            f"actions have shape {episode.actions.shape}; expected finite numbers (T, A)"
        )


class Alike:
    """Holds every episode to the first: a file in the wrong place has other shapes."""

    def __init__(self) -> None:
        self._first: tuple[Shapes, int] | None = None

    def check(self, episode: Episode) -> None:
        """Raise ValueError for other observations or actions than the first episode's.

        Poses may differ in length: tasks differ in their objects.
        """
        found = _shapes(episode), episode.actions.shape[1]
        if self._first is None:
            self._first = found
        elif found != self._first:
            raise ValueError(
                f"holds observations {found[0]} and {found[1]} action numbers, unlike the "
                f"episodes before it: {self._first[0]} and {self._first[1]}"
            )


Shapes = dict[str, tuple[int, ...]]


def _shapes(episode: Episode) -> Shapes:
    return {
        key: value.shape[1:] if value.ndim == 4 else (value.ndim,)
        for key, value in sorted(episode.observations.items())
    }


def text_goal(task_name: str) -> str:
    """The instruction that LIBERO's names of tasks and files spell, without the scene's label.

    "KITCHEN_SCENE3_turn_on_the_stove_demo.hdf5" is "turn on the stove".
    """
    words = task_name.removesuffix(".hdf5").removesuffix(".h5").removesuffix("_demo").split("_")
    while words and words[0].isupper() and len(words[0]) > 1:
        words.pop(0)
    return " ".join(words)


def goal_of(episode: Episode) -> str:
    """An episode's instruction in words; empty where nothing tells."""
    told = episode.info.get("goal") or text_goal(str(episode.info.get("task_name") or ""))
    return str(told)


def shown_action(episode: Episode) -> np.ndarray:
    """``(T, A)`` float32: the label where there is one, else what was executed."""
    known = np.isfinite(episode.labels).all(-1)[:, None]
    return np.where(known, episode.labels, episode.actions).astype(np.float32)


def labels_from(shown: np.ndarray, labelled: np.ndarray) -> np.ndarray:
    """Labels ``(T, A)`` of `shown_action` and ``(T,)`` whether each step has one."""
    labels = np.array(shown, dtype=np.float32)
    labels[~np.asarray(labelled, dtype=bool)] = np.nan
    return labels


__all__ = [
    "DAMAGE",
    "Alike",
    "Convention",
    "DamagedData",
    "Format",
    "Part",
    "ReadOptions",
    "broken",
    "check_episode",
    "goal_of",
    "labels_from",
    "shown_action",
    "text_goal",
]
