"""The environment's speed beside LIBERO's own: control steps, images, resets, collection."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mbrl_agents.benchmarks.speed.elsewhere import Elsewhere
from mbrl_agents.benchmarks.speed.rows import SpeedRow, Unavailable, compared, interleaved, timed
from mbrl_agents.data.collect import Collection, collect
from mbrl_agents.data.parallel import make_env
from mbrl_agents.envs.libero.assets import resolve_assets
from mbrl_agents.envs.libero.rendering import SceneRenderer
from mbrl_agents.envs.libero.runtime import libero_envs, seeded_numpy, use_assets
from mbrl_agents.envs.libero.simulation import Simulation
from mbrl_agents.envs.libero.suites import SUITES

SUITE, TASK = SUITES["libero_spatial"], 0
CAMERA, SIZE = "agentview", 64
POSE_STEPS, IMAGE_STEPS = 40, 20
RESETS, RESET_ROUNDS = 3, 4
"""LIBERO's reset with a camera takes seconds."""

RACING_STEPS = 80
EPISODES, SETTLED, COLLECT_ROUNDS = 24, 6, 2
"""Episodes of a collection, and how many of the first are not counted: processes start up."""


class StockEnvironment(Elsewhere):
    """LIBERO's own environment in a process of its own.

    robosuite draws in whichever OpenGL context is current, and would draw the reduced meshes of
    ours; the process also keeps it clear of settings that the rest of this program makes.

    Args:
        assets: folder of the models.
        camera: whether it renders one, as `OffScreenRenderEnv`; else `ControlEnv` without.
    """

    def __init__(self, assets: Path, *, camera: bool) -> None:
        super().__init__(_stock, str(assets), camera)

    def steps(self, actions: NDArray[np.float64]) -> float:
        """Seconds that the actions ``(N, 7)`` take, one step each."""
        return self.ask("steps", actions)

    def resets(self, states: NDArray[np.float64]) -> float:
        """Seconds that resets to the states ``(N, 1 + nq + nv)`` take."""
        return self.ask("resets", states)

    def set_state(self, state: NDArray[np.float64]) -> float:
        """Seconds that it takes to set one state without a reset."""
        return self.ask("set", state)


def _stock(assets: str, camera: bool) -> Callable[[str, Any], float]:
    use_assets(Path(assets))
    wrappers = libero_envs().env_wrapper
    options: dict[str, Any] = {"bddl_file_name": str(SUITE.bddl_file(TASK)), "ignore_done": True}
    with seeded_numpy(0):
        if camera:
            size = {"camera_heights": SIZE, "camera_widths": SIZE}
            env = wrappers.OffScreenRenderEnv(**options, **size, camera_names=[CAMERA])
        else:
            env = wrappers.ControlEnv(**options, use_camera_obs=False, has_offscreen_renderer=False)
        env.reset()

    def reset(state: NDArray[np.float64]) -> None:
        env.reset()
        env.set_init_state(state)

    def work_on(work: str, values: NDArray[np.float64]) -> float:
        if work == "set":
            return timed(partial(env.set_init_state, values))
        play = env.step if work == "steps" else reset
        return timed(lambda: [play(value) for value in values])

    return work_on


def _pose_step(kind: str, name: str) -> SpeedRow:
    """One control step (50 ms) with its success check."""
    return _step(kind, name, camera=False, count=POSE_STEPS)


def _image_step(kind: str, name: str) -> SpeedRow:
    """One control step with its success check and an image."""
    return _step(kind, name, camera=True, count=IMAGE_STEPS)


def _step(kind: str, name: str, *, camera: bool, count: int) -> SpeedRow:
    assets = _assets(kind)
    ours = Simulation(SUITE, TASK, assets)
    renderer = SceneRenderer(ours, (SIZE, SIZE))
    actions = np.random.default_rng(0).uniform(-0.5, 0.5, (count, 7))

    def play() -> None:
        for action in actions:
            ours.step(action)
            ours.success()
            if camera:
                renderer.render(CAMERA)

    with StockEnvironment(assets, camera=camera) as stock:

        def restart() -> None:
            ours.reset_to(0)
            stock.set_state(ours.init_states[0])

        times = interleaved(partial(timed, play), partial(stock.steps, actions), restart)
    renderer.close()
    ours.close()
    reference = f"OffScreenRenderEnv.step, {SIZE}x{SIZE} {CAMERA}" if camera else "ControlEnv.step"
    return compared(name, times, count, f"{reference}, {kind} assets")


def _reset(name: str, *, camera: bool) -> SpeedRow:
    """To an official init state, before anything settles."""
    try:
        kind, assets = "official", _assets("official")
    except Unavailable:
        kind, assets = "primitive", _assets("primitive")
    ours = Simulation(SUITE, TASK, assets)
    renderer = SceneRenderer(ours, (SIZE, SIZE))
    numbers = itertools.count()

    def play() -> None:
        for _ in range(RESETS):
            ours.reset_to(next(numbers) % len(ours.init_states))
            if camera:
                renderer.render(CAMERA)

    with StockEnvironment(assets, camera=camera) as stock:
        states = ours.init_states[:RESETS]
        times = interleaved(
            partial(timed, play), partial(stock.resets, states), lambda: None, RESET_ROUNDS
        )
    renderer.close()
    ours.close()
    reference = f"reset (hard, the default) and set_init_state, {kind} assets"
    return compared(
        name, times, RESETS, f"{'with' if camera else 'no'} camera; LIBERO's {reference}"
    )


def _collect_2(name: str) -> SpeedRow:
    """An episode of the demonstrator, collected by two processes, against one."""
    if (os.cpu_count() or 1) < 2:
        raise Unavailable("one core only")
    _assets("primitive")

    def settled(workers: int) -> float:
        """Seconds for the episodes after the first `SETTLED`."""
        collection = Collection(
            SUITE.env_id, {"assets": "primitive"}, source="expert", episodes=EPISODES, tasks=[TASK]
        )
        finished: list[float] = []
        collect(
            collection,
            workers=workers,
            on_episode=lambda episode: finished.append(time.perf_counter()),
        )
        return finished[-1] - finished[SETTLED - 1]

    times = interleaved(partial(settled, 2), partial(settled, 1), lambda: None, COLLECT_ROUNDS)
    note = "2 processes against 1, per episode of the demonstrator, start-up not counted"
    return compared(name, times, EPISODES - SETTLED, note)


def _car_racing(name: str) -> SpeedRow:
    """A step of CarRacing with its frame, against Gymnasium's."""
    try:
        ours, original = make_env("mbrl/CarRacing-v3", {}), make_env("CarRacing-v3", {})
    except Exception as error:  # box2d or pygame may be missing
        raise Unavailable(str(error)) from error
    steps = np.linspace(0.0, 20.0, RACING_STEPS)
    actions = [np.array([0.3 * np.sin(t), 0.4, 0.0]) for t in steps]

    def play(env: Any) -> None:
        for action in actions:
            env.step(action)

    def restart() -> None:
        for env in (ours, original):
            env.reset(seed=0)
            play(env)  # past the first second, in which the camera is far away

    times = interleaved(
        partial(timed, partial(play, ours)), partial(timed, partial(play, original)), restart
    )
    ours.close()
    original.close()
    return compared(name, times, RACING_STEPS, "Gymnasium's CarRacing-v3, the same frames")


def _assets(kind: str) -> Path:
    try:
        return resolve_assets(kind, suite=SUITE.name).path
    except FileNotFoundError as error:
        raise Unavailable(str(error)) from error


ROWS: dict[str, Callable[[str], SpeedRow]] = {
    "pose_step_primitive": partial(_pose_step, "primitive"),
    "pose_step_official": partial(_pose_step, "official"),
    "image_step_primitive": partial(_image_step, "primitive"),
    "image_step_official": partial(_image_step, "official"),
    "reset_pose": partial(_reset, camera=False),
    "reset_image": partial(_reset, camera=True),
    "collect_2": _collect_2,
    "car_racing": _car_racing,
}
"""What measures each row, by its id, which it is called with."""
