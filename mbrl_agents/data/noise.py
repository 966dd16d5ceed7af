"""Disturbances of a demonstrator, so that its data show how to recover, and what fails.

Two kinds for the arm, mixed per episode: temporally correlated Gaussian noise on every action (as
in DART, Laskey et al. 2017, arXiv:1703.09327, with correlation in time so that it does not average
out), and bursts of a random action held for some steps, after which the demonstrator finds its
way back from where it ended up.  In disturbed episodes the gripper's command is inverted now and
then as well: a world model that only ever saw it close around the object believes that closing
anywhere is grasping.
"""

from __future__ import annotations

from dataclasses import dataclass

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
        flip_probability: chance per step, in disturbed episodes, that the last action dimension
            (the gripper) begins to be held at the opposite of the demonstrator's command: the
            gripper closes beside the object, or drops it on the way.
        flip_steps: shortest and longest such hold, in control steps.
        scale: factor of either disturbance per action dimension; used where its length is the
            action's, else 1 everywhere.  Rotations get less than translations (one unit turns
            by 0.5 rad but moves by only 0.05 m); the gripper acts by sign, so Gaussian noise
            would not disturb it anyway.
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
    scale: tuple[float, ...] = (1.0, 1.0, 1.0, 0.25, 0.25, 0.25, 0.0)

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
    """

    def __init__(
        self, config: NoiseConfig, low: np.ndarray, high: np.ndarray, rng: np.random.Generator
    ) -> None:
        self._config, self._low, self._high, self._rng = config, low, high, rng
        size = len(low)
        self._scale = np.array(config.scale if len(config.scale) == size else [1.0] * size)
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

    def __call__(self, action: np.ndarray) -> np.ndarray:
        """The action to execute in place of the demonstrator's ``action`` ``(A,)``."""
        config, rng = self._config, self._rng
        if self._burst_left == 0 and rng.random() < self._burst_probability:
            self._burst_left = int(rng.integers(config.burst_steps[0], config.burst_steps[1] + 1))
            self._burst_action = rng.uniform(self._low, self._high)
        if self._flip_left == 0 and rng.random() < self._flip_probability:
            # Log-uniform: mostly short, now and then the length of a whole approach.
            shortest, longest = np.log(config.flip_steps)
            self._flip_left = round(np.exp(rng.uniform(shortest, longest)))
            self._flip_value = float(self._low[-1] if action[-1] > 0 else self._high[-1])
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
            disturbed[-1] = self._flip_value
        return np.clip(disturbed, self._low, self._high).astype(np.float32)


__all__ = ["Disturbance", "NoiseConfig"]
