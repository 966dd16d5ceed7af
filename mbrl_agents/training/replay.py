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

from mbrl_agents.training.latents import LatentStore
from mbrl_agents.training.steps import StepStore
from mbrl_agents.world_models.arrivals import Arrivals

FORMAT = 2
"""Of what `Replay.save` returns; it rises when an older one cannot be read any more."""

COPIED_AT_ONCE = 256
"""Steps."""


@dataclass(frozen=True)
class Place:
    """Where the sequences of a batch lie: ``lane`` ``(B,)``, ``start`` ``(B,)`` step numbers."""

    lane: np.ndarray
    start: np.ndarray


class Replay:
    """Steps as they arrive, the newest of each environment; sequences run across episodes.

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
        folder: where recorded steps lie in memory-mapped files, see `StepStore`; in memory
            when None.  Latents, which training changes, are always in memory.

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
        folder: Path | None = None,
    ) -> None:
        self.size, self.lanes, self.length = capacity // lanes, lanes, length
        if self.size <= length:
            raise ValueError(
                f"{capacity} steps in {lanes} rings hold no sequence of {length} steps"
            )
        self.keys = list(observations)
        fields = {f"obs.{key}": entry for key, entry in observations.items()} | {
            "prev_action": ((action_size,), np.float32),
            "reward": ((), np.float32),
            "is_first": ((), bool),
            "is_last": ((), bool),
            "terminal": ((), bool),
        }
        self.steps = StepStore(fields, lanes, self.size, folder)
        self.latents = LatentStore(lanes, self.size, *latents)
        self.count = np.zeros(lanes, np.int64)  # steps ever written per lane
        self.fresh: deque[tuple[int, int]] = deque()

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
        step = int(self.count[lane])
        values = {f"obs.{key}": value for key, value in obs.items()} | {
            "prev_action": 0.0 if is_first else prev_action,
            "reward": reward,
            "is_first": is_first,
            "is_last": is_last,
            "terminal": terminal,
        }
        self.steps.write(lane, step, values)
        if latents is None:
            self.latents.forget(lane, step % self.size)
        else:
            self.latents.write(lane, step % self.size, latents)
        self._count(lane, 1)
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
                {key: np.asarray(observations[key][t]) for key in self.keys},
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
        found = self.steps.gather(place.lane, place.start, self.length)
        step = {name: torch.from_numpy(value) for name, value in found.items()}
        obs = {key: step.pop(f"obs.{key}") for key in self.keys}
        # Also an episode that was given up ended before the next one began.
        step["is_last"][:, :-1] |= step["is_first"][:, 1:]
        seen = torch.ones(batch, self.length, dtype=torch.bool)
        arrivals = Arrivals(
            obs=obs,
            steps_to_go=torch.full((batch, self.length), torch.nan),
            mask=seen,
            outcome=seen,
            **step,
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
            if len(found) == count:
                break
            if end - start < least or not self._begins(lane, start):
                continue
            steps = self.steps.read(lane, start, end)
            found.append(
                {
                    "obs": {key: torch.from_numpy(steps[f"obs.{key}"]) for key in self.keys},
                    "prev_action": torch.from_numpy(steps["prev_action"]),
                    "reward": torch.from_numpy(steps["reward"]),
                    "steps_to_go": torch.full((end - start,), torch.nan),
                }
            )
        return found

    def _begins(self, lane: int, step: int) -> bool:
        return bool(self.steps.read(lane, step, step + 1, ["is_first"])["is_first"][0])

    def _count(self, lane: int, steps: int) -> None:
        """Note that a lane has more steps, and forget what fell out where a block was begun."""
        begun = -(-self.count[lane] // self.steps.block)
        self.count[lane] += steps
        if -(-self.count[lane] // self.steps.block) != begun:
            self.steps.keep(np.maximum(self.count - self.size, 0), self.count)

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
            for begin in range(start, end, COPIED_AT_ONCE):
                stop = min(begin + COPIED_AT_ONCE, end)
                steps = other.steps.read(lane, begin, stop)
                if begin == start:
                    # What was cut off at its beginning must not look like the end of what lies
                    # before.
                    steps["is_first"][0] = True
                    steps["prev_action"][0] = 0.0
                    steps["reward"][0] = 0.0
                first = int(self.count[target])
                self.steps.put(target, first, steps)
                at = np.arange(first, first + stop - begin) % self.size
                source = np.arange(begin, stop) % other.size
                self.latents.copy(target, at, other.latents, lane, source)
                self._count(target, stop - begin)

    def _pieces(self) -> list[tuple[int, int, int]]:
        """Lane, first and one beyond the last step of each episode held, the oldest first.

        The first of a full ring may have lost its beginning.
        """
        found = []
        for lane in range(self.lanes):
            count = int(self.count[lane])
            if not count:
                continue
            first = max(0, count - self.size)
            flags = self.steps.read(lane, first, count, ["is_first"])["is_first"]
            flags[0] = True
            begins = (first + np.flatnonzero(flags)).tolist()
            found += [(lane, a, b) for a, b in zip(begins, [*begins[1:], count], strict=True)]
        return sorted(found, key=lambda piece: (piece[2] - int(self.count[piece[0]]), -piece[0]))

    # -- files --------------------------------------------------------------------------

    def save(self, folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Have everything recorded in files of ``folder``, and note which count.

        A replay that records there only lets the kernel write what it has not written yet; another
        one is copied, and records there from now on.  Steps beyond those counted are overwritten
        with what they were when training goes on from the checkpoint.

        Returns:
            Tensors and plain values for the checkpoint that commits the save: the latents, which
            change, and the list of files.
        """
        if self.steps.folder != folder.absolute():
            self.steps = self.steps.copied_to(folder)
        self.steps.flush()
        used = int(min(self.count.max(initial=0), self.size))
        meta = {
            "format": FORMAT,
            "count": self.count.tolist(),
            "steps": self.steps.files(),
            "fresh": [list(entry) for entry in self.fresh],
        }
        return self.latents.tensors(used), meta

    def tidy(self) -> None:
        """Remove files whose steps are all forgotten, and what interrupted trainings left behind.

        To be called after the checkpoint is written, or where there is none.
        """
        self.steps.tidy()

    def restore(self, folder: Path, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
        """Become what `save` saw, and go on recording in its files.

        Raises:
            ValueError: when they are of another version, missing, or of another form.
        """
        if meta.get("format") != FORMAT:
            raise ValueError(
                f"the recorded steps in {folder} are of format {meta.get('format', 1)}, which "
                f"another version of mbrl_agents wrote; expected format {FORMAT}: finish the "
                "training with that version, or begin anew in another folder"
            )
        steps = StepStore(self.steps.fields, self.lanes, self.size, folder)
        steps.restore(meta["steps"])
        self.steps = steps
        self.count = np.array(meta["count"], np.int64)
        self.fresh = deque((int(lane), int(start)) for lane, start in meta["fresh"])
        self.latents.restore(tensors)


__all__ = ["Place", "Replay"]
