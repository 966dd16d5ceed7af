"""Memory that recorded pictures take beside plain arrays of the same pictures."""

from __future__ import annotations

import multiprocessing
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from mbrl_agents.benchmarks.speed import SpeedRow, Unavailable

SIZE = 64
PICTURE = (SIZE, SIZE, 3)
STEPS, RECORDED, READ = 16_000, 24_000, 8_000
"""Steps that the replay holds (197 MB), that are recorded, and of the dataset (98 MB)."""

EPISODE = 200
"""Steps."""

BATCH, LENGTH, BATCHES = 4, 64, 100

ACCOUNT = Path("/proc/self/status")


def anonymous() -> float:
    """MB of this process's memory that no file backs.

    Raises:
        Unavailable: where the system keeps no such account.
    """
    if ACCOUNT.is_file():
        for line in ACCOUNT.read_text(encoding="utf-8").splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024 / 1e6
    raise Unavailable("needs Linux's account of anonymous memory")


def replay_growth(folder: str, plain: bool) -> float:
    """MB added by recording more steps than are held, and drawing batches.

    Args:
        folder: of the replay's files.
        plain: keep the pictures in an array instead.
    """
    import torch

    from mbrl_agents.training.replay import Replay

    torch.set_num_threads(1)
    replay = Replay(STEPS, 1, LENGTH, {"image": (PICTURE, np.uint8)}, 1, (512, 32, 4), Path(folder))
    generator = torch.Generator().manual_seed(0)
    picture = _picture()
    latents = {"deter": torch.zeros(512), "stoch": torch.zeros(32, 4)}
    before = anonymous()
    if plain:
        ring = np.zeros((STEPS, *PICTURE), np.uint8)
    for step in range(RECORDED):
        seen = picture + np.uint8(step % 256)
        if plain:
            ring[step % STEPS] = seen
            continue
        first = step % EPISODE == 0
        # With latents, as an agent records them: those are kept in memory.
        replay.add(0, {"image": seen}, np.zeros(1), 0.0, is_first=first, latents=latents)
    for _ in range(BATCHES):
        if plain:
            start = torch.randint(STEPS - LENGTH, (BATCH, 1), generator=generator).numpy()
            ring[start + np.arange(LENGTH)]
        else:
            replay.sample(BATCH, generator)
    return anonymous() - before


def dataset_growth(folder: str, plain: bool) -> float:
    """MB added by reading the episodes of a folder and drawing batches.

    Args:
        plain: copy the pictures into an array first.
    """
    import pyarrow as pa
    import torch

    from mbrl_agents.data.dataset import read_episodes
    from mbrl_agents.training.batches import EpisodeTensors

    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    pa.array([0.0]).to_numpy()  # imports pandas, 30 MB whatever is read
    before = anonymous()
    data = EpisodeTensors(read_episodes(folder))
    if plain:
        pictures = data.obs["image"][:].numpy()
    for _ in range(BATCHES):
        start = torch.randint(len(data.action) - LENGTH, (BATCH,), generator=generator)
        if plain:
            pictures[start.numpy()[:, None] + np.arange(LENGTH)]
        else:
            data.arrivals(start, LENGTH)
    return anonymous() - before


def _picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, PICTURE, np.uint8)


def _write_episodes(folder: Path) -> None:
    from mbrl_agents.data.dataset import EpisodeWriter
    from mbrl_agents.data.episode import Episode

    picture = _picture()
    with EpisodeWriter(folder) as writer:
        for number in range(READ // EPISODE):
            shift = (np.arange(EPISODE) + number).astype(np.uint8)
            actions = np.zeros((EPISODE - 1, 1), np.float32)
            writer.append(
                Episode(
                    {"image": picture + shift[:, None, None, None]},
                    actions,
                    actions,
                    np.zeros(EPISODE - 1, np.float32),
                    terminated=True,
                    success=True,
                )
            )


def _row(growth: Callable[[str, bool], float], recorded: bool, what: str, name: str) -> SpeedRow:
    """Both sides in a fresh process each."""
    anonymous()
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        if recorded:
            _write_episodes(Path(folder))
        found = []
        for plain in (False, True):
            with ProcessPoolExecutor(1, mp_context=context) as pool:
                found.append(pool.submit(growth, folder, plain).result())
    ours, reference = found
    note = f"{what}, batches drawn; the same {SIZE}x{SIZE} pictures in an array"
    return SpeedRow(name, ours, reference, "MB", reference / max(ours, 0.1), 1, note)


ROWS: dict[str, Callable[[str], SpeedRow]] = {
    "memory_replay": partial(
        _row, replay_growth, False, f"recording {RECORDED} steps, {STEPS} of them held, adds"
    ),
    "memory_dataset": partial(_row, dataset_growth, True, f"reading {READ} steps adds"),
}
"""What measures each row, by its id, which it is called with."""
