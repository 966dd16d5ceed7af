"""The speed of a DreamerV3 training step beside sheeprl's, sizes and batch being equal."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from gymnasium import spaces

from mbrl_agents.benchmarks.speed import SpeedRow, Unavailable, compared, interleaved, timed
from mbrl_agents.benchmarks.speed_peer_process import Missing, Peer
from mbrl_agents.benchmarks.speed_peers import ACTION, BATCH, LENGTH, POSE, SIZE
from mbrl_agents.training.dreamer import DreamerTrainer, DreamerTrainingConfig
from mbrl_agents.training.imagination import Behaviour, BehaviourConfig
from mbrl_agents.training.replay import Replay
from mbrl_agents.world_models.dreamer_v3 import DreamerV3, DreamerV3Config

STEPS = 200
"""Recorded steps per sequence of a batch: sequences differ from one gradient step to the next."""

ROUNDS = 5


def gradient_step(
    *,
    image: bool,
    batch: int = BATCH,
    length: int = LENGTH,
    config: DreamerV3Config | None = None,
    device: str = "cpu",
    compiled: bool = False,
) -> Callable[[], object]:
    """One whole gradient step of ours, drawing the batch and keeping its latents included.

    Args:
        image: whether a 64 x 64 picture is observed rather than a vector of 7.
        batch, length: sequences of a batch and their steps.
        config: of the model, size 1M by default.
        device: where the model is.
        compiled: whether ``torch.compile`` makes it quicker.
    """
    space: spaces.Box = (
        spaces.Box(0, 255, (SIZE, SIZE, 3), np.uint8)
        if image
        else spaces.Box(-np.inf, np.inf, (POSE,), np.float32)
    )
    generator = torch.Generator().manual_seed(0)
    model = DreamerV3(
        config or DreamerV3Config(),
        space,
        spaces.Box(-1.0, 1.0, (ACTION,), np.float32),
        generator=generator,
    )
    behaviour = Behaviour.fresh(BehaviourConfig(), model, discrete=False, generator=generator)
    training = DreamerTrainingConfig(batch_size=batch, sequence_length=length, compile=compiled)
    trainer = DreamerTrainer(training, model.to(device), behaviour.to(device), seed=0)
    assert space.dtype is not None
    replay = Replay(
        batch * STEPS, 1, length, {"obs": (space.shape, space.dtype)}, ACTION, model.latent_sizes
    )
    random = np.random.default_rng(0)
    shape = (batch * STEPS // 2, *space.shape)
    seen = random.integers(0, 256, shape, np.uint8) if image else random.normal(size=shape)
    steps = len(seen) - 1
    replay.add_episode(
        {"obs": seen},
        random.uniform(-1.0, 1.0, (steps, ACTION)).astype(np.float32),
        random.normal(size=steps),
        terminal=False,
    )
    return partial(trainer.update, replay)


def _train(image: bool, algo: str, name: str, *, keeps: bool = False) -> SpeedRow:
    """World model, imagined behaviour and optimiser, once.

    Args:
        keeps: see `speed_peer_process.Peer`.
    """
    kind = "image" if image else "vector"
    try:
        peer = Peer(f"{algo}_{kind}", keeps=keeps)
    except Missing as reason:
        raise Unavailable(f"{reason} (see MBRL_PEERS_PYTHON)") from reason
    with peer:
        work = gradient_step(image=image)
        times = interleaved(partial(timed, work), peer.run, lambda: None, ROUNDS)
        seen = f"{SIZE}x{SIZE} picture" if image else f"vector of {POSE}"
        how = " keeping freed memory as ours does" if keeps else ""
        note = f"sheeprl's {algo}{how}, {seen}, batch {BATCH}x{LENGTH}, size 1M, {peer.versions}"
        return compared(name, times, 1, note)


ROWS: dict[str, Callable[[str], SpeedRow]] = {
    "train_vector": partial(_train, False, "dreamer_v3_5"),
    "train_image": partial(_train, True, "dreamer_v3_5"),
    "train_vector_equal": partial(_train, False, "dreamer_v3_5", keeps=True),
    "train_image_equal": partial(_train, True, "dreamer_v3_5", keeps=True),
    "train_vector_2023": partial(_train, False, "dreamer_v3"),
    "train_image_2023": partial(_train, True, "dreamer_v3"),
}
"""What measures each row, by its id, which it is called with."""
