"""Images of the Control Suite beside dm_control's own."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mbrl_agents.benchmarks.speed.elsewhere import Elsewhere
from mbrl_agents.benchmarks.speed.rows import SpeedRow, Unavailable, compared, interleaved, timed
from mbrl_agents.data.parallel import make_env

DOMAIN, TASK, SIZE, STEPS = "walker", "walk", 64, 40


def stock() -> Callable[[str, Any], float]:
    """dm_control's task behind its own wrapper for pixels; see `elsewhere.Build`."""
    os.environ.setdefault("MUJOCO_GL", "egl")
    from dm_control import suite
    from dm_control.suite.wrappers import pixels

    drawing = {"height": SIZE, "width": SIZE, "camera_id": 0}
    env = pixels.Wrapper(suite.load(DOMAIN, TASK, task_kwargs={"random": 0}), render_kwargs=drawing)

    def work_on(work: str, values: NDArray[np.float64]) -> float:
        if work == "reset":
            return timed(env.reset)
        return timed(lambda: [env.step(action) for action in values])

    return work_on


def _pixels(name: str) -> SpeedRow:
    """A control step of walker walk with its image; the physics of both is dm_control's."""
    try:
        ours = make_env(
            "mbrl/DMC-v0", {"domain": DOMAIN, "task": TASK, "size": SIZE, "action_repeat": 1}
        )
    except ImportError as error:
        raise Unavailable(str(error)) from error
    space: Any = ours.action_space
    actions = np.random.default_rng(0).uniform(space.low, space.high, (STEPS, *space.shape))

    def play() -> None:
        for action in actions:
            ours.step(action)

    with Elsewhere(stock) as reference:

        def restart() -> None:
            ours.reset(seed=0)
            reference.ask("reset")

        times = interleaved(partial(timed, play), partial(reference.ask, "steps", actions), restart)
    ours.close()
    note = f"dm_control's pixels.Wrapper as it ships, {SIZE}x{SIZE} {DOMAIN} {TASK}"
    return compared(name, times, STEPS, note)


ROWS: dict[str, Callable[[str], SpeedRow]] = {"dmc_pixels": _pixels}
"""What measures each row, by its id, which it is called with."""
