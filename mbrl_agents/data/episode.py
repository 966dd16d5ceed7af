"""One recorded episode in memory: the unit of collection, storage and training."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Episode:
    """``T`` steps and ``T + 1`` observations.

    Attributes:
        observations: by key, each ``(T + 1, ...)``; plain Box observations have the key "obs".
        actions: ``(T, A)`` float32, the actions that were executed.
        labels: ``(T, A)`` float32, the demonstrator's action at ``observations[t]``: the target
            of behaviour cloning.  Equal to ``actions`` for an undisturbed expert, its correction
            where noise was executed, NaN where nobody labelled the step.
        rewards: ``(T,)`` float32.
        terminated: whether the last step ended the task for good (success, in LIBERO).
        success: whether the episode ended in success.
        info: plain JSON values about its origin: ``env_id``, ``suite``, ``task``, ``task_name``,
            ``source`` ("expert", "noisy_expert", "random", "agent"), ``seed``, ``assets``, ``obs``,
            ``reward``.
    """

    observations: dict[str, np.ndarray]
    actions: np.ndarray
    labels: np.ndarray
    rewards: np.ndarray
    terminated: bool
    success: bool
    info: dict[str, str | int | float | bool | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        steps = len(self.actions)
        if steps == 0:
            raise ValueError("an episode needs at least one step")
        for name, array in self.observations.items():
            if len(array) != steps + 1:
                raise ValueError(
                    f"observation {name!r} has {len(array)} entries; "
                    f"{steps} actions need {steps + 1}"
                )
        if self.labels.shape != self.actions.shape:
            raise ValueError(
                f"labels have shape {self.labels.shape}, expected that of actions, "
                f"{self.actions.shape}"
            )
        if self.rewards.shape != (steps,):
            raise ValueError(f"rewards have shape {self.rewards.shape}, expected ({steps},)")

    def __len__(self) -> int:
        return len(self.actions)
