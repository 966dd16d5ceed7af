"""Memory that recorded images take beside plain arrays of the same images."""

from __future__ import annotations

import multiprocessing
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from mbrl_agents.benchmarks.speed.rows import SpeedRow, Unavailable

SIZE = 64
IMAGE = (SIZE, SIZE, 3)
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
        plain: keep the images in an array instead.
    """
    import torch
    from gymnasium import spaces

    from mbrl_agents.data.buffer import SequenceBuffer

    torch.set_num_threads(1)
    # With latents of size 1M, as an agent records them: those are kept in memory.
    extras = {"deter": ((512,), np.float16), "stoch": ((32,), np.uint8)}
    buffer = SequenceBuffer(
        spaces.Dict({"image": spaces.Box(0, 255, IMAGE, np.uint8)}),
        spaces.Box(-1.0, 1.0, (1,), np.float32),
        extras=extras,
        capacity=STEPS,
        folder=Path(folder),
    )
    generator = torch.Generator().manual_seed(0)
    image = _image()
    latents = {"deter": torch.zeros(512), "stoch": torch.zeros(32, dtype=torch.uint8)}
    before = anonymous()
    if plain:
        ring = np.zeros((STEPS, *IMAGE), np.uint8)
    for step in range(RECORDED):
        seen = image + np.uint8(step % 256)
        if plain:
            ring[step % STEPS] = seen
            continue
        first = step % EPISODE == 0
        buffer.own.add(0, {"image": seen}, np.zeros(1), 0.0, is_first=first, extras=latents)
    for _ in range(BATCHES):
        if plain:
            start = torch.randint(STEPS - LENGTH, (BATCH, 1), generator=generator).numpy()
            ring[start + np.arange(LENGTH)]
        else:
            buffer.sample(BATCH, LENGTH, generator)
    return anonymous() - before


def dataset_growth(folder: str, plain: bool) -> float:
    """MB added by reading the episodes of a folder and drawing batches.

    Args:
        plain: copy the images into an array first.
    """
    import pyarrow as pa
    import torch
    from gymnasium import spaces

    from mbrl_agents.data.actions import ActionCodec
    from mbrl_agents.data.dataset import read_episodes
    from mbrl_agents.data.recorded import RecordedEpisodes

    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    codec = ActionCodec(spaces.Box(-1.0, 1.0, (1,), np.float32))
    pa.array([0.0]).to_numpy()  # imports pandas, 30 MB whatever is read
    before = anonymous()
    data = RecordedEpisodes(read_episodes(folder), codec)
    if plain:
        images = data.obs["image"][:].numpy()
    for _ in range(BATCHES):
        start = torch.randint(data.starts(LENGTH), (BATCH,), generator=generator).numpy()
        if plain:
            images[start[:, None] + np.arange(LENGTH)]
        else:
            data.sequences(start, LENGTH)
    return anonymous() - before


def _image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, IMAGE, np.uint8)


def _write_episodes(folder: Path) -> None:
    from mbrl_agents.data.dataset import EpisodeWriter
    from mbrl_agents.data.episode import Episode

    image = _image()
    with EpisodeWriter(folder) as writer:
        for number in range(READ // EPISODE):
            shift = (np.arange(EPISODE) + number).astype(np.uint8)
            actions = np.zeros((EPISODE - 1, 1), np.float32)
            writer.append(
                Episode(
                    {"image": image + shift[:, None, None, None]},
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
    note = f"{what}, batches drawn; the same {SIZE}x{SIZE} images in an array"
    return SpeedRow(name, ours, reference, "MB", reference / max(ours, 0.1), 1, note)


ROWS: dict[str, Callable[[str], SpeedRow]] = {
    "memory_replay": partial(
        _row, replay_growth, False, f"recording {RECORDED} steps, {STEPS} of them held, adds"
    ),
    "memory_dataset": partial(_row, dataset_growth, True, f"reading {READ} steps adds"),
}
"""What measures each row, by its id, which it is called with."""
