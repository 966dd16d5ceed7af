"""Training and planning on a GPU, beside what its own matrix products reach.

The reference of a training row is the roof: the time that the step's operations would take at the
rate of large bfloat16 products, measured in the same run; the ratio is then the share of that
peak.  Planning is compared with a control step of 20 Hz.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from mbrl_agents.algorithms.dreamer_v3 import DreamerV3Config, DreamerV3Model
from mbrl_agents.benchmarks.speed.peers import ACTION, BATCH, LENGTH, POSE
from mbrl_agents.benchmarks.speed.planning import ACT_LIMIT, plans
from mbrl_agents.benchmarks.speed.rows import SpeedRow, Unavailable, timed
from mbrl_agents.benchmarks.speed.training import gradient_step

DEVICE = "cuda"
SIZES = ("1M", "12M", "25M", "50M", "100M", "200M")
WARM_UP, ROUNDS, SIDE = 4, 10, 8192
"""Steps that are not counted, for compilation; steps that are; width of the peak's matrices."""

COMPILED = True


def seconds(work: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Median seconds of ``work``, all of what it asked the device for included."""

    def finished() -> None:
        work()
        if DEVICE != "cpu":
            torch.cuda.synchronize()

    for _ in range(WARM_UP):
        finished()
    return statistics.median(timed(finished) for _ in range(rounds))


def peak() -> float:
    """Operations per second of a large bfloat16 product."""
    left, right = (torch.randn(SIDE, SIDE, device=DEVICE).bfloat16() for _ in range(2))
    return 2.0 * SIDE**3 / seconds(lambda: left @ right)


class Operations(TorchDispatchMode):
    """Counts the multiplications and additions of products and convolutions inside of it.

    torch's own `FlopCounterMode` also follows modules, which does not go with gradients written
    by hand.
    """

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        count = flop_registry.get(func._overloadpacket)
        if count is not None:
            self.total += count(*args, **(kwargs or {}), out_val=result)
        return result


def operations(work: Callable[[], object]) -> int:
    """Multiplications and additions in the products and convolutions of ``work``."""
    with Operations() as counter:
        work()
    return counter.total


def _train(size: str, name: str) -> SpeedRow:
    """One gradient step of everything from images in bfloat16."""
    _require_device()
    config = DreamerV3Config(size=size, dtype="bfloat16")
    # Counted on what is not compiled: the counter does not see into compiled kernels.
    count = operations(gradient_step(image=True, config=config, device=DEVICE))
    ours = seconds(gradient_step(image=True, config=config, device=DEVICE, compiled=COMPILED))
    roof = count / peak()
    note = (
        f"{1 / ours:.1f} steps/s of {BATCH}x{LENGTH} images, {count / 1e12:.2f} TFLOP each; the "
        f"reference is their time at the peak measured for products of {SIDE}, so the ratio is "
        f"the share of peak; {_device()}"
    )
    return SpeedRow(name, 1e3 * ours, 1e3 * roof, "ms", roof / ours, ROUNDS, note)


def _plan(size: str, name: str) -> SpeedRow:
    """The search of `cem_rssm`, on the device."""
    _require_device()
    vector = spaces.Box(-np.inf, np.inf, (POSE,), np.float32)
    action = spaces.Box(-1.0, 1.0, (ACTION,), np.float32)
    model = DreamerV3Model(DreamerV3Config(size=size), vector, action).to(DEVICE)
    ours = 1e3 * seconds(plans(model, model.initial(1), 1))
    note = f"CEM over a {size} model against a control step of 20 Hz; {_device()}"
    return SpeedRow(name, ours, ACT_LIMIT, "ms", ACT_LIMIT / ours, ROUNDS, note)


def _require_device() -> None:
    if DEVICE == "cuda" and not torch.cuda.is_available():
        raise Unavailable("no GPU on this machine")


def _device() -> str:
    return torch.cuda.get_device_name() if DEVICE == "cuda" else DEVICE


ROWS: dict[str, Callable[[str], SpeedRow]] = {
    **{f"gpu_train_{size}": partial(_train, size) for size in SIZES},
    "gpu_plan_1M": partial(_plan, "1M"),
    "gpu_plan_12M": partial(_plan, "12M"),
}
"""What measures each row, by its id, which it is called with."""
