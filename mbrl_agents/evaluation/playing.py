"""Playing in a run's imagination: a list of actions, a policy or a person, and the files of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces
from PIL import Image

from mbrl_agents.data.files import atomic, write_text
from mbrl_agents.evaluation.imagined_env import ImaginedEnv
from mbrl_agents.evaluation.video import can_write_mp4, write_video

NAME = "played"
STRIP, SIDE = 16, 128
"""Frames of the filmstrip at most, and the height of each."""

Choice = Callable[[Any, bool], Any]
"""Called with an observation and whether an episode begins there; gives an action, or None to
stop."""


@dataclass
class Played:
    """What was met in imagination.

    Attributes:
        episode: number of the recorded episode that it began from.
        frames: ``(height, width, 3)`` uint8, the beginning included: one more than the rest.
        actions, rewards: of each step, in the environment's own range.
        continues: chance that the episode goes on after each step; empty where none is predicted.
        ended: "terminated", "truncated" or "stopped".
    """

    episode: int
    frames: list[np.ndarray]
    actions: list[Any] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    continues: list[float] = field(default_factory=list)
    ended: str = "stopped"

    def to_json(self) -> dict[str, Any]:
        """Plain values, without the frames."""
        return {
            "episode": self.episode,
            "steps": len(self.actions),
            "return": sum(self.rewards),
            "ended": self.ended,
            "actions": self.actions,
            "rewards": self.rewards,
            "continues": self.continues,
        }


def play(
    env: ImaginedEnv,
    choose: Choice,
    *,
    seed: int = 0,
    on_step: Callable[[Played], None] | None = None,
) -> Played:
    """One imagined episode.

    Args:
        choose: gives the actions.
        seed: of the beginning and of what is drawn.
        on_step: told of the beginning and of every step.

    Raises:
        ValueError: for a model that shows no images, or an action that is none of its space.
    """
    obs, info = env.reset(seed=seed)
    played = Played(info["episode"], [env.image()])
    tell = on_step or (lambda played: None)
    tell(played)
    while (action := choose(obs, not played.actions)) is not None:
        obs, reward, terminated, truncated, info = env.step(action)
        played.frames.append(env.image())
        played.actions.append(np.asarray(action).tolist())
        played.rewards.append(round(reward, 6))
        if "continues" in info:
            played.continues.append(round(info["continues"], 6))
        if terminated or truncated:
            played.ended = "terminated" if terminated else "truncated"
        tell(played)
        if terminated or truncated:
            break
    return played


def in_order(actions: Iterable[Any]) -> Choice:
    """Chooses given actions one after another, then stops."""
    rest = iter(actions)
    return lambda obs, begins: next(rest, None)


def by_policy(agent: Any, *, deterministic: bool = True) -> Choice:
    """Chooses as an agent acts in its real environment: from what it is shown, and no state."""
    state: Any = None

    def choose(obs: Any, begins: bool) -> Any:
        nonlocal state
        start = np.array([begins])
        action, state = agent.predict(obs, state, start, deterministic=deterministic)
        return action

    return choose


def parse_actions(text: str, space: spaces.Space) -> list[Any]:
    """Actions written as ``0,1,1`` for a Discrete, ``0.5 -1; 1 0`` for a Box: numbers of an action
    between blanks or commas, actions between semicolons or lines.

    Raises:
        ValueError: for what is no action of the space; the message says which and what was
            expected.
    """
    if isinstance(space, spaces.Discrete):
        words = text.replace(";", " ").replace(",", " ").split()
        rows = [[word] for word in words]
    else:
        lines = text.replace("\n", ";").split(";")
        rows = [line.replace(",", " ").split() for line in lines if line.strip()]
    found = []
    for number, words in enumerate(rows, 1):
        try:
            if isinstance(space, spaces.Discrete):
                action: Any = np.int64(words[0])
            else:
                action = np.array(words, dtype=np.float64).astype(space.dtype)
        except ValueError:
            action = None
        if action is None or not space.contains(action):
            raise ValueError(
                f"action {number}, {' '.join(words)!r}, is none of {space}: write "
                + (
                    "numbers such as 0,1,1"
                    if isinstance(space, spaces.Discrete)
                    else f"{space.shape[0] if space.shape else 1} numbers for each action, and a "
                    "semicolon or a new line between actions"
                )
            )
        found.append(action)
    if not found:
        raise ValueError("no actions were given")
    return found


def write_played(folder: Path, played: Played, fps: int) -> dict[str, str]:
    """Write ``played.png``, a filmstrip, ``played.mp4`` or ``played.gif``, and ``played.json``.

    Args:
        folder: made if need be.

    Returns:
        The files by kind.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob(f"{NAME}.*"):
        path.unlink()
    files = {
        "filmstrip": folder / f"{NAME}.png",
        "video": folder / f"{NAME}{'.mp4' if can_write_mp4() else '.gif'}",
        "record": folder / f"{NAME}.json",
    }
    with atomic(files["filmstrip"]) as temporary:
        Image.fromarray(filmstrip(played.frames)).save(temporary, "PNG")
    write_video(files["video"], played.frames, fps)
    write_text(files["record"], json.dumps(played.to_json(), indent=2) + "\n")
    return {kind: str(path) for kind, path in files.items()}


def filmstrip(frames: Sequence[np.ndarray]) -> np.ndarray:
    """At most 16 frames, evenly taken, side by side with a gap; all of one size."""
    chosen = np.linspace(0, len(frames) - 1, min(len(frames), STRIP)).round().astype(int)
    step = max(1, frames[0].shape[0] // SIDE)
    shown = [frames[number][::step, ::step] for number in chosen]
    gap = np.full((shown[0].shape[0], 2, 3), 255, np.uint8)
    parts = [part for frame in shown for part in (frame, gap)]
    return np.concatenate(parts[:-1], 1)


__all__ = ["NAME", "Played", "by_policy", "in_order", "parse_actions", "play", "write_played"]
