"""Recorded episodes as rows of observations: sequences, windows and whole episodes out of them."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mbrl_agents.data.actions import ActionCodec
from mbrl_agents.data.episode import Episode
from mbrl_agents.data.extras import ExtrasStore
from mbrl_agents.data.rows import EpisodeRows
from mbrl_agents.protocols import Batch

LARGE_ROW = 1024
"""Bytes from which on observations stay where the episodes have them."""


@dataclass(frozen=True)
class Place:
    """Where the sequences of a batch lie: ``env`` ``(B,)``, ``start`` ``(B,)`` step numbers."""

    env: np.ndarray
    start: np.ndarray


class RecordedEpisodes:
    """Episodes one after another, a row per observation.

    Large observations, such as images, are not gathered: `EpisodeRows` reads batches of them from
    the episodes' own arrays.

    Args:
        episodes: at least one, all with the same observation keys.
        codec: of their actions.
        extras: those of `mbrl_agents.protocols.Algorithm`.

    Raises:
        ValueError: without episodes, or when their observations differ in key or shape.
    """

    def __init__(
        self,
        episodes: Sequence[Episode],
        codec: ActionCodec,
        extras: Mapping[str, tuple[tuple[int, ...], Any]] | None = None,
    ) -> None:
        if not episodes:
            raise ValueError("there are no episodes to learn from")
        keys = list(episodes[0].observations)
        for number, episode in enumerate(episodes):
            for key in keys:
                shape = episodes[0].observations[key].shape[1:]
                if key not in episode.observations or episode.observations[key].shape[1:] != shape:
                    raise ValueError(
                        f"episode {number} has no observation {key!r} of shape {shape} as the "
                        "first episode has; train on one kind of observation at a time"
                    )
        lengths = [len(episode) for episode in episodes]
        first = np.cumsum([0, *(length + 1 for length in lengths)])
        count = int(first[-1])

        def rows(parts: list[np.ndarray], late: int, fill: float) -> Tensor:
            """One row per observation of per-step arrays, from the ``late``-th observation on."""
            out = np.full((count, *parts[0].shape[1:]), fill, dtype=np.float32)
            for start, part in zip(first[:-1], parts, strict=True):
                out[start + late : start + late + len(part)] = part
            return torch.from_numpy(out)

        self.obs = {key: _observations([e.observations[key] for e in episodes]) for key in keys}
        self.prev_action = rows([codec.encode(e.actions) for e in episodes], 1, 0.0)
        self.label = rows([codec.encode(e.labels) for e in episodes], 0, np.nan)
        self.reward = rows([e.rewards for e in episodes], 1, 0.0)
        to_go = [
            np.arange(n, -1, -1.0) if e.success else np.full(n + 1, np.nan)
            for e, n in zip(episodes, lengths, strict=True)
        ]
        self.steps_to_go = rows(to_go, 0, np.nan)
        flags = np.zeros((3, count), dtype=bool)
        flags[0, first[:-1]] = True
        flags[1, first[1:] - 1] = True
        flags[2, first[1:] - 1] = [episode.terminated for episode in episodes]
        self.is_first, self.is_last, self.terminal = torch.from_numpy(flags)
        self.first = torch.as_tensor(first[:-1])  # (episodes,) first row of each
        self.length = torch.as_tensor(lengths)  # (episodes,) steps of each
        # Rows at which an action was taken, and the episode of each row.
        self.steps = (~self.is_last).nonzero()[:, 0]
        self.episode = torch.repeat_interleave(torch.arange(len(lengths)), self.length + 1)
        self.own_from = count  # the first row of own experience, which comes last
        self.extras = ExtrasStore(extras or {}, 1, count)

    def __len__(self) -> int:
        """Steps: actions that were taken."""
        return len(self.steps)

    @property
    def rows(self) -> int:
        """Observations."""
        return len(self.reward)

    @property
    def actions(self) -> Tensor:
        """``(N, A)`` all executed actions."""
        return self.prev_action[~self.is_first]

    @property
    def labels(self) -> Tensor:
        """``(M, A)`` all labels."""
        return self.label[self.labelled]

    @property
    def labelled(self) -> Tensor:
        """``(rows,)`` where a demonstrator's action is known."""
        return self.label.isfinite().all(-1)

    def fingerprint(self) -> str:
        """Tells one set of episodes from another."""
        total = float(self.prev_action.double().abs().sum() + self.reward.double().sum())
        return f"{len(self.first)} episodes, {len(self)} steps, {total:.9g}"

    def showing(self, obs: Mapping[str, Tensor]) -> RecordedEpisodes:
        """The same episodes with other observations, ``(rows, ...)`` by key."""
        found = copy.copy(self)
        found.obs = dict(obs)
        return found

    def at(self, index: Tensor, mask: Tensor | None = None) -> Batch:
        """The rows ``index`` ``(...)``; ``mask`` says which of them count, all by default."""
        return Batch(
            obs={key: value[index] for key, value in self.obs.items()},
            prev_action=self.prev_action[index],
            reward=self.reward[index],
            is_first=self.is_first[index],
            is_last=self.is_last[index],
            terminal=self.terminal[index],
            steps_to_go=self.steps_to_go[index],
            label=self.label[index],
            mask=torch.ones(index.shape, dtype=torch.bool) if mask is None else mask,
        )

    def sequences(self, starts: np.ndarray | Tensor, length: int) -> Batch:
        """``(B, length)`` rows as they lie: a sequence runs on from one episode into the next."""
        return self.at(torch.as_tensor(starts)[:, None] + torch.arange(length))

    def before(self, starts: np.ndarray) -> dict[str, Tensor]:
        """The extras of the rows before ``starts``."""
        found = self.extras.read(np.zeros_like(starts), starts - 1)
        return {name: _zeroed(value, starts == 0) for name, value in found.items()}

    def starts(self, length: int) -> int:
        """How many sequences of ``length`` rows there are."""
        return max(0, self.rows - length + 1)

    def windows(self, rows: Tensor, length: int, context: int) -> Batch:
        """``length`` steps within one episode: ``(B, length + 1)`` observations.

        The observation at ``rows`` ``(B,)`` stands at index ``context``.  What lies before an
        episode's first or after its last observation is padded with that one and masked.
        """
        wanted = rows[:, None] + torch.arange(length + 1) - context
        first = self.first[self.episode[rows]][:, None]
        last = first + self.length[self.episode[rows]][:, None]
        index = torch.minimum(torch.maximum(wanted, first), last)
        return self.at(index, index == wanted)

    def draw_windows(
        self,
        size: int,
        length: int,
        context: int,
        generator: torch.Generator,
        *,
        own_share: float = 0.0,
    ) -> Batch:
        """`windows` at random steps; see `draw_from`."""
        first = int((self.steps < self.own_from).sum())
        draw = draw_from(len(self.steps), first, size, generator, own_share)
        return self.windows(self.steps[draw], length, context)

    def whole(self, episodes: Tensor) -> Batch:
        """Whole episodes ``(B,)`` from their first observation, padded at the end and masked."""
        return self.windows(self.first[episodes], int(self.length[episodes].max()), 0)


def draw_from(
    count: int, own_from: int, size: int, generator: torch.Generator, own_share: float
) -> Tensor:
    """``size`` numbers below ``count``, a share of them at least ``own_from`` where there are any.

    Without a share all are equally likely.
    """
    found = torch.randint(count, (size,), generator=generator)
    own = round(own_share * size) if own_from < count else 0
    if own:
        found[:own] = torch.randint(own_from, count, (own,), generator=generator)
    return found


def _zeroed(values: Tensor, where: np.ndarray) -> Tensor:
    shape = (-1, *[1] * (values.ndim - 1))
    return values.masked_fill(torch.from_numpy(where).reshape(shape), 0)


def _observations(arrays: Sequence[np.ndarray]) -> Tensor | EpisodeRows:
    """One key's observations of all episodes, to be indexed by row."""
    rows = EpisodeRows(arrays)
    return rows if arrays[0][:1].nbytes >= LARGE_ROW else rows[:]


def split_episodes(
    episodes: Sequence[Episode], holdout: float, seed: int, numbers: Sequence[int] | None = None
) -> tuple[list[Episode], list[Episode]]:
    """Split into training and held-out episodes, whole episodes at a time.

    Steps of one episode resemble each other; a split by steps would measure memory.  An episode's
    number and the seed alone decide its side, so that episodes never change sides when others are
    added or lost: what a model was fitted to must not become what a refit is measured on.  With
    fewer than two episodes, or ``holdout=0``, nothing is held out.

    Args:
        numbers: of the episodes, each its own; by default their places.  Without a gap, two or
            more have at least one on each side.
    """
    numbers = range(len(episodes)) if numbers is None else numbers
    count = max(numbers, default=-1) + 1
    if holdout <= 0.5:
        held = _spread(count, holdout, 1, seed)
    else:
        held = set(range(count)) - _spread(count, 1.0 - holdout, 0, seed)
    sides: tuple[list[Episode], list[Episode]] = ([], [])
    for episode, number in zip(episodes, numbers, strict=True):
        sides[number in held].append(episode)
    # Of a few with gaps all may lie on one side, and some must be there to train on.
    return sides if sides[0] else (sides[1], [])


def _spread(count: int, share: float, first: int, seed: int) -> set[int]:
    """A ``share`` (at most a half) of the numbers below ``count``, spread over all of them.

    One of every ``1 / share`` numbers is drawn; of the first of these blocks it is ``first``
    (0 or 1), whatever the seed, so that even two episodes have both sides.
    """
    chosen: set[int] = set()
    block = low = 0
    while share > 0 and low < count:
        high = int((block + 1) / share)
        rng = np.random.default_rng([seed, block])
        chosen.add(first if block == 0 else int(rng.integers(low, high)))
        block, low = block + 1, high
    return {number for number in chosen if number < count}


__all__ = ["Place", "RecordedEpisodes", "split_episodes"]
