"""One recorded episode in memory: the unit of collection, storage and training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from gymnasium import spaces


@dataclass(frozen=True)
class Episode:
    """``T`` steps and ``T + 1`` observations.

    Attributes:
        observations: by key, each ``(T + 1, ...)``; plain Box observations have the key "obs".
        actions: ``(T, A)`` float32, the actions that were executed; of a Discrete ``(T, 1)``,
            their numbers.
        labels: ``(T, A)`` float32, the demonstrator's action at ``observations[t]``: the target
            of cloning.  Equal to ``actions`` for an undisturbed expert, its correction
            where noise was executed, NaN where nobody labelled the step.
        rewards: ``(T,)`` float32.
        terminated: whether the last step ended the task for good (success, in LIBERO).
        success: whether the episode ended in success.
        info: plain JSON values about its origin: ``env_id``, ``suite``, ``task``, ``task_name``,
            ``source`` ("expert", "noisy_expert", "random", "agent"), ``seed``, ``assets``, ``obs``,
            ``reward``, ``robot_state`` (how LIBERO's ``pose`` describes the robot).
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


def check_spaces(
    episodes: Sequence[Episode], observation_space: spaces.Space, action_space: spaces.Space
) -> None:
    """Refuse episodes that do not come from an environment with such spaces.

    Observations that the environment does not show are no hindrance, nor are images whose channels
    come last where it shows them first, or the other way around.

    Raises:
        ValueError: when an observation is missing or has another shape, or actions have.
    """
    shown = observation_shapes(observation_space)
    acted = action_space.shape if isinstance(action_space, spaces.Box) else (1,)
    for number, episode in enumerate(episodes):
        seen = {key: value.shape[1:] for key, value in episode.observations.items()}
        if not all(alike(seen.get(key), shape) for key, shape in shown.items()):
            raise ValueError(
                f"recorded episode {number} holds the observations {seen}, but the environment "
                f"shows {shown}: record episodes in this environment, with the same keywords"
            )
        if (episode.actions.shape[1:] or (1,)) != acted:
            raise ValueError(
                f"the actions of recorded episode {number} have the shape "
                f"{episode.actions.shape[1:]}, but the environment takes {action_space}: record "
                "episodes in this environment"
            )


def alike(recorded: tuple[int, ...] | None, shown: tuple[int, ...]) -> bool:
    """Whether shapes are equal, but for the place of an image's channels."""
    if recorded is None or len(recorded) != 3 or recorded == shown:
        return recorded == shown
    height, width, channels = recorded
    return shown in ((channels, height, width), (width, channels, height))


def same_observations(first: spaces.Space, second: spaces.Space) -> bool:
    """Whether two spaces show the same observations, but for the place of images' channels."""
    seen, shown = observation_shapes(first), observation_shapes(second)
    if seen.keys() != shown.keys() or not all(alike(seen[key], shown[key]) for key in shown):
        return False
    return _discrete(first) == _discrete(second)


def _discrete(space: spaces.Space) -> dict[str, spaces.Space]:
    """The Discrete observations by key: their numbers have no shape to be told apart by."""
    entries = space.spaces if isinstance(space, spaces.Dict) else {"obs": space}
    return {key: entry for key, entry in entries.items() if isinstance(entry, spaces.Discrete)}


def observations_told(space: spaces.Space) -> str:
    """The observations of a space in words, for messages: shapes by key, of a Discrete its size."""
    return str({**observation_shapes(space), **_discrete(space)})


def observation_shapes(space: spaces.Space) -> dict[str, tuple[int, ...]]:
    """Shape of each observation by key; a plain one has the key "obs"."""
    entries = space.spaces if isinstance(space, spaces.Dict) else {"obs": space}
    return {key: tuple(entry.shape or ()) for key, entry in entries.items()}
