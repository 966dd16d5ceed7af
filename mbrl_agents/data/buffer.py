"""The sequence buffer: recorded episodes and own experience behind one interface."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from mbrl_agents.data.actions import ActionCodec
from mbrl_agents.data.episode import Episode, check_spaces
from mbrl_agents.data.observations import ObservationCodec
from mbrl_agents.data.recorded import Place, RecordedEpisodes, split_episodes
from mbrl_agents.data.rings import Rings
from mbrl_agents.protocols import Batch

Spec = Mapping[str, tuple[tuple[int, ...], Any]]


@dataclass(frozen=True)
class Sample:
    """Sequences drawn from a `SequenceBuffer`.

    Attributes:
        batch: ``(B, T, ...)``; sequences run across the ends of episodes.
        before: extras of the step before each sequence, ``(B, ...)`` by name; empty where the
            algorithm has none.
        place: where they lie in recorded episodes and in own experience; the former come first.
    """

    batch: Batch
    before: dict[str, Tensor]
    place: tuple[Place, Place]


class SequenceBuffer:
    """What training reads: recorded episodes, which stay, and own experience, the newest of it.

    Recorded episodes are read where they lie.  Own experience is written once, into memory-mapped
    files where there is a folder.

    Args:
        observation_space, action_space: of the environment.  Discrete observations are held as
            one-hot vectors, see `ObservationCodec`.
        recorded: episodes somebody else gathered.
        extras: those of `mbrl_agents.protocols.Algorithm`.
        capacity: steps of own experience.
        n_envs: environments it comes from.
        folder: of its files; in memory when None.
        label_successes: whether `episodes` and `split` show what was executed in its successful
            episodes as a demonstrator's.

    Raises:
        ValueError: for action spaces that no agent of ours acts in, or episodes of other spaces.
    """

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        *,
        recorded: Sequence[Episode] = (),
        extras: Spec | None = None,
        capacity: int = 500_000,
        n_envs: int = 1,
        folder: Path | None = None,
        label_successes: bool = False,
    ) -> None:
        self.codec = ActionCodec(action_space)
        self.observed = ObservationCodec(observation_space)
        observation_space = self.observed.space
        recorded = [self.observed.episode(episode) for episode in recorded]
        check_spaces(recorded, observation_space, action_space)
        self.spec = dict(extras or {})
        self.capacity, self.label_successes = capacity, label_successes
        entries: Mapping[str, spaces.Space] = {"obs": observation_space}
        if isinstance(observation_space, spaces.Dict):
            entries = observation_space.spaces
        self.observations = {key: (s.shape or (), s.dtype) for key, s in entries.items()}
        self.episodes_given = [_observing(episode, self.observations) for episode in recorded]
        self.recorded: RecordedEpisodes | None = None
        if recorded:
            self.recorded = RecordedEpisodes(self.episodes_given, self.codec, self.spec)
        self.own = self._rings(n_envs, folder)
        self._split: tuple[Any, tuple[RecordedEpisodes, RecordedEpisodes | None]] | None = None

    def _rings(self, n_envs: int, folder: Path | None) -> Rings:
        return Rings(self.capacity, n_envs, self.observations, self.codec.size, self.spec, folder)

    def __len__(self) -> int:
        """Steps held."""
        return len(self.own) + (0 if self.recorded is None else len(self.recorded))

    def record_into(self, n_envs: int, folder: Path | None) -> None:
        """Go on recording ``n_envs`` environments into a folder, with everything held so far."""
        if n_envs != self.own.n_envs:
            before, self.own = self.own, self._rings(n_envs, folder)
            self.own.take_over(before)
        elif self.own.steps.folder != (None if folder is None else folder.absolute()):
            # Into files of another training nothing must be recorded: its checkpoints count them,
            # and nobody would remove those they do not.
            self.own.steps = self.own.steps.copied_to(folder)

    # -- sequences ----------------------------------------------------------------------

    def ready(self, length: int) -> bool:
        """Whether a sequence of ``length`` observations can be drawn."""
        return self._recorded_starts(length) + int(self.own.starts(length).sum()) > 0

    def sample(
        self, size: int, length: int, generator: torch.Generator, *, fresh: bool = False
    ) -> Sample:
        """``size`` sequences of ``length`` observations, uniformly from all there are.

        Args:
            fresh: give every new sequence of own experience out once before drawing any.

        Raises:
            ValueError: when there is no sequence yet.
        """
        recorded = self._recorded_starts(length)
        total = recorded + int(self.own.starts(length).sum())
        if total == 0:
            raise ValueError(f"no sequence of {length} observations was recorded yet")
        first = self.own.fresh(size if fresh else 0, length)
        draw = torch.randint(total, (size - len(first.env),), generator=generator).numpy()
        shown = draw[draw < recorded]
        own = self.own.place(draw[draw >= recorded] - recorded, length)
        place = (
            Place(np.zeros_like(shown), shown),
            Place(np.concatenate([first.env, own.env]), np.concatenate([first.start, own.start])),
        )
        batches, before = [], []
        if self.recorded is not None and len(shown):
            batches.append(self._as_shown(self.recorded.sequences(shown, length)))
            before.append(self.recorded.before(shown))
        if len(place[1].start):
            batches.append(self.own.sequences(place[1], length))
            before.append(self.own.before(place[1]))
        extras = {name: torch.cat([part[name] for part in before]) for name in before[0]}
        return Sample(Batch.cat(batches), extras, place)

    def _as_shown(self, batch: Batch) -> Batch:
        """Recorded observations in the form of own experience: its keys, and channels in place."""
        obs = {}
        for key, (shape, _) in self.observations.items():
            value = batch.obs[key]
            if value.shape[2:] != shape:
                to_front = (value.shape[-1], *value.shape[2:-1]) == shape
                value = value.movedim(-1, 2) if to_front else value.movedim(2, -1)
            obs[key] = value
        return replace(batch, obs=obs)

    def _as_recorded(self, key: str, value: np.ndarray) -> np.ndarray:
        """Own observations ``(T + 1, ...)`` with channels where recorded episodes have them."""
        if not self.episodes_given:
            return value
        shape = self.episodes_given[0].observations[key].shape[1:]
        return value if value.shape[1:] == shape else _channels_moved(value, shape)

    def remember(self, place: tuple[Place, Place], extras: Mapping[str, Tensor]) -> None:
        """Store the extras ``(B, T, ...)`` that training computed for a sample."""
        recorded, own = place
        count = len(recorded.start)
        if self.recorded is not None and count:
            shown = {name: value[:count] for name, value in extras.items()}
            length = next(iter(shown.values())).shape[1]
            index = recorded.start[:, None] + np.arange(length)
            self.recorded.extras.write(recorded.env[:, None], index, shown)
        if len(own.start):
            self.own.remember(own, {name: value[count:] for name, value in extras.items()})

    def _recorded_starts(self, length: int) -> int:
        return 0 if self.recorded is None else self.recorded.starts(length)

    # -- all steps in order -------------------------------------------------------------

    @property
    def rows(self) -> int:
        """Observations held: those of recorded episodes, then those of own experience."""
        recorded = 0 if self.recorded is None else self.recorded.rows
        return recorded + len(self.own)

    def rows_between(self, start: int, stop: int) -> Batch:
        """The observations numbered from ``start`` to before ``stop``, ``(stop - start, ...)``.

        Where one environment's experience follows another's, or recorded episodes, the first
        observation has ``is_first`` set.
        """
        parts: list[Batch] = []
        recorded = 0 if self.recorded is None else self.recorded.rows
        if self.recorded is not None and start < recorded:
            shown = self.recorded.sequences(np.array([start]), min(stop, recorded) - start)
            parts.append(self._as_shown(shown)[0])
        held = np.minimum(self.own.count, self.own.size)
        begins = recorded + np.cumsum([0, *held])
        for env in range(self.own.n_envs):
            low, high = max(start, int(begins[env])), min(stop, int(begins[env + 1]))
            if low < high:
                oldest = int(self.own.count[env] - held[env])
                at = oldest + low - int(begins[env])
                found = self.own.sequences(Place(np.array([env]), np.array([at])), high - low)[0]
                if low == begins[env]:
                    found.is_first[0] = True
                parts.append(found)
        return Batch.cat(parts)

    def add_episode(self, episode: Episode) -> None:
        """Record a whole episode as own experience of the first environment."""
        episode = self.observed.episode(episode)
        actions = self.codec.encode(episode.actions)
        last = len(episode)
        seen = {}
        for key, (shape, _) in self.observations.items():
            value = episode.observations[key]
            seen[key] = value if value.shape[1:] == shape else _channels_moved(value, shape)
        for step in range(last + 1):
            self.own.add(
                0,
                {key: value[step] for key, value in seen.items()},
                actions[step - 1] if step else 0.0,
                float(episode.rewards[step - 1]) if step else 0.0,
                is_first=step == 0,
                is_last=step == last,
                terminal=step == last and episode.terminated,
                success=step == last and episode.success,
            )

    # -- episodes -----------------------------------------------------------------------

    def newest(self, count: int) -> list[Episode]:
        """At most ``count`` episodes, the newest first: own experience, then recorded ones."""
        own = [self._episode(fields) for fields in self.own.episodes(count)][::-1]
        return [*own, *self.episodes_given[::-1]][:count]

    def episodes(self) -> list[Episode]:
        """Recorded episodes, then the finished ones of own experience, the oldest first."""
        return self._numbered()[1]

    def _numbered(self) -> tuple[list[int], list[Episode]]:
        """Numbers that episodes keep however many are added or lost, and the episodes."""
        own = self.own.episodes()
        given = len(self.episodes_given)
        numbers = [*range(given), *(given + int(fields["episode"][0]) for fields in own)]
        return numbers, self.episodes_given + [self._episode(fields) for fields in own]

    def split(self, holdout: float, seed: int) -> tuple[RecordedEpisodes, RecordedEpisodes | None]:
        """All episodes for training, and a share of them held out; None where nothing is.

        Whole episodes are held out; see `split_episodes`.

        Raises:
            ValueError: when there is no episode yet.
        """
        key = (holdout, seed, self.own.count.tolist())
        if self._split is None or self._split[0] != key:
            numbers, episodes = self._numbered()
            train, held = split_episodes(episodes, holdout, seed, numbers)
            found = RecordedEpisodes(train, self.codec, self.spec)
            recorded = set(map(id, self.episodes_given))
            given = sum(id(episode) in recorded for episode in train)
            found.own_from = int(found.first[given]) if given < len(train) else found.rows
            self._split = key, (found, RecordedEpisodes(held, self.codec) if held else None)
        return self._split[1]

    def has_episodes(self) -> bool:
        """Whether any episode is there as a whole."""
        return bool(self.episodes_given) or bool(self.own.episodes())

    def has_labels(self) -> bool:
        """Whether a demonstrator's action is known anywhere."""
        return self.recorded is not None and bool(self.recorded.labelled.any())

    def _episode(self, fields: Mapping[str, np.ndarray]) -> Episode:
        actions = self.codec.decode(fields["prev_action"][1:]).astype(np.float32)
        actions = actions.reshape(len(actions), -1)
        success = bool(fields["success"][-1])
        shown = success and self.label_successes
        return Episode(
            observations={
                key: self._as_recorded(key, fields[f"obs.{key}"]) for key in self.observations
            },
            actions=actions,
            labels=actions if shown else np.full_like(actions, np.nan),
            rewards=fields["reward"][1:],
            terminated=bool(fields["terminal"][-1]),
            success=success,
            info={"source": "agent"},
        )

    # -- files --------------------------------------------------------------------------

    def save(self, folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Have own experience in files of ``folder``; see `Rings.save`."""
        tensors, meta = self.own.save(folder)
        found = {f"own/{name}": value for name, value in tensors.items()}
        return found | self.recorded_extras(), meta

    def recorded_extras(self) -> dict[str, Tensor]:
        """The extras of recorded episodes, by the names `restore` takes them back under."""
        if self.recorded is None:
            return {}
        found = self.recorded.extras.tensors()
        return {f"recorded/{name}": value for name, value in found.items()}

    def restore(
        self, folder: Path | None, tensors: Mapping[str, Tensor], meta: Mapping[str, Any] | None
    ) -> None:
        """Become what `save` saw, and go on recording in its files.

        Args:
            folder, meta: of own experience, or None to take back recorded extras alone.

        Raises:
            ValueError: when files are of another version, missing, or of another form.
        """
        if self.recorded is not None:
            self.recorded.extras.restore(_under(tensors, "recorded/"))
        if folder is not None and meta is not None:
            self.own.restore(folder, _under(tensors, "own/"), meta)
        self._split = None

    def tidy(self) -> None:
        """Remove files that no checkpoint lists; to be called after one was written."""
        self.own.tidy()


def _observing(episode: Episode, keys: Collection[str]) -> Episode:
    """An episode without the observations that nobody shows any more."""
    kept = {key: value for key, value in episode.observations.items() if key in keys}
    return replace(episode, observations=kept) if len(kept) < len(episode.observations) else episode


def _channels_moved(images: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Images ``(T + 1, ...)`` of ``shape``, whose channels lay at the other end."""
    to_front = (images.shape[-1], *images.shape[1:-1]) == shape
    return np.moveaxis(images, -1, 1) if to_front else np.moveaxis(images, 1, -1)


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}


__all__ = ["Sample", "SequenceBuffer"]
