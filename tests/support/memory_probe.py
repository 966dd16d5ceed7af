"""What a fresh process takes of anonymous memory while it works on recorded pictures."""

from __future__ import annotations

import hashlib
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

PICTURE = (64, 64, 3)
PICTURE_MB = 64 * 64 * 3 / 1e6


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


def fill_replay(folder: str, steps: int, capacity: int) -> dict[str, float]:
    """MB that the process grew by: most while filling, and after sampling and saving."""
    import torch

    from mbrl_agents.training.replay import Replay

    torch.set_num_threads(1)
    spec = {"image": (PICTURE, np.uint8)}
    memory = Replay(capacity, 1, 32, spec, 2, (8, 2, 4), Path(folder))
    generator = torch.Generator().manual_seed(0)
    picture = np.random.default_rng(0).integers(0, 256, PICTURE, np.uint8)
    before, most = anonymous(), 0.0
    for t in range(steps):
        memory.add(0, {"image": picture + np.uint8(t % 256)}, np.zeros(2), 0.0, is_first=t == 0)
        if t % 1000 == 999:
            memory.sample(8, generator)
            most = max(most, anonymous() - before)
    for _ in range(200):
        batch, _, _ = memory.sample(8, generator)
    memory.save(Path(folder))
    memory.tidy()
    assert batch.obs["image"].any()
    return {"most": most, "after": anonymous() - before}


def read_dataset(folder: str, batches: int) -> dict[str, Any]:
    """MB that reading and drawing added, and a digest of what was drawn."""
    import pyarrow as pa
    import torch

    from mbrl_agents.data.dataset import read_episodes
    from mbrl_agents.training.batches import EpisodeTensors

    torch.set_num_threads(1)
    pa.array([0.0]).to_numpy()  # imports pandas, 30 MB whatever is read
    before = anonymous()
    data = EpisodeTensors(read_episodes(folder))
    read = anonymous() - before
    generator = torch.Generator().manual_seed(0)
    digest = hashlib.sha256()
    for number in range(batches):
        draw = torch.randint(len(data.action) - 32, (8,), generator=generator)
        arrivals = data.arrivals(draw, 32)
        batch = data.sample(8, 3, generator=generator)
        if number % 20 == 0:
            for tensor in (arrivals.obs["image"], batch.obs["image"], batch.next_obs["image"]):
                digest.update(tensor.numpy().tobytes())
            digest.update(arrivals.prev_action.numpy().tobytes())
    return {"read": read, "after": anonymous() - before, "digest": digest.hexdigest()}


def fixed_growth(folder: str, plain: bool) -> float:
    """Stands for a measurement, where only what is made of it matters."""
    assert Path(folder).is_dir()
    return 8.0 if plain else 2.0


def set_sizes(sizes: dict[str, int]) -> None:
    """Change constants of the memory benchmark in a fresh process."""
    from mbrl_agents.benchmarks import speed_memory

    for name, value in sizes.items():
        setattr(speed_memory, name, value)
