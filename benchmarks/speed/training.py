"""The speed of a DreamerV3 training step beside sheeprl's, sizes and batch being equal."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from gymnasium import spaces

from mbrl_agents.algorithms.dreamer_v3 import (
    ActorCriticConfig,
    DreamerV3,
    DreamerV3Config,
    DreamerV3TrainingConfig,
)
from mbrl_agents.benchmarks.speed.peer_process import Missing, Peer
from mbrl_agents.benchmarks.speed.peers import ACTION, BATCH, LENGTH, POSE, SIZE
from mbrl_agents.benchmarks.speed.rows import SpeedRow, Unavailable, compared, interleaved, timed
from mbrl_agents.data.buffer import SequenceBuffer

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
        image: whether a 64 x 64 image is observed rather than a vector of 7.
        batch, length: sequences of a batch and their steps.
        config: of the model, size 1M by default.
        device: where the modules are.
        compiled: whether ``torch.compile`` makes it quicker.
    """
    observation: spaces.Box = (
        spaces.Box(0, 255, (SIZE, SIZE, 3), np.uint8)
        if image
        else spaces.Box(-np.inf, np.inf, (POSE,), np.float32)
    )
    action = spaces.Box(-1.0, 1.0, (ACTION,), np.float32)
    sections = {
        "world_model": config or DreamerV3Config(),
        "actor_critic": ActorCriticConfig(),
        "training": DreamerV3TrainingConfig(
            batch_size=batch, sequence_length=length, compile=compiled
        ),
    }
    algorithm = DreamerV3(sections, observation, action, seed=0)
    for module in algorithm.modules.values():
        module.to(device)
    buffer = SequenceBuffer(observation, action, extras=algorithm.extras, capacity=batch * STEPS)
    random = np.random.default_rng(0)
    steps = batch * STEPS // 2
    shape = (steps, *observation.shape)
    seen = random.integers(0, 256, shape, np.uint8) if image else random.normal(size=shape)
    actions = random.uniform(-1.0, 1.0, (steps, ACTION))
    for step, reward in enumerate(random.normal(size=steps)):
        buffer.own.add(
            0,
            {"obs": seen[step]},
            actions[step],
            reward,
            is_first=step == 0,
            is_last=step == steps - 1,
        )
    (phase,) = algorithm.phases
    return partial(phase.update, buffer)


def _train(image: bool, algo: str, name: str, *, keeps: bool = False) -> SpeedRow:
    """World model, actor and critic in imagination, and optimiser, once.

    Args:
        keeps: see `peer_process.Peer`.
    """
    kind = "image" if image else "vector"
    try:
        peer = Peer(f"{algo}_{kind}", keeps=keeps)
    except Missing as reason:
        raise Unavailable(f"{reason} (see MBRL_PEERS_PYTHON)") from reason
    with peer:
        work = gradient_step(image=image)
        times = interleaved(partial(timed, work), peer.run, lambda: None, ROUNDS)
        seen = f"{SIZE}x{SIZE} image" if image else f"vector of {POSE}"
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
