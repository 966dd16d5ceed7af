"""A sequence buffer whose observations show the number of their step."""

from __future__ import annotations

import numpy as np
import torch
from gymnasium import spaces

from mbrl_agents.data.buffer import SequenceBuffer
from mbrl_agents.data.episode import Episode

L = 4
BOX = spaces.Box(np.array([0.0, -1.0]), np.array([4.0, 3.0]), dtype=np.float64)
DISCRETE = spaces.Discrete(3, start=5)
SEEN = spaces.Dict(
    {
        "pose": spaces.Box(-np.inf, np.inf, (1,), np.float32),
        "image": spaces.Box(0, 255, (32, 32, 3), np.uint8),
    }
)
EXTRAS = {"latent": ((2,), np.float16)}
RECORDED, OWN = 1000, 2000
"""Where the numbers shown by recorded and by own steps begin."""


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def shown(number: int, count: int = 1) -> dict[str, np.ndarray]:
    """Observations that show ``number`` and those after it."""
    numbers = number + np.arange(count, dtype=np.float32)
    images = np.broadcast_to((numbers % 256)[:, None, None, None], (count, 32, 32, 3))
    return {"pose": numbers[:, None], "image": images.astype(np.uint8)}


def recorded(lengths=(5, 8, 4), actions: np.ndarray | None = None) -> list[Episode]:
    """Episodes of so many steps, labelled with what was done."""
    episodes, begin = [], RECORDED
    for steps in lengths:
        done = np.tile([1.0, 3.0], (steps, 1)) if actions is None else actions[:steps]
        done = done.astype(np.float32)
        rewards = np.arange(begin, begin + steps, dtype=np.float32)
        episodes.append(Episode(shown(begin, steps + 1), done, done, rewards, True, True))
        begin += steps + 1
    return episodes


def built(episodes=(), actions: spaces.Space = BOX, **arguments) -> SequenceBuffer:
    arguments = {"extras": EXTRAS, "capacity": 200, **arguments}
    return SequenceBuffer(SEEN, actions, recorded=episodes, **arguments)


def act(buffer: SequenceBuffer, steps: int, start: int = 0, episode: int = 6) -> None:
    """Own experience: step ``t`` of env ``i`` shows ``OWN + 1000 i + t``."""
    for t in range(start, start + steps):
        for env in range(buffer.own.n_envs):
            number = OWN + 1000 * env + t
            last = t % episode == episode - 1
            buffer.own.add(
                env,
                {key: value[0] for key, value in shown(number).items()},
                np.eye(buffer.codec.size)[0],
                float(number),
                is_first=t % episode == 0,
                is_last=last,
                terminal=last,
                success=last and env == 0,
                extras={"latent": torch.full((2,), number / 8192)},
            )


def numbers(sample) -> torch.Tensor:
    return sample.batch.obs["pose"][..., 0].long()
