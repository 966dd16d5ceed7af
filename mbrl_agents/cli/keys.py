"""Playing by keyboard in a terminal: keys as actions, images as coloured characters."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from gymnasium import spaces

DIGITS = "0123456789abcdefghijklm"
PAIRS = ("ad", "sw", "jl", "ki", "fh", "gt")
"""Keys that move a dimension of a Box to its lower and its upper bound."""

QUIT = ("q", "\x03", "\x04", "")
"""Keys that stop, Ctrl-C, Ctrl-D and the end of the input among them."""


def help_text(space: spaces.Space) -> str:
    """Which keys there are, in a line."""
    if isinstance(space, spaces.Discrete):
        return f"keys {DIGITS[0]} to {DIGITS[int(space.n) - 1]} act, q stops"
    count = space.shape[0] if space.shape else 0
    named = ", ".join(f"{pair[0]} {pair[1]}" for pair in PAIRS[:count])
    return f"keys {named} push a dimension down and up, space is the middle, q stops"


def action_of(key: str, space: spaces.Space) -> Any:
    """The action of a key; None where it has none."""
    if isinstance(space, spaces.Discrete):
        number = DIGITS.find(key) if key else -1
        return np.int64(space.start + number) if 0 <= number < space.n else None
    assert isinstance(space, spaces.Box)
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    action = (low + high) / 2
    if key != " ":
        found = [n for n, pair in enumerate(PAIRS[: len(action)]) if key and key in pair]
        if not found:
            return None
        dimension = found[0]
        upper = PAIRS[dimension].index(key) == 1
        action[dimension] = high[dimension] if upper else low[dimension]
    return action.astype(space.dtype)


def check_playable(space: spaces.Space) -> None:
    """Raise ValueError for actions that have no keys."""
    discrete = isinstance(space, spaces.Discrete)
    count = int(space.n) if isinstance(space, spaces.Discrete) else len(getattr(space, "low", ()))
    most = len(DIGITS) if discrete else len(PAIRS)
    if count > most:
        raise ValueError(
            f"there are keys for {most} {'actions' if discrete else 'dimensions'}, not for "
            f"{count}: give --actions"
        )


def chooser(read: Callable[[], str], space: spaces.Space) -> Callable[[Any, bool], Any]:
    """Chooses by the keys that ``read`` gives; keys without an action are passed over."""

    def choose(obs: Any, begins: bool) -> Any:
        while (key := read()) not in QUIT:
            action = action_of(key, space)
            if action is not None:
                return action
        return None

    return choose


@contextmanager
def single_keys() -> Iterator[Callable[[], str]]:
    """A context in which keys are read from the terminal one by one, without Enter."""
    import termios
    import tty

    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    try:
        yield lambda: sys.stdin.read(1)
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def as_characters(image: np.ndarray, rows: int = 32) -> str:
    """An image ``(height, width, 3)`` uint8 as lines of half blocks in 24-bit colours."""
    height, width = image.shape[:2]
    lines = min(rows, -(-height // 2))
    columns = max(1, round(2 * lines * width / height))
    y = np.arange(2 * lines) * height // (2 * lines)
    x = np.arange(columns) * width // columns
    small = image[y][:, x]
    drawn = []
    for above, below in zip(small[::2], small[1::2], strict=True):
        cells = (
            "\x1b[38;2;{};{};{}m\x1b[48;2;{};{};{}m\u2580".format(*a, *b)
            for a, b in zip(above, below, strict=True)
        )
        drawn.append("".join(cells) + "\x1b[0m")
    return "\n".join(drawn)


__all__ = [
    "QUIT",
    "action_of",
    "as_characters",
    "check_playable",
    "chooser",
    "help_text",
    "single_keys",
]
