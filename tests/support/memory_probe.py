"""What a fresh process takes of anonymous memory while it works on recorded images."""

from __future__ import annotations

import hashlib
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

IMAGE = (64, 64, 3)
IMAGE_MB = 64 * 64 * 3 / 1e6


def fresh(function: Callable[..., Any], jobs: Sequence[tuple[Any, ...]]) -> list[Any]:
    """``function(*job)`` for each job, all at once, each in a new process."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(len(jobs), mp_context=context) as pool:
        return [future.result() for future in [pool.submit(function, *job) for job in jobs]]


def anonymous() -> float:
    """MB of memory that no file backs."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError("this system does not tell")


def fill_buffer(folder: str, steps: int, capacity: int) -> dict[str, float]:
    """MB that the process grew by: most while filling, and after sampling and saving."""
    import torch
    from gymnasium import spaces

    from mbrl_agents.data.buffer import SequenceBuffer

    torch.set_num_threads(1)
    buffer = SequenceBuffer(
        spaces.Dict({"image": spaces.Box(0, 255, IMAGE, np.uint8)}),
        spaces.Box(-1.0, 1.0, (2,), np.float32),
        extras={"deter": ((8,), np.float16), "stoch": ((2,), np.uint8)},
        capacity=capacity,
        folder=Path(folder),
    )
    generator = torch.Generator().manual_seed(0)
    image = np.random.default_rng(0).integers(0, 256, IMAGE, np.uint8)
    before, most = anonymous(), 0.0
    for t in range(steps):
        obs = {"image": image + np.uint8(t % 256)}
        buffer.own.add(0, obs, np.zeros(2), 0.0, is_first=t == 0)
        if t % 1000 == 999:
            buffer.sample(8, 32, generator, fresh=True)
            most = max(most, anonymous() - before)
    for _ in range(200):
        batch = buffer.sample(8, 32, generator).batch
    buffer.save(Path(folder))
    buffer.tidy()
    assert batch.obs["image"].any()
    return {"most": most, "after": anonymous() - before}


def read_dataset(folder: str, batches: int) -> dict[str, Any]:
    """MB that reading and drawing added, and a digest of what was drawn."""
    import pyarrow as pa
    import torch
    from gymnasium import spaces

    from mbrl_agents.data.buffer import SequenceBuffer
    from mbrl_agents.data.dataset import read_episodes

    torch.set_num_threads(1)
    pa.array([0.0]).to_numpy()  # imports pandas, 30 MB whatever is read
    before = anonymous()
    buffer = SequenceBuffer(
        spaces.Dict({"image": spaces.Box(0, 255, IMAGE, np.uint8)}),
        spaces.Box(-1.0, 1.0, (7,), np.float32),
        recorded=read_episodes(folder),
    )
    data, _ = buffer.split(0.0, 0)
    read = anonymous() - before
    generator = torch.Generator().manual_seed(0)
    digest = hashlib.sha256()
    for number in range(batches):
        sequences = buffer.sample(8, 32, generator).batch
        windows = data.draw_windows(8, 3, 1, generator)
        if number % 20 == 0:
            for tensor in (sequences.obs["image"], windows.obs["image"], sequences.prev_action):
                digest.update(tensor.numpy().tobytes())
    return {"read": read, "after": anonymous() - before, "digest": digest.hexdigest()}


def fixed_growth(folder: str, plain: bool) -> float:
    """Stands for a measurement, where only what is made of it matters."""
    assert Path(folder).is_dir()
    return 8.0 if plain else 2.0


def set_sizes(sizes: dict[str, int]) -> None:
    """Change constants of the memory benchmark in a fresh process."""
    from mbrl_agents.benchmarks.speed import memory

    for name, value in sizes.items():
        setattr(memory, name, value)
