"""Sequences as a latent model reads them: what was seen on arrival, and what led there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mbrl_agents.protocols import Observation, SequenceBatch, tree_map


@dataclass(frozen=True)
class Arrivals:
    """A batch of sequences of observations; every field is ``(B, T, ...)``.

    Attributes:
        obs: what was seen.
        prev_action: the action that led here; ignored where ``is_first``.
        reward: received on arrival; 0 where an episode begins.
        is_first: an episode begins here.
        is_last: the episode ended here or was cut off after this step.
        terminal: the episode ended here for good: no reward can follow.
        steps_to_go: control steps from here to success; NaN where unknown.
        mask: false where there is no observation.
        outcome: false where reward, ``terminal`` and ``steps_to_go`` are unknown.
        label: ``(B, T, A)`` the demonstrator's action here, NaN where there is none; None where
            nothing was demonstrated.
    """

    obs: Observation
    prev_action: Tensor
    reward: Tensor
    is_first: Tensor
    is_last: Tensor
    terminal: Tensor
    steps_to_go: Tensor
    mask: Tensor
    outcome: Tensor
    label: Tensor | None = None

    def __getitem__(self, index: Any) -> Arrivals:
        """The same slice of every field."""
        return self._mapped(lambda x: x[index])

    def to(self, device: torch.device | str) -> Arrivals:
        """The same batch on another device."""
        return self._mapped(lambda x: x.to(device, non_blocking=True))

    def _mapped(self, function: Callable[[Tensor], Tensor]) -> Arrivals:
        values: dict[str, Any] = {
            name: None if value is None else tree_map(function, value)
            for name, value in vars(self).items()
        }
        return Arrivals(**values)

    @classmethod
    def from_transitions(cls, batch: SequenceBatch) -> Arrivals:
        """``T`` transitions as ``T + 1`` arrivals.

        The observation that an episode ended with is found in ``next_obs``.  Where a sequence
        runs on into another episode there is one slot for the end of the old and the beginning
        of the new; it goes to the beginning.
        """
        first, mask = batch.is_first, batch.mask
        pad = torch.zeros_like(first[:, :1])
        is_first = torch.cat([first, pad], 1)  # (B, T + 1)
        # Arrived by the transition before, rather than started afresh or padded.
        arrived = torch.cat([pad, mask], 1) & ~is_first

        def pick(later: Tensor, here: Tensor) -> Tensor:
            shifted = torch.cat([here[:, :1], later], 1)
            stayed = torch.cat([here, later[:, -1:]], 1)
            choose = arrived.reshape(*arrived.shape, *[1] * (shifted.ndim - 2))
            return torch.where(choose, shifted, stayed)

        def late(x: Tensor) -> Tensor:
            return torch.cat([x[:, :1], x], 1)

        nothing = torch.zeros_like(batch.reward[:, :1])
        reward = torch.cat([nothing, batch.reward], 1)
        begins = is_first & torch.cat([mask, pad], 1)
        last = torch.cat([is_first[:, 1:], ~pad], 1)
        return cls(
            obs={key: pick(batch.next_obs[key], batch.obs[key]) for key in batch.obs},
            prev_action=pick(batch.action, batch.prev_action),
            reward=torch.where(arrived, reward, 0.0),
            is_first=is_first,
            is_last=last,
            terminal=torch.cat([pad, batch.terminated], 1) & arrived,
            steps_to_go=torch.where(arrived, late(batch.steps_to_go), torch.nan),
            mask=torch.cat([mask, pad], 1) | arrived,
            outcome=arrived | begins,
            # What was demonstrated at the observation a sequence ends with is not in the batch.
            label=torch.cat([batch.label, torch.full_like(batch.label[:, :1], torch.nan)], 1),
        )


__all__ = ["Arrivals"]
