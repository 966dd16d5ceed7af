"""Replay: steps of several environments in rings, sequences out of them, latents beside them."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mbrl_agents.training.checkpoints import load_tensors, save_tensors
from mbrl_agents.training.latents import LatentStore
from mbrl_agents.world_models.arrivals import Arrivals

SEGMENT_STEPS = 4096
"""Steps of a file: they are copied on their way to it, a whole replay would be doubled."""

FIELDS = ("prev_action", "reward", "is_first", "is_last", "terminal")


@dataclass(frozen=True)
class Place:
    """Where the sequences of a batch lie: ``lane`` ``(B,)``, ``start`` ``(B,)`` step numbers."""

    lane: np.ndarray
    start: np.ndarray


class Replay:
    """Steps as they arrive, one ring per environment; sequences run across episodes.

    A step holds what was seen, the action, reward and flags that led there, and the latents of
    when it was last computed: by the agent as it acted, later by training.  A sequence begins
    from the latents of the step before it, as DreamerV3's authors do it since 2024.  Of new steps
    every sequence is given out once before older ones are drawn at random.

    Args:
        capacity: steps in all.
        lanes: environments.
        length: steps of a sequence.
        observations: key to shape and dtype.
        action_size: ``A``.
        latents: ``deter``, ``stoch`` and ``classes`` of the model's state.

    Raises:
        ValueError: when a ring would not hold a sequence.
    """

    def __init__(
        self,
        capacity: int,
        lanes: int,
        length: int,
        observations: Mapping[str, tuple[tuple[int, ...], Any]],
        action_size: int,
        latents: tuple[int, int, int],
    ) -> None:
        self.size, self.lanes, self.length = capacity // lanes, lanes, length
        if self.size <= length:
            raise ValueError(
                f"{capacity} steps in {lanes} rings hold no sequence of {length} steps"
            )
        rows = (lanes, self.size)
        self.obs = {k: np.zeros((*rows, *s), d) for k, (s, d) in observations.items()}
        self.prev_action = np.zeros((*rows, action_size), np.float32)
        self.reward = np.zeros(rows, np.float32)
        self.is_first = np.zeros(rows, bool)
        self.is_last = np.zeros(rows, bool)
        self.terminal = np.zeros(rows, bool)
        self.latents = LatentStore(lanes, self.size, *latents)
        self.count = np.zeros(lanes, np.int64)  # steps ever written per lane
        self.fresh: deque[tuple[int, int]] = deque()
        self.saved = np.zeros(lanes, np.int64)
        self.segments: list[dict[str, Any]] = []

    def __len__(self) -> int:
        """Steps held."""
        return int(np.minimum(self.count, self.size).sum())

    @property
    def sequences(self) -> int:
        """How many different sequences can be drawn."""
        return int((self._newest() - self._oldest() + 1).clip(0).sum())

    def add(
        self,
        lane: int,
        obs: Mapping[str, np.ndarray],
        prev_action: np.ndarray,
        reward: float,
        *,
        is_first: bool,
        is_last: bool = False,
        terminal: bool = False,
        latents: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Record one step of one environment; ``latents`` are those of a single state."""
        at = int(self.count[lane]) % self.size
        for key, value in obs.items():
            self.obs[key][lane, at] = value
        self.prev_action[lane, at] = 0.0 if is_first else prev_action
        self.reward[lane, at] = reward
        self.is_first[lane, at] = is_first
        self.is_last[lane, at] = is_last
        self.terminal[lane, at] = terminal
        if latents is None:
            self.latents.forget(lane, at)
        else:
            self.latents.write(lane, at, latents)
        self.count[lane] += 1
        if self.count[lane] % self.length == 0:
            self.fresh.append((lane, int(self.count[lane]) - self.length))

    def add_episode(
        self,
        observations: Mapping[str, np.ndarray],
        actions: np.ndarray,
        rewards: np.ndarray,
        *,
        terminal: bool,
        lane: int = 0,
    ) -> None:
        """Record a whole episode of ``T`` steps.

        Args:
            observations: by key, each ``(T + 1, ...)``; keys the replay does not hold are ignored.
            actions: ``(T, A)`` normalised.
            rewards: ``(T,)``.
            terminal: whether it ended for good.
            lane: whose ring it goes to.
        """
        for t in range(len(actions) + 1):
            last = t == len(actions)
            self.add(
                lane,
                {key: np.asarray(observations[key][t]) for key in self.obs},
                actions[t - 1] if t else np.zeros_like(actions[0]),
                float(rewards[t - 1]) if t else 0.0,
                is_first=t == 0,
                is_last=last,
                terminal=last and terminal,
            )

    def sample(
        self, batch: int, generator: torch.Generator
    ) -> tuple[Arrivals, dict[str, Tensor], Place]:
        """Sequences ``(B, length)``, the states before them, and where they lie.

        Raises:
            ValueError: when there is no sequence yet.
        """
        place = self._draw(batch, generator)
        steps = place.start[:, None] + np.arange(self.length)
        lane, index = place.lane[:, None], steps % self.size
        field = {name: torch.from_numpy(getattr(self, name)[lane, index]) for name in FIELDS}
        # Also an episode that was given up ended before the next one began.
        field["is_last"][:, :-1] |= field["is_first"][:, 1:]
        seen = torch.ones(index.shape, dtype=torch.bool)
        arrivals = Arrivals(
            obs={key: torch.from_numpy(value[lane, index]) for key, value in self.obs.items()},
            steps_to_go=torch.full(index.shape, torch.nan),
            mask=seen,
            outcome=seen,
            **field,
        )
        before = self.latents.read(place.lane, (place.start - 1) % self.size)
        begins = torch.from_numpy(place.start == 0)
        state = {
            key: value.masked_fill(begins.reshape(-1, *[1] * (value.ndim - 1)), 0.0)
            for key, value in before.items()
        }
        return arrivals, state, place

    def remember(self, place: Place, states: Mapping[str, Tensor]) -> None:
        """Store the states ``(B, length, ...)`` that training computed for a batch."""
        index = (place.start[:, None] + np.arange(self.length)) % self.size
        self.latents.write(place.lane[:, None], index, states)

    def episodes(self, count: int, least: int = 2) -> list[dict[str, Any]]:
        """The newest episodes held as a whole, the newest first, in normalised actions.

        Args:
            count: how many at most.
            least: shorter ones, in observations, are left out.

        Returns:
            For each: ``obs`` by key, ``prev_action``, ``reward`` and ``steps_to_go`` (NaN), all
            tensors of the episode's ``N`` observations.
        """
        found: list[dict[str, Any]] = []
        for lane, start, end in reversed(self._pieces()):
            at = np.arange(start, end) % self.size
            if len(found) == count or end - start < least or not self.is_first[lane, at[0]]:
                continue
            found.append(
                {
                    "obs": {key: torch.from_numpy(x[lane, at]) for key, x in self.obs.items()},
                    "prev_action": torch.from_numpy(self.prev_action[lane, at]),
                    "reward": torch.from_numpy(self.reward[lane, at]),
                    "steps_to_go": torch.full((len(at),), torch.nan),
                }
            )
        return found

    def _oldest(self) -> np.ndarray:
        # Once the ring is full the step before the oldest is gone, and its latents with it.
        return np.where(self.count > self.size, self.count - self.size + 1, 0)

    def _newest(self) -> np.ndarray:
        """The last step number per lane at which a sequence can begin."""
        return self.count - self.length

    def _draw(self, batch: int, generator: torch.Generator) -> Place:
        oldest = self._oldest()
        per_lane = (self._newest() - oldest + 1).clip(0)
        total = int(per_lane.sum())
        if total == 0:
            raise ValueError(f"no sequence of {self.length} steps was recorded yet")
        lanes: list[int] = []
        starts: list[int] = []
        while self.fresh and len(lanes) < batch:
            lane, start = self.fresh.popleft()
            if start >= oldest[lane]:
                lanes.append(lane)
                starts.append(start)
        drawn = torch.randint(total, (batch - len(lanes),), generator=generator).numpy()
        ends = per_lane.cumsum()
        chosen = np.searchsorted(ends, drawn, side="right")
        begins = drawn - (ends - per_lane)[chosen] + oldest[chosen]
        return Place(
            np.concatenate([np.array(lanes, np.int64), chosen]),
            np.concatenate([np.array(starts, np.int64), begins]),
        )

    def take_over(self, other: Replay) -> None:
        """Append everything another replay of the same task holds, whatever its lanes.

        Each of its episodes goes on in the lane with the fewest steps, the oldest first, with the
        latents computed for it.
        """
        for lane, start, end in other._pieces():
            target = int(self.count.argmin())
            start = max(start, end - self.size)
            at = np.arange(self.count[target], self.count[target] + end - start) % self.size
            source = np.arange(start, end) % other.size
            theirs = other._arrays()
            for name, array in self._arrays().items():
                array[target, at] = theirs[name][lane, source]
            # What was cut off at its beginning must not look like the end of what lies before.
            self.is_first[target, at[0]] = True
            self.prev_action[target, at[0]] = 0.0
            self.reward[target, at[0]] = 0.0
            for name in ("deter", "stoch", "known"):
                getattr(self.latents, name)[target, at] = getattr(other.latents, name)[lane, source]
            self.count[target] += end - start

    def _pieces(self) -> list[tuple[int, int, int]]:
        """Lane, first and one beyond the last step of each episode held, the oldest first.

        The first of a full ring may have lost its beginning.
        """
        found = []
        for lane in range(self.lanes):
            count = int(self.count[lane])
            steps = np.arange(max(0, count - self.size), count)
            if not len(steps):
                continue
            begins = steps[self.is_first[lane, steps % self.size]].tolist()
            if steps[0] not in begins:
                begins.insert(0, int(steps[0]))
            found += [(lane, a, b) for a, b in zip(begins, [*begins[1:], count], strict=True)]
        return sorted(found, key=lambda piece: (piece[2] - int(self.count[piece[0]]), -piece[0]))

    # -- files --------------------------------------------------------------------------

    def save(self, folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Append what is new since the last save to ``folder``, in files of `SEGMENT_STEPS`.

        Every step is written once.  A file counts only once a checkpoint lists it: those that an
        interrupted save left behind are overwritten by the next.

        Returns:
            Tensors and plain values for the checkpoint that commits the save: the latents, which
            change, and the list of files.
        """
        since = np.maximum(self.saved, self.count - self.size)
        new = self.count - since
        files = -(-int(new.sum()) // SEGMENT_STEPS)
        for part in range(files):
            begin, end = since + new * part // files, since + new * (part + 1) // files
            number = 1 + (self.segments[-1]["number"] if self.segments else 0)
            tensors = {}
            for lane in range(self.lanes):
                index = np.arange(begin[lane], end[lane]) % self.size
                for name, array in self._arrays().items():
                    tensors[f"{lane}/{name}"] = torch.from_numpy(array[lane, index])
            save_tensors(folder / f"{number:06d}.safetensors", tensors)
            self.segments.append({"number": number, "from": begin.tolist(), "to": end.tolist()})
        self.saved = self.count.copy()
        needed = [s for s in self.segments if (np.array(s["to"]) > self.count - self.size).any()]
        self.segments = needed
        used = int(min(self.count.max(initial=0), self.size))
        meta = {
            "count": self.count.tolist(),
            "segments": self.segments,
            "fresh": [list(entry) for entry in self.fresh],
        }
        return self.latents.tensors(used), meta

    def tidy(self, folder: Path) -> None:
        """Remove files whose steps are all overwritten, and what interrupted saves left behind.

        To be called after the checkpoint is written.
        """
        names = {f"{segment['number']:06d}.safetensors" for segment in self.segments}
        for path in [*folder.glob("*.safetensors"), *folder.glob(".*.safetensors.????????")]:
            if path.name not in names:
                path.unlink()

    def restore(self, folder: Path, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
        """Become what `save` saw, file by file."""
        self.segments = list(meta["segments"])
        self.count = np.array(meta["count"], np.int64)
        self.saved = self.count.copy()
        self.fresh = deque((int(lane), int(start)) for lane, start in meta["fresh"])
        for segment in self.segments:
            found, _ = load_tensors(folder / f"{segment['number']:06d}.safetensors")
            for lane in range(self.lanes):
                steps = np.arange(segment["from"][lane], segment["to"][lane])
                for name, array in self._arrays().items():
                    array[lane, steps % self.size] = found[f"{lane}/{name}"].numpy()
        self.latents.restore(tensors)

    def _arrays(self) -> dict[str, np.ndarray]:
        return {f"obs.{key}": value for key, value in self.obs.items()} | {
            name: getattr(self, name) for name in FIELDS
        }


__all__ = ["Place", "Replay"]
