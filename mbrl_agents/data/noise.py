"""Disturbances of a demonstrator, so that its data show how to recover, and what fails.

Two kinds for the arm, mixed per episode: temporally correlated Gaussian noise on every action (as
in DART, Laskey et al. 2017, arXiv:1703.09327, with correlation in time so that it does not average
out), and bursts of a random action held for some steps, after which the demonstrator finds its
way back from where it ended up.  In disturbed episodes of an environment that says which dimension
is the gripper's, its command is inverted now and then as well: a world model that only ever saw it
close around the object believes that closing anywhere is grasping.

An environment's own attributes, of ``env.unwrapped``, say how far each dimension may be disturbed
(``noise_scale``, ``A`` numbers; without it 1 everywhere) and which one is a gripper
(``gripper_dim``, an index or None; without it none is).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import gymnasium
import numpy as np


@dataclass(frozen=True)
class NoiseConfig:
    """How actions of the "noisy_expert" source are disturbed.

    Attributes:
        clean: share of episodes without any disturbance.
        bursts: share of the disturbed episodes with bursts (the others have Gaussian noise);
            ``both`` of them have both.
        both: share of the disturbed episodes that have both.
        std: range from which an episode's standard deviation is drawn, in action units.
        correlation: correlation of the Gaussian noise from one step to the next, in [0, 1).
        burst_probability: chance per step that a burst begins.
        burst_steps: shortest and longest burst, in control steps.
        flip_probability: chance per step, in disturbed episodes, that the gripper begins to be
            held at the opposite of the demonstrator's command: it closes beside the object, or
            drops it on the way.
        flip_steps: shortest and longest such hold, in control steps.
        scale: factor of the first two disturbances per action dimension; None takes the
            environment's own.
    """

    clean: float = 0.15
    bursts: float = 0.4
    both: float = 0.3
    std: tuple[float, float] = (0.1, 0.7)
    correlation: float = 0.9
    burst_probability: float = 0.03
    burst_steps: tuple[int, int] = (4, 20)
    flip_probability: float = 0.02
    flip_steps: tuple[int, int] = (4, 60)
    scale: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        for name in ("clean", "bursts", "both", "burst_probability", "flip_probability"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} must lie in [0, 1], got {getattr(self, name)}")
        if not 0.0 <= self.correlation < 1.0:
            raise ValueError(f"correlation must lie in [0, 1), got {self.correlation}")
        for name, least in (("std", 0), ("burst_steps", 1), ("flip_steps", 1)):
            low, high = getattr(self, name)
            if not least <= low <= high:
                raise ValueError(
                    f"{name} must be a range {least} <= low <= high, got {(low, high)}"
                )


class Disturbance:
    """Disturbs the actions of one episode.

    Args:
        config: kinds and sizes.
        low, high: ``(A,)`` action bounds.
        rng: source of all randomness of the episode.
        scale: ``A`` factors, used where ``config`` has none; None is 1 everywhere.
        gripper: the dimension that flips, or None.

    Raises:
        ValueError: when the scale has another length than the action.
    """

    def __init__(
        self,
        config: NoiseConfig,
        low: np.ndarray,
        high: np.ndarray,
        rng: np.random.Generator,
        *,
        scale: Sequence[float] | None = None,
        gripper: int | None = None,
    ) -> None:
        self._config, self._low, self._high, self._rng = config, low, high, rng
        size = len(low)
        chosen = scale if config.scale is None else config.scale
        self._scale = np.ones(size) if chosen is None else np.array(chosen, dtype=np.float64)
        if self._scale.shape != (size,):
            raise ValueError(
                f"scale must have a number for each of {size} action dimensions, got {chosen}"
            )
        self._gripper = gripper
        disturbed, kind = rng.random() >= config.clean, rng.random()
        both = kind < config.both
        burst = both or kind < config.both + (1.0 - config.both) * config.bursts
        self._burst_probability = config.burst_probability if disturbed and burst else 0.0
        std = float(rng.uniform(*config.std))
        self._std = std if disturbed and (both or not burst) else 0.0
        self._noise = rng.standard_normal(size)
        self._burst_left = 0
        self._burst_action = np.zeros(size)
        self._flip_probability = config.flip_probability if disturbed else 0.0
        self._flip_left = 0
        self._flip_value = 0.0

    @classmethod
    def of_env(
        cls, config: NoiseConfig, env: gymnasium.Env, rng: np.random.Generator
    ) -> Disturbance:
        """The disturbance of an episode of ``env``.

        Raises:
            ValueError: for actions that are not a Box.
        """
        space, base = env.action_space, env.unwrapped
        if not isinstance(space, gymnasium.spaces.Box):
            raise ValueError(
                f"source 'noisy_expert' disturbs actions of a Box, not of {space}; "
                "use source 'expert', 'random' or 'agent'"
            )
        return cls(
            config,
            space.low.astype(np.float64),
            space.high.astype(np.float64),
            rng,
            scale=getattr(base, "noise_scale", None),
            gripper=getattr(base, "gripper_dim", None),
        )

    def __call__(self, action: np.ndarray) -> np.ndarray:
        """The action to execute in place of the demonstrator's ``action`` ``(A,)``."""
        config, rng = self._config, self._rng
        if self._burst_left == 0 and rng.random() < self._burst_probability:
            self._burst_left = int(rng.integers(config.burst_steps[0], config.burst_steps[1] + 1))
            self._burst_action = rng.uniform(self._low, self._high)
        gripper = self._gripper
        if gripper is not None and self._flip_left == 0 and rng.random() < self._flip_probability:
            # Log-uniform: mostly short, now and then the length of a whole approach.
            shortest, longest = np.log(config.flip_steps)
            self._flip_left = round(np.exp(rng.uniform(shortest, longest)))
            bounds = self._low if action[gripper] > 0 else self._high
            self._flip_value = float(bounds[gripper])
        innovation = rng.standard_normal(len(action))
        rho = config.correlation
        self._noise = rho * self._noise + np.sqrt(1.0 - rho**2) * innovation
        disturbed = np.array(action, dtype=np.float64)
        if self._burst_left > 0:
            self._burst_left -= 1
            moved = self._scale > 0
            disturbed[moved] = (self._scale * self._burst_action)[moved]
        disturbed += self._std * self._scale * self._noise
        if self._flip_left > 0:
            self._flip_left -= 1
            disturbed[gripper] = self._flip_value
        return np.clip(disturbed, self._low, self._high).astype(np.float32)


__all__ = ["Disturbance", "NoiseConfig"]
