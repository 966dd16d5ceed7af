"""LIBERO's own environment of a task, from which everything else takes the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .runtime import libero_envs, seeded_numpy, use_assets
from .suites import Suite


def build(suite: Suite, task: int, assets: Path) -> Any:
    """LIBERO's environment for the task: no renderer, no camera, placements from seed 0."""
    envs = libero_envs()
    use_assets(assets)
    import robosuite

    bddl_file = suite.bddl_file(task)
    problem = envs.bddl_base_domain.BDDLUtils.get_problem_info(str(bddl_file))
    config = robosuite.load_controller_config(default_controller="OSC_POSE")
    errors = randomization_error()
    for seed in range(100):
        try:
            with seeded_numpy(seed):
                return envs.TASK_MAPPING[problem["problem_name"]](
                    str(bddl_file),
                    robots=["Panda"],
                    controller_configs=config,
                    gripper_types="default",
                    initialization_noise=None,
                    use_camera_obs=False,
                    has_offscreen_renderer=False,
                    ignore_done=True,
                    hard_reset=False,
                    control_freq=20,
                )
        except errors:
            continue
    raise RuntimeError(f"LIBERO found no valid placement for task {task} of {suite.name}")


def randomization_error() -> type[Exception]:
    """What robosuite raises where it finds no room for an object."""
    from robosuite.utils.errors import RandomizationError

    return RandomizationError
