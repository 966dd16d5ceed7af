"""Own experience: steps of several environments in rings, and sequences out of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mbrl_agents.data.extras import ExtrasStore
from mbrl_agents.data.recorded import Place
from mbrl_agents.data.steps import StepStore
from mbrl_agents.protocols import Batch

FORMAT = 3
"""Of what `Rings.save` returns; it rises when an older one cannot be read any more."""

COPIED_AT_ONCE = 256
"""Steps."""


class Rings:
    """Steps as they arrive, the newest of each environment; sequences run across episodes.

    A step holds what was seen, the action, reward and flags that led there, the number of its
    episode in the order they began, and the extras of when it was last computed: by the agent as
    it acted, later by training.

    Args:
        capacity: steps in all.
        n_envs: environments.
        observations: key to shape and dtype.
        action_size: ``A``.
        extras: those of `mbrl_agents.protocols.Algorithm`.
        folder: where recorded steps lie in memory-mapped files, see `StepStore`; in memory
            when None.  Extras, which training changes, are always in memory.
    """

    def __init__(
        self,
        capacity: int,
        n_envs: int,
        observations: Mapping[str, tuple[tuple[int, ...], Any]],
        action_size: int,
        extras: Mapping[str, tuple[tuple[int, ...], Any]] | None = None,
        folder: Path | None = None,
    ) -> None:
        self.size, self.n_envs = max(1, capacity // n_envs), n_envs
        self.keys = list(observations)
        fields = {f"obs.{key}": entry for key, entry in observations.items()} | {
            "prev_action": ((action_size,), np.float32),
            "reward": ((), np.float32),
            "is_first": ((), bool),
            "is_last": ((), bool),
            "terminal": ((), bool),
            "success": ((), bool),
            "episode": ((), np.int64),
        }
        self.steps = StepStore(fields, n_envs, self.size, folder)
        self.extras = ExtrasStore(extras or {}, n_envs, self.size)
        self.count = np.zeros(n_envs, np.int64)  # steps ever written per env
        self.given = np.zeros(n_envs, np.int64)  # steps that `fresh` gave out, per env
        self.begun = 0  # episodes that ever began
        self._episode = np.zeros(n_envs, np.int64)  # number of each env's present one

    def __len__(self) -> int:
        """Steps held."""
        return int(np.minimum(self.count, self.size).sum())

    def add(
        self,
        env: int,
        obs: Mapping[str, Any],
        prev_action: Any,
        reward: float,
        *,
        is_first: bool,
        is_last: bool = False,
        terminal: bool = False,
        success: bool = False,
        extras: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Record one observation of one environment; ``extras`` are those of a single step."""
        step = int(self.count[env])
        if is_first:
            self._episode[env] = self.begun
            self.begun += 1
        values = {f"obs.{key}": obs[key] for key in self.keys} | {
            "prev_action": 0.0 if is_first else prev_action,
            "reward": 0.0 if is_first else reward,
            "is_first": is_first,
            "is_last": is_last,
            "terminal": terminal,
            "success": success,
            "episode": self._episode[env],
        }
        self.steps.write(env, step, values)
        if extras:
            self.extras.write(env, step % self.size, extras)
        else:
            self.extras.forget(env, step % self.size)
        self._count(env, 1)

    # -- sequences ----------------------------------------------------------------------

    def starts(self, length: int) -> np.ndarray:
        """``(n_envs,)`` how many sequences of ``length`` steps there are."""
        return (self.count - length - self._oldest() + 1).clip(0)

    def place(self, numbers: np.ndarray, length: int) -> Place:
        """Where the sequences with the given numbers, below ``starts(length).sum()``, lie."""
        per_lane = self.starts(length)
        ends = per_lane.cumsum()
        env = np.searchsorted(ends, numbers, side="right")
        return Place(env, numbers - (ends - per_lane)[env] + self._oldest()[env])

    def fresh(self, most: int, length: int) -> Place:
        """New sequences, each given out once, the oldest first and ``most`` at most."""
        n_envs: list[int] = []
        starts: list[int] = []
        self.given = np.maximum(self.given, self._oldest())
        while len(n_envs) < most:
            env = int(self.given.argmin())
            waiting = self.given + length <= self.count
            if not waiting[env]:
                if not waiting.any():
                    break
                env = int(np.where(waiting, self.given, np.iinfo(np.int64).max).argmin())
            n_envs.append(env)
            starts.append(int(self.given[env]))
            self.given[env] += length
        return Place(np.array(n_envs, np.int64), np.array(starts, np.int64))

    def sequences(self, place: Place, length: int) -> Batch:
        """``(B, length)`` steps at a place."""
        found = self.steps.gather(place.env, place.start, length)
        step = {name: torch.from_numpy(value) for name, value in found.items()}
        del step["success"], step["episode"]
        obs = {key: step.pop(f"obs.{key}") for key in self.keys}
        # Also an episode that was given up ended before the next one began.
        step["is_last"][:, :-1] |= step["is_first"][:, 1:]
        return Batch(
            obs=obs,
            steps_to_go=torch.full_like(step["reward"], torch.nan),
            label=torch.full_like(step["prev_action"], torch.nan),
            mask=torch.ones_like(step["is_first"]),
            **step,
        )

    def before(self, place: Place) -> dict[str, Tensor]:
        """The extras of the steps before a place; zeros where there is none."""
        found = self.extras.read(place.env, (place.start - 1) % self.size)
        begins = torch.from_numpy(place.start == 0)
        return {
            name: value.masked_fill(begins.reshape(-1, *[1] * (value.ndim - 1)), 0)
            for name, value in found.items()
        }

    def remember(self, place: Place, extras: Mapping[str, Tensor]) -> None:
        """Store the extras ``(B, length, ...)`` that training computed for a batch."""
        length = next(iter(extras.values())).shape[1]
        index = (place.start[:, None] + np.arange(length)) % self.size
        self.extras.write(place.env[:, None], index, extras)

    # -- episodes -----------------------------------------------------------------------

    def episodes(self, newest: int | None = None) -> list[dict[str, np.ndarray]]:
        """The fields of every episode that is held as a whole and has ended, the oldest first.

        Args:
            newest: read only so many of the newest.
        """
        whole = [
            piece
            for piece in self._pieces()
            if piece[2] - piece[1] > 1 and self._flag("is_first", *piece[:2])
            if self._flag("is_last", piece[0], piece[2] - 1)
        ]
        chosen = whole if newest is None else whole[max(0, len(whole) - newest) :]
        return [self.steps.read(*piece) for piece in chosen]

    def _flag(self, name: str, env: int, step: int) -> bool:
        return bool(self.steps.read(env, step, step + 1, [name])[name][0])

    def _count(self, env: int, steps: int) -> None:
        """Note that a env has more steps, and forget what fell out where a block was begun."""
        begun = -(-self.count[env] // self.steps.block)
        self.count[env] += steps
        if -(-self.count[env] // self.steps.block) != begun:
            self.steps.keep(np.maximum(self.count - self.size, 0), self.count)

    def _oldest(self) -> np.ndarray:
        # Once the ring is full the step before the oldest is gone, and its extras with it.
        return np.where(self.count > self.size, self.count - self.size + 1, 0)

    def take_over(self, other: Rings) -> None:
        """Append everything other rings of the same task hold, whatever their n_envs.

        Each of their episodes goes on in the env with the fewest steps, the oldest first, with
        the extras computed for it.
        """
        for env, start, end in other._pieces():
            target = int(self.count.argmin())
            start = max(start, end - self.size)
            for begin in range(start, end, COPIED_AT_ONCE):
                stop = min(begin + COPIED_AT_ONCE, end)
                steps = other.steps.read(env, begin, stop)
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
                self.extras.copy(target, at, other.extras, env, source)
                self._count(target, stop - begin)
        self.given, self.begun = self.count.copy(), other.begun

    def _pieces(self) -> list[tuple[int, int, int]]:
        """Lane, first and one beyond the last step of each episode held, the oldest first.

        The first of a full ring may have lost its beginning.
        """
        found = []
        for env in range(self.n_envs):
            count = int(self.count[env])
            if not count:
                continue
            first = max(0, count - self.size)
            flags = self.steps.read(env, first, count, ["is_first"])["is_first"]
            flags[0] = True
            begins = (first + np.flatnonzero(flags)).tolist()
            found += [(env, a, b) for a, b in zip(begins, [*begins[1:], count], strict=True)]
        return sorted(found, key=lambda piece: (piece[2] - int(self.count[piece[0]]), -piece[0]))

    # -- files --------------------------------------------------------------------------

    def save(self, folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Have everything recorded in files of ``folder``, and note which count.

        Rings that record there only let the kernel write what it has not written yet; others
        are copied, and record there from now on.  Steps beyond those counted are overwritten
        with what they were when training goes on from the checkpoint.

        Returns:
            Tensors and plain values for the checkpoint that commits the save: the extras, which
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
            "given": self.given.tolist(),
            "begun": self.begun,
            "episode": self._episode.tolist(),
        }
        return self.extras.tensors(used), meta

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
        steps = StepStore(self.steps.fields, self.n_envs, self.size, folder)
        steps.restore(meta["steps"])
        self.steps = steps
        self.count = np.array(meta["count"], np.int64)
        self.given = np.array(meta["given"], np.int64)
        self.begun, self._episode = int(meta["begun"]), np.array(meta["episode"], np.int64)
        self.extras.restore(tensors)


__all__ = ["Rings"]
