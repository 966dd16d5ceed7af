"""Builds LIBERO's own environment beside this project's, for scripts that compare the two.

The reference of published figures is LIBERO under MuJoCo 3.3.0.  To run a script under it without
changing an installation::

    pip install --no-deps --target mujoco330 mujoco==3.3.0
    PYTHONPATH=mujoco330 python scripts/reference_images.py \\
        --assets FOLDER --out tests/envs/reference/images.npz
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from mbrl_agents.envs.libero.init_states import read_init_states
from mbrl_agents.envs.libero.runtime import libero_envs, use_assets
from mbrl_agents.envs.libero.settled import SETTLE_ACTION, SETTLE_STEPS
from mbrl_agents.envs.libero.suites import Suite

REFERENCE_MUJOCO = "3.3.0"
"""The MuJoCo version under which LIBERO is taken as the reference."""

Poses = Mapping[str, NDArray[np.float64]]
"""``(7,)`` position (m) and quaternion (wxyz) of fixtures in their parent's frame, by body name."""


class StockTask:
    """One task in LIBERO's ``OffScreenRenderEnv``, or in its ``ControlEnv`` without images.

    Args:
        suite, task: which one.
        assets: folder of LIBERO's models.
        image_size: height and width of its images in pixels; None draws none.
        seed: of the fixture poses that LIBERO draws.
    """

    def __init__(
        self,
        suite: Suite,
        task: int,
        assets: Path,
        *,
        image_size: int | None = None,
        seed: int = 0,
    ) -> None:
        libero_envs()
        use_assets(assets)
        from libero.libero.envs.env_wrapper import ControlEnv, OffScreenRenderEnv

        logging.getLogger("robosuite_logs").setLevel(logging.ERROR)
        file = str(suite.bddl_file(task))
        if image_size is None:
            self.env: Any = ControlEnv(
                bddl_file_name=file,
                use_camera_obs=False,
                has_offscreen_renderer=False,
                ignore_done=True,
            )
        else:
            self.env = OffScreenRenderEnv(
                bddl_file_name=file,
                camera_heights=image_size,
                camera_widths=image_size,
                camera_names=["agentview", "robot0_eye_in_hand"],
                ignore_done=True,
            )
        self.env.seed(seed)
        self.env.reset()
        self._states = read_init_states(suite.init_states_file(task))

    @property
    def model(self) -> mujoco.MjModel:
        """MuJoCo's structure of the present episode."""
        return self.env.sim.model._model

    @property
    def n_init_states(self) -> int:
        """How many official init states the task has."""
        return len(self._states)

    def start(
        self, init_state: int, *, fixtures: Poses | None = None, seed: int = 0
    ) -> dict[str, Any]:
        """Reset, set an official init state and let objects come to rest.

        Args:
            init_state: its number.
            fixtures: where fixtures stand; None leaves them where LIBERO put them.
            seed: of LIBERO's draw.
        """
        self.env.seed(seed)
        self.env.reset()
        for name, pose in (fixtures or {}).items():
            body = self.model.body(name).id
            self.model.body_pos[body], self.model.body_quat[body] = pose[:3], pose[3:]
        self.env.set_init_state(self._states[init_state])
        for _ in range(SETTLE_STEPS):
            observation, *_ = self.env.step(SETTLE_ACTION.tolist())
        return dict(observation)

    def fixtures(self) -> dict[str, NDArray[np.float64]]:
        """Where fixtures stand, see `Poses`."""
        poses = {}
        for fixture in self.env.env.fixtures_dict.values():
            name = fixture.root_body
            if mujoco.mj_name2id(self.model, mujoco.mjtObj.mjOBJ_BODY, name) >= 0:
                body = self.model.body(name).id
                pose = self.model.body_pos[body], self.model.body_quat[body]
                poses[name] = np.concatenate(pose)
        return poses

    def observation(self) -> dict[str, Any]:
        """LIBERO's observation of things as they stand; its images are upside-down."""
        return dict(self.env.regenerate_obs_from_state(self.env.get_sim_state()))

    def close(self) -> None:
        """Free the simulation and its OpenGL context."""
        self.env.close()


def require_reference() -> None:
    """Exit unless MuJoCo is the reference's version."""
    if mujoco.__version__ != REFERENCE_MUJOCO:
        raise SystemExit(
            f"error: the reference is MuJoCo {REFERENCE_MUJOCO}, this is {mujoco.__version__}: "
            f"pip install --no-deps --target FOLDER mujoco=={REFERENCE_MUJOCO}, "
            "then put FOLDER first in PYTHONPATH"
        )
