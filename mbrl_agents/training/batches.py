"""Batches of sequences from recorded episodes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from mbrl_agents.data.episode import Episode
from mbrl_agents.protocols import SequenceBatch
from mbrl_agents.training.rows import EpisodeRows
from mbrl_agents.world_models.arrivals import Arrivals

LARGE_ROW = 1024
"""Bytes from which on observations stay where the episodes have them."""


class EpisodeTensors:
    """Episodes as contiguous tensors, one row per observation.

    The last row of an episode holds the observation it ended with and no action.  On the CPU large
    observations, as pictures, are not gathered: `EpisodeRows` reads batches of them from the
    episodes' own arrays.

    Args:
        episodes: at least one, all with the same observation keys.
        low, high: bounds of the recorded actions; actions and labels are scaled to [-1, 1] and
            clipped there.  Scalars or ``(A,)``.
        device: where the tensors live.

    Raises:
        ValueError: without episodes, or when their observations differ in key or shape.
    """

    def __init__(
        self,
        episodes: Sequence[Episode],
        *,
        low: float | np.ndarray = -1.0,
        high: float | np.ndarray = 1.0,
        device: torch.device | str = "cpu",
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

        def rows(parts: list[np.ndarray], fill: float = 0.0) -> Tensor:
            """Concatenate per-step arrays, with one dummy row after each episode."""
            shape = (int(first[-1]), *parts[0].shape[1:])
            out = np.full(shape, fill, dtype=np.float32)
            for start, part in zip(first[:-1], parts, strict=True):
                out[start : start + len(part)] = part
            return torch.from_numpy(out).to(device)

        def scaled(actions: np.ndarray) -> np.ndarray:
            return np.clip(2.0 * (actions - low) / (np.asarray(high) - low) - 1.0, -1.0, 1.0)

        self.obs = {key: _rows([e.observations[key] for e in episodes], device) for key in keys}
        self.action = rows([scaled(e.actions) for e in episodes])
        self.label = rows([scaled(e.labels) for e in episodes], np.nan)
        self.reward = rows([e.rewards for e in episodes])
        self.steps_to_go = rows(
            [
                np.arange(n - 1, -1, -1.0) if e.success else np.full(n, np.nan)
                for e, n in zip(episodes, lengths, strict=True)
            ],
            np.nan,
        )
        terminated = np.zeros(first[-1], dtype=bool)
        terminated[first[1:] - 2] = [episode.terminated for episode in episodes]
        self.terminated = torch.from_numpy(terminated).to(device)
        self.first = torch.as_tensor(first[:-1], device=device)  # (episodes,) first row of each
        self.length = torch.as_tensor(lengths, device=device)  # (episodes,) steps of each
        steps = [np.arange(a, a + n) for a, n in zip(first[:-1], lengths, strict=True)]
        self.steps = torch.as_tensor(np.concatenate(steps), device=device)  # rows with an action
        self.episode = torch.as_tensor(
            np.repeat(np.arange(len(lengths)), [n + 1 for n in lengths]), device=device
        )
        self.device = torch.device(device)

    def __len__(self) -> int:
        return len(self.steps)

    def sequences(self, rows: Tensor, length: int, context: int = 1) -> SequenceBatch:
        """Sequences in which the step at ``rows`` ``(B,)`` stands at index ``context``.

        What lies before an episode's first or after its last step is padded with its nearest step
        and masked.
        """
        offsets = torch.arange(length, device=self.device) - context
        wanted = rows[:, None] + offsets  # (B, T)
        first = self.first[self.episode[rows]][:, None]
        last = first + self.length[self.episode[rows]][:, None] - 1
        index = torch.minimum(torch.maximum(wanted, first), last)
        mask = index == wanted
        is_first = mask & (index == first)
        before = torch.maximum(index - 1, first)
        prev_action = torch.where((index == first)[..., None], 0.0, self.action[before])
        return SequenceBatch(
            obs={key: value[index] for key, value in self.obs.items()},
            next_obs={key: value[index + 1] for key, value in self.obs.items()},
            action=self.action[index],
            prev_action=prev_action,
            label=self.label[index],
            reward=self.reward[index],
            terminated=self.terminated[index] & mask,
            is_first=is_first,
            steps_to_go=self.steps_to_go[index],
            mask=mask,
        )

    def arrivals(self, starts: Tensor, length: int) -> Arrivals:
        """The ``length`` observations from each of the rows ``starts`` ``(B,)`` on.

        Rows are taken as they lie: a sequence runs on from one episode into the next.
        """
        rows = starts[:, None] + torch.arange(length, device=self.device)
        first = self.first[self.episode[rows]]
        is_first = rows == first
        before = (rows - 1).clamp_min(0)
        seen = torch.ones_like(is_first)
        return Arrivals(
            obs={key: value[rows] for key, value in self.obs.items()},
            prev_action=torch.where(is_first[..., None], 0.0, self.action[before]),
            reward=torch.where(is_first, 0.0, self.reward[before]),
            is_first=is_first,
            is_last=rows == first + self.length[self.episode[rows]],
            terminal=self.terminated[before] & ~is_first,
            steps_to_go=torch.where(is_first, torch.nan, self.steps_to_go[before]),
            mask=seen,
            outcome=seen,
            label=self.label[rows],
        )

    def sample(
        self, batch: int, length: int, *, context: int = 1, generator: torch.Generator
    ) -> SequenceBatch:
        """``batch`` random sequences; every recorded step is equally likely to lead one."""
        draw = torch.randint(len(self.steps), (batch,), generator=generator)
        return self.sequences(self.steps[draw.to(self.device)], length, context)

    def chunks(self, size: int, length: int, *, context: int = 1) -> Iterator[SequenceBatch]:
        """All steps once, in order, in batches of at most ``size``."""
        for rows in self.steps.split(size):
            yield self.sequences(rows, length, context)

    def whole(self, episodes: Tensor) -> SequenceBatch:
        """Whole episodes ``(B,)`` from their first step, padded at the end to the longest."""
        return self.sequences(self.first[episodes], int(self.length[episodes].max()), 0)


def _rows(arrays: Sequence[np.ndarray], device: torch.device | str) -> Tensor | EpisodeRows:
    """One key's observations of all episodes, to be indexed by row."""
    rows = EpisodeRows(arrays)
    if torch.device(device).type == "cpu":
        large = arrays[0][:1].nbytes >= LARGE_ROW
        return rows if large else rows[:]
    # An episode at a time, so that no second copy of them all is made on the way.
    found: Tensor = torch.empty(rows.shape, dtype=rows[:0].dtype, device=device)
    begin = 0
    for array in arrays:
        found[begin : begin + len(array)] = torch.tensor(array, device=device)
        begin += len(array)
    return found


def split_episodes(
    episodes: Sequence[Episode], holdout: float, seed: int
) -> tuple[list[Episode], list[Episode]]:
    """Split into training and held-out episodes, whole episodes at a time.

    Steps of one episode resemble each other; a split by steps would measure memory.  An episode's
    number and the seed alone decide its side, so that episodes never change sides when more are
    added: what a model was fitted to must not become what a refit is measured on.  With fewer
    than two episodes, or ``holdout=0``, nothing is held out; two or more have at least one on
    each side.
    """
    count = len(episodes)
    if holdout <= 0.5:
        held = _spread(count, holdout, 1, seed)
    else:
        held = set(range(count)) - _spread(count, 1.0 - holdout, 0, seed)
    train = [e for i, e in enumerate(episodes) if i not in held]
    return train, [e for i, e in enumerate(episodes) if i in held]


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
