"""Atari games of the Arcade Learning Environment under the protocols of two papers.

Frames are those of Gymnasium's `AtariPreprocessing`: an action is repeated for four frames, the
last two of them are combined by their maximum and averaged over areas down to a small square; an
episode begins with 1 to 30 frames without an action.  Rewards are the game's, not clipped.

"100k": Micheli et al. 2023, arXiv:2209.00588 (IRIS) and its authors' settings: no sticky actions,
colour, and in training a life lost ends the episode; the game goes on in the next one.

"dreamerv2": Hafner et al. 2021, arXiv:2010.02193, after Machado et al. 2018: an emulator's frame
keeps the previous action with probability 0.25, images are grey, an episode is a whole game.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, cast

import gymnasium
from gymnasium.utils import RecordConstructorArgs
from gymnasium.wrappers import AtariPreprocessing

from .extras import require

REPEAT, NOOPS = 4, 30
"""Frames per action, and most frames without an action at the start of a game."""


@dataclass(frozen=True)
class Protocol:
    """How a game is played.

    Attributes:
        sticky: probability that a frame keeps the action of the frame before.
        grey: whether images are.
        life_ends: whether the loss of a life ends an episode.
        frames: of a game, after which it is cut off.
    """

    sticky: float
    grey: bool
    life_ends: bool
    frames: int


WHOLE_GAME = 108_000
"""Frames of half an hour, after which every protocol cuts a whole game off."""

PROTOCOLS: Mapping[str, Protocol] = {
    "100k": Protocol(sticky=0.0, grey=False, life_ends=True, frames=20_000),
    "dreamerv2": Protocol(sticky=0.25, grey=True, life_ends=False, frames=WHOLE_GAME),
}


def make_atari(
    game: str = "breakout",
    protocol: str = "100k",
    *,
    size: int = 64,
    life_ends: bool | None = None,
    full_action_space: bool = False,
    render_mode: str | None = None,
) -> gymnasium.Env:
    """One game as images ``(size, size, 3)``, grey ``(size, size, 1)``, and Discrete actions.

    Args:
        game: such as "breakout", "ms_pacman" or "MsPacman".
        protocol: "100k" or "dreamerv2", see above.
        size: side of the images in pixels.
        life_ends: whether the loss of a life ends an episode; None leaves that to the protocol.
            False tests what was trained under "100k": whole games, of up to 108,000 frames.
        full_action_space: all 18 actions, not only those that do something in this game.
        render_mode: None or "rgb_array".

    Raises:
        MissingExtra: ale-py is not installed.
        ValueError: for an unknown game or protocol, with those that there are.
    """
    require("ale_py", extra="atari", env_id="mbrl/Atari-v0")
    if protocol not in PROTOCOLS:
        raise ValueError(f"unknown protocol {protocol!r}; valid: {', '.join(PROTOCOLS)}")
    if render_mode not in (None, "rgb_array"):
        raise ValueError(f"render_mode must be None or 'rgb_array', got {render_mode!r}")
    chosen = PROTOCOLS[protocol]
    ends = chosen.life_ends if life_ends is None else life_ends
    import ale_py
    from ale_py.env import AtariEnv

    # It would greet on stderr, once in every process.
    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
    rom = _rom(game)
    frames = chosen.frames if ends else WHOLE_GAME
    emulated: Any = AtariEnv(
        rom,
        frameskip=1,
        obs_type="grayscale" if chosen.grey else "rgb",
        repeat_action_probability=chosen.sticky,
        full_action_space=full_action_space,
        max_num_frames_per_episode=frames,
        render_mode=cast(Any, render_mode),
    )
    emulated.conditions = {
        "ale_py": importlib.metadata.version("ale-py"),
        "game": rom,
        "protocol": protocol,
        "life_ends": ends,
        "frames": frames,
        "size": size,
        "full_action_space": full_action_space,
    }
    env = AtariPreprocessing(
        emulated,
        noop_max=NOOPS,
        frame_skip=REPEAT,
        screen_size=size,
        grayscale_obs=chosen.grey,
        grayscale_newaxis=chosen.grey,
    )
    return LifeEnds(env) if ends else env


class LifeEnds(gymnasium.Wrapper, RecordConstructorArgs):
    """Ends an episode (`terminated`) with each life; a game is begun anew only when it is over.

    In between, `reset` takes one step without an action and the game goes on.  With a seed it
    begins a new game always.

    Args:
        env: an Atari game behind `AtariPreprocessing`.
    """

    def __init__(self, env: gymnasium.Env) -> None:
        RecordConstructorArgs.__init__(self)
        gymnasium.Wrapper.__init__(self, env)
        self._game: Any = env.unwrapped
        self._lives, self._over = 0, True

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._over = terminated or truncated
        lives = self._game.ale.lives()
        # With no life left some games run on for a while, and then end by themselves.
        lost = 0 < lives < self._lives
        self._lives = lives
        return observation, reward, terminated or lost, truncated, info

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        if seed is None and not self._over:
            observation, _, terminated, truncated, info = self.env.step(0)
            self._over = terminated or truncated
        if seed is not None or self._over:
            observation, info = self.env.reset(seed=seed, options=options)
            self._over = False
        self._lives = self._game.ale.lives()
        return observation, info


def _rom(game: str) -> str:
    """The name that ale-py has for a game."""
    from ale_py import roms

    known = roms.get_all_rom_ids()
    name = {rom.replace("_", ""): rom for rom in known}.get(game.replace("_", "").lower())
    if name is None:
        near = get_close_matches(game.lower(), known, 1)
        hint = f", did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"unknown game {game!r}{hint} (valid: {', '.join(known)})")
    return str(name)


__all__ = ["PROTOCOLS", "LifeEnds", "Protocol", "make_atari"]
