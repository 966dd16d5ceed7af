"""Actions of an environment as the normalised vectors that everything inside works with."""

from __future__ import annotations

import numpy as np
from gymnasium import spaces


class ActionCodec:
    """Translates between an environment's actions and normalised ones.

    A dimension of a Box becomes a number in [-1, 1], -1 at its own lower bound and 1 at its upper.
    A dimension whose two bounds are equal becomes 0.  An action of a Discrete becomes a one-hot
    vector; the first is the space's ``start``.

    Args:
        space: a bounded Box of one dimension, or a Discrete.

    Attributes:
        size: ``A``, the dimensions of the Box or the number of the Discrete's actions.
        discrete: whether normalised actions are one-hot vectors.

    Raises:
        ValueError: for any other space.
    """

    def __init__(self, space: spaces.Space) -> None:
        self.space = space
        self.discrete = isinstance(space, spaces.Discrete)
        if isinstance(space, spaces.Discrete):
            self.size = int(space.n)
            self._start = int(space.start)
        elif isinstance(space, spaces.Box):
            if len(space.shape) != 1 or space.shape[0] == 0:
                raise ValueError(
                    f"a Box of actions must have one dimension, got shape {space.shape}"
                )
            low, high = space.low.astype(np.float64), space.high.astype(np.float64)
            for i in np.flatnonzero(~(np.isfinite(low) & np.isfinite(high))):
                raise ValueError(
                    f"a Box of actions must be bounded, but dimension {i} reaches "
                    f"from {low[i]} to {high[i]}"
                )
            self.size = int(space.shape[0])
            self._low, self._high = low, high
            # In float64 and around the middle: the bounds -1 and 1 leave every number as it is.
            self._middle, self._half = low / 2 + high / 2, high / 2 - low / 2
        else:
            raise ValueError(
                f"actions must be a bounded Box or a Discrete, got a {type(space).__name__}"
            )

    def encode(self, actions: np.ndarray) -> np.ndarray:
        """Normalised actions ``(N, A)`` float32, within [-1, 1] or one-hot.

        Args:
            actions: ``(N, A)`` in the Box's range, clipped to it; or ``(N,)`` or ``(N, 1)``
                numbers of a Discrete's actions, of any numeric dtype.  NaN (a step without a
                label) stays NaN; in a Discrete, it fills its row.

        Raises:
            ValueError: for another shape, or for a number that is none of the Discrete's actions.
        """
        actions = np.asarray(actions)
        if self.discrete:
            return self._one_hot(actions)
        if actions.ndim != 2 or actions.shape[1] != self.size:
            raise ValueError(f"expected actions (N, {self.size}), got shape {actions.shape}")
        offset = actions.astype(np.float64) - self._middle
        scaled = offset / np.where(self._half > 0, self._half, 1.0)
        # A dimension without width: 0, except where there is no label.
        scaled = np.where((self._half > 0) | np.isnan(scaled), scaled, 0.0)
        return np.clip(scaled, -1.0, 1.0).astype(np.float32)

    def _one_hot(self, actions: np.ndarray) -> np.ndarray:
        if actions.ndim not in (1, 2) or actions.shape[1:] not in ((), (1,)):
            raise ValueError(f"expected action numbers (N,) or (N, 1), got shape {actions.shape}")
        numbers = actions.reshape(-1).astype(np.float64)
        known = ~np.isnan(numbers)
        index = numbers - self._start
        wrong = known & ~((index >= 0) & (index < self.size) & (index == np.floor(index)))
        if wrong.any():
            raise ValueError(
                f"{numbers[wrong][0]:g} is no action of {self.space}, "
                f"which has {self._start} to {self._start + self.size - 1}"
            )
        rows = np.zeros((len(numbers), self.size), np.float32)
        rows[known, index[known].astype(np.int64)] = 1.0
        rows[~known] = np.nan
        return rows

    def decode(self, actions: np.ndarray) -> np.ndarray:
        """Actions the environments take, in the space's own dtype.

        Args:
            actions: ``(B, A)`` normalised; beyond [-1, 1] they are clipped, and the largest entry
                is a Discrete's choice.

        Returns:
            ``(B, A)`` within the Box's bounds, or ``(B,)`` numbers of the Discrete's actions.

        Raises:
            ValueError: for another shape, or for numbers that are not finite.
        """
        actions = np.asarray(actions)
        if actions.ndim != 2 or actions.shape[1] != self.size:
            raise ValueError(f"expected actions (B, {self.size}), got shape {actions.shape}")
        if not np.isfinite(actions).all():
            raise ValueError(
                "an action is not finite; the policy or its observation has gone wrong"
            )
        if self.discrete:
            return (actions.argmax(-1) + self._start).astype(self.space.dtype)
        unit = np.clip(actions.astype(np.float64), -1.0, 1.0)
        values = self._middle + self._half * unit
        if not np.issubdtype(self.space.dtype, np.floating):
            values = np.round(values)
        # The bounds are numbers of that dtype, so rounding to it does not lead out of the space.
        return np.clip(values, self._low, self._high).astype(self.space.dtype)


__all__ = ["ActionCodec"]
