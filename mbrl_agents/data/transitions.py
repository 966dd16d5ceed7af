"""Single transitions out of a sequence buffer, for learners that need no sequences."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mbrl_agents.data.buffer import Sample, SequenceBuffer

TRIES = 200
"""Draws in a row that may miss before there counts as being nothing to draw."""


@dataclass(frozen=True)
class Transitions:
    """Steps of environments, real or imagined, each ``(N, ...)``.

    Attributes:
        obs: all vectors side by side, ``(N, D)``, in their own units.
        action: ``(N, A)`` normalised.
        reward: ``(N,)``.
        next_obs: ``(N, D)``.
        terminal: ``(N,)`` bool, whether the episode ended there for good; one that was cut off
            did not.
        steps: ``(N,)`` how many steps ``next_obs`` is ahead, over which ``reward`` is the sum of
            discounted rewards; see `single`.
    """

    obs: Tensor
    action: Tensor
    reward: Tensor
    next_obs: Tensor
    terminal: Tensor
    steps: Tensor

    @classmethod
    def single(
        cls, obs: Tensor, action: Tensor, reward: Tensor, next_obs: Tensor, terminal: Tensor
    ) -> Transitions:
        """Of one step each."""
        steps = torch.ones(len(reward), dtype=torch.int64, device=reward.device)
        return cls(obs, action, reward, next_obs, terminal, steps)

    def __len__(self) -> int:
        return len(self.reward)

    def __getitem__(self, index: object) -> Transitions:
        """The same rows of every field."""
        return Transitions(**{name: value[index] for name, value in vars(self).items()})

    def to(self, device: torch.device | str) -> Transitions:
        """The same transitions on another device."""
        return Transitions(**{name: value.to(device) for name, value in vars(self).items()})

    @staticmethod
    def cat(parts: list[Transitions]) -> Transitions:
        """Transitions one after another."""
        names = list(vars(parts[0]))
        return Transitions(**{n: torch.cat([getattr(p, n) for p in parts]) for n in names})


def draw_transitions(
    buffer: SequenceBuffer,
    size: int,
    stack: Callable[[Mapping[str, Tensor]], Tensor],
    generator: torch.Generator,
    *,
    wanted: Callable[[np.ndarray], np.ndarray] | None = None,
) -> tuple[Transitions, np.ndarray]:
    """``size`` transitions, uniformly from all recorded ones or from those that are ``wanted``.

    Args:
        buffer: recorded episodes and own experience.
        stack: observations by key to vectors ``(N, D)``.
        generator: decides which.
        wanted: which of the transitions with names ``(N,)`` count; see `names_of`.

    Returns:
        The transitions, and their names.

    Raises:
        ValueError: when the buffer holds no such transition.
    """
    parts, names, missing = list[Transitions](), list[np.ndarray](), size
    for _ in range(TRIES):
        # Some more than are missing: those across two episodes are left out.
        sample = buffer.sample(missing + missing // 8 + 4, 2, generator)
        batch, name = sample.batch, names_of(sample)
        keep = ~batch.is_first[:, 1].numpy()
        if wanted is not None:
            keep &= wanted(name)
        rows = torch.from_numpy(np.flatnonzero(keep)[:missing])
        if len(rows):
            seen = stack({key: value[rows].flatten(0, 1) for key, value in batch.obs.items()})
            seen = seen.unflatten(0, (len(rows), 2))
            action, reward, terminal = (
                x[rows, 1] for x in (batch.prev_action, batch.reward, batch.terminal)
            )
            parts.append(Transitions.single(seen[:, 0], action, reward, seen[:, 1], terminal))
            names.append(name[rows.numpy()])
            missing -= len(rows)
        if not missing:
            return Transitions.cat(parts), np.concatenate(names)
    raise ValueError("no transition of the kind that is asked for was recorded yet")


def names_of(sample: Sample) -> np.ndarray:
    """``(B,)`` uint64: a number that each first step of a sample keeps for as long as it is held.

    It is well mixed, so that its remainders may stand for draws: whether a transition is held
    out, say, must be the same whenever it is drawn.
    """
    found = []
    for kind, place in enumerate(sample.place):
        key = place.start.astype(np.uint64) * np.uint64(4096) + place.env.astype(np.uint64)
        found.append(mixed(key * np.uint64(2) + np.uint64(kind)))
    return np.concatenate(found)


def mixed(key: np.ndarray, salt: int = 0) -> np.ndarray:
    """Whole numbers ``(...)`` to others that look independent (splitmix64's finaliser).

    Args:
        key: uint64.
        salt: of one of many such functions.
    """
    x = key + np.uint64((salt * 0x9E3779B97F4A7C15) % 2**64)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def share(key: np.ndarray, salt: int) -> np.ndarray:
    """``(...)`` in [0, 1), uniform, decided by `mixed`."""
    return (mixed(key, salt) >> np.uint64(11)).astype(np.float64) / 2.0**53


__all__ = ["Transitions", "draw_transitions", "mixed", "names_of", "share"]
