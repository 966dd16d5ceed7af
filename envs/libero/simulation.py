"""One LIBERO task's physics: building, resetting and stepping it without robosuite's overhead.

LIBERO and robosuite build the model, draw the placements and judge success; this class steps and
resets the same MuJoCo model directly.  A control step is 25 substeps of ``mj_step1``, the
controller's torques and ``mj_step2``: one forward pass per substep where the stock environment
runs three.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from . import controller
from .building import build, randomization_error
from .contact_rule import apply_contact_rule, check_contact_rule, unregister
from .contacts import SLEEP, Contacts
from .fixtures import FIXTURES, Fixtures, Pose
from .init_states import read_init_states
from .runtime import seeded_numpy
from .suites import Suite

SUBSTEPS = 25
"""Physics substeps of 2 ms in a control step of 50 ms."""


class Simulation:
    """A LIBERO task in MuJoCo.

    Args:
        suite: the task's suite.
        task: its index there.
        assets: folder of LIBERO's (or the primitive) models.
        fixtures: "centre" puts fixtures in the middle of their regions at every reset, "random"
            draws them as LIBERO does (see `fixtures.Fixtures`).
        contact_rule: "reference" or "mujoco" (see `contact_rule`).

    Attributes:
        model, data: MuJoCo's own structures.
        inner: the robosuite environment that built them; LIBERO's predicates live there.
        goal: the task's goal predicates, such as ``("on", "bowl_1", "plate_1")``.
        objects_of_interest: the names that the task description singles out.
        contact_rule: the rule in force: "reference", "mujoco", or "native 3.3" where the installed
            MuJoCo, here 3.3, follows the reference rule by itself.

    Raises:
        ValueError: for unknown fixtures or an unknown contact rule.
        RuntimeError: where the reference rule cannot be had (see `contact_rule`).
    """

    def __init__(
        self,
        suite: Suite,
        task: int,
        assets: Path,
        *,
        fixtures: str = "centre",
        contact_rule: str = "reference",
    ) -> None:
        if fixtures not in FIXTURES:
            raise ValueError(f"unknown fixtures {fixtures!r}; valid: {', '.join(FIXTURES)}")
        check_contact_rule(contact_rule)
        self.suite = suite
        self.task = task
        self.inner = build(suite, task, assets)
        self.model: mujoco.MjModel = self.inner.sim.model._model
        self.data: mujoco.MjData = self.inner.sim.data._data
        self.contact_rule = apply_contact_rule(contact_rule, self.model)
        problem = self.inner.parsed_problem
        self.goal: list[tuple[str, ...]] = [tuple(p) for p in problem["goal_state"]]
        self.objects_of_interest: list[str] = list(problem["obj_of_interest"])
        self._init_states: NDArray[np.float64] | None = None
        self._index_robot()
        self._fixtures = Fixtures(self.inner, self.model)
        self._draws_fixtures = fixtures == "random"
        self._contacts = Contacts(self.model, self.data)
        # LIBERO's predicates ask the environment for contacts; its own answer compares the names
        # of all contacts in Python.
        self.inner.check_contact = self.in_contact
        # The grip site's marker and beam are for people; LIBERO hides them at each reset.
        robot = self.inner.robots[0]
        robot.gripper.set_sites_visibility(sim=self.inner.sim, visible=False)
        self._fresh = False
        self._start()

    # ------------------------------------------------------------------ resets

    @property
    def init_states(self) -> NDArray[np.float64]:
        """The official init states, ``(N, 1 + nq + nv)``: time, positions, velocities."""
        if self._init_states is None:
            path = self.suite.init_states_file(self.task)
            states = read_init_states(path)
            width = 1 + self.model.nq + self.model.nv
            if states.ndim != 2 or states.shape[1] != width:
                raise ValueError(
                    f"init states in {path} have shape {states.shape}, expected (N, {width}): "
                    "the assets' joints differ from LIBERO's own"
                )
            self._init_states = states
        return self._init_states

    def reset_to(self, init_state: int, seed: int = 0) -> None:
        """Reset to an official init state, which says nothing of the fixtures.

        Args:
            init_state: its index.
            seed: with ``fixtures="random"``, what the fixtures' poses are drawn from: they are
                those of ``reset_random`` with that seed.

        Raises:
            ValueError: for an init state that is not there.
        """
        states = self.init_states
        if not 0 <= init_state < len(states):
            raise ValueError(f"init_state must be in 0..{len(states) - 1}, got {init_state}")
        poses = self._fixtures.centre
        if self._draws_fixtures:
            self._place_randomly(seed)
            poses = self._fixtures.poses()
        self.restore(states[init_state], poses)

    def restore(self, state: NDArray[np.float64], fixtures: Mapping[int, Pose]) -> None:
        """Put everything where a recorded state has it.

        Args:
            state: ``(1 + nq + nv,)`` time, positions, velocities.
            fixtures: pose of each fixture body; those not named stay where they are.
        """
        self._clear()
        self._fixtures.place(fixtures)
        nq = self.model.nq
        self.data.qpos[:] = state[1 : 1 + nq]
        self.data.qvel[:] = state[1 + nq :]
        self._start()

    @property
    def fixtures(self) -> Fixtures:
        """Where the fixtures may stand."""
        return self._fixtures

    def reset_random(self, seed: int) -> None:
        """Reset with placements drawn by LIBERO's own samplers.

        With ``fixtures="random"`` equal to LIBERO's hard reset, which recompiles the model, under
        the same seed; with "centre" so but for the fixtures, and what stands on or in them.

        Raises:
            RuntimeError: when LIBERO finds no valid placement.
        """
        self._place_randomly(seed)
        self._start()

    def _place_randomly(self, seed: int) -> None:
        """Placements on and in fixtures are computed from the fixtures' pose in the freshly
        compiled model, so that pose is restored before drawing."""
        errors = randomization_error()
        rule = contextlib.nullcontext() if self._draws_fixtures else self._fixtures.in_the_centre()
        with rule:
            for attempt in range(100):
                self._clear()
                self._fixtures.place(self._fixtures.compiled)
                self.data.qpos[self._arm_qpos] = self._rest_position
                self.data.qpos[self._finger_qpos] = self._finger_init
                with (
                    contextlib.suppress(errors),
                    seeded_numpy((seed + 7919 * attempt) % 2**32),
                ):
                    # robosuite draws joint noise first, scaled by zero in LIBERO.
                    np.random.randn(len(self._rest_position))
                    self._draw_placements()
                    return
        raise RuntimeError(f"no valid placement found for task {self.task} from seed {seed}")

    def _clear(self) -> None:
        """MuJoCo's own reset, awake: where bodies may sleep, fixtures that move are not seen."""
        self.model.opt.enableflags &= ~SLEEP
        mujoco.mj_resetData(self.model, self.data)

    def _draw_placements(self) -> None:
        inner = self.inner
        for sampler in inner.object_property_initializers:
            inner.object_states_dict[sampler.name].set_joint(sampler.sample())
        mujoco.mj_step1(self.model, self.data)
        placements = inner.placement_initializer.sample()
        placements = inner.conditional_placement_initializer.sample(inner.sim, placements)
        placements = inner.conditional_placement_on_objects_initializer.sample(placements)
        for position, quaternion, thing in placements.values():
            if thing.name in inner.fixtures_dict:
                body = self.model.body(thing.root_body).id
                self.model.body_pos[body] = position
                self.model.body_quat[body] = quaternion
            else:
                pose = np.concatenate([np.asarray(position), np.asarray(quaternion)])
                inner.sim.data.set_joint_qpos(thing.joints[-1], pose)

    def _start(self) -> None:
        """Bring kinematics up to date and point the controller at where the arm is."""
        mujoco.mj_forward(self.model, self.data)
        # Objects at rest take no part in a step until something touches them: they are most of
        # its contacts.  The arm never sleeps, and moves as it would without.
        self.model.opt.enableflags |= SLEEP
        self._fresh = True
        self._finger_command = np.zeros(2)
        self._goal_rotation = self.grip_rotation.copy()

    # ---------------------------------------------------------------- stepping

    def step(self, action: NDArray[np.float64]) -> None:
        """Advance 50 ms under ``action`` (7,): goal displacement, rotation, gripper sign."""
        model, data = self.model, self.data
        action = np.clip(action, -1.0, 1.0)
        if not self._fresh:
            mujoco.mj_step1(model, data)
        goal_position = self.grip_position + controller.POSITION_SCALE * action[:3]
        rotation = controller.ROTATION_SCALE * action[3:6]
        if np.any(np.abs(rotation) > 1e-12):
            self._goal_rotation = controller.goal_rotation(rotation, self.grip_rotation)
        direction = np.array([-1.0, 1.0]) * np.sign(action[6]) * controller.GRIPPER_SPEED
        arm = self._arm_dofs
        for substep in range(SUBSTEPS):
            if substep:
                mujoco.mj_step1(model, data)
            mujoco.mj_jacSite(model, data, self._jacobian[:3], self._jacobian[3:], self._grip_site)
            mujoco.mj_fullM(model, self._mass, data.qM)
            data.ctrl[self._arm_actuators] = controller.osc_torques(
                np.ascontiguousarray(self._mass[arm, arm]),
                np.ascontiguousarray(self._jacobian[:, arm]),
                self.grip_position,
                self.grip_rotation,
                goal_position,
                self._goal_rotation,
                data.qpos[self._arm_qpos],
                data.qvel[arm],
                self._rest_position,
                data.qfrc_bias[arm],
                self._torque_limit,
            )
            # Twice as quick as np.clip, on two numbers, 25 times a step.
            command = self._finger_command + direction
            self._finger_command = np.maximum(np.minimum(command, 1.0), -1.0)
            data.ctrl[self._finger_actuators] = (
                self._finger_bias + self._finger_weight * self._finger_command
            )
            mujoco.mj_step2(model, data)
        # The next step needs these kinematics and contacts anyway; computed now, observations and
        # success are those of the state reached, not of the substep before.
        mujoco.mj_step1(model, data)
        self._fresh = True

    # ----------------------------------------------------------------- queries

    @property
    def grip_position(self) -> NDArray[np.float64]:
        """``(3,)`` m: the point between the finger tips (a view into MuJoCo's memory)."""
        return self.data.site_xpos[self._grip_site]

    @property
    def grip_rotation(self) -> NDArray[np.float64]:
        """``(3, 3)`` rotation of the grip site."""
        return self.data.site_xmat[self._grip_site].reshape(3, 3)

    @property
    def hand_quaternion(self) -> NDArray[np.float64]:
        """``(4,)`` wxyz of the hand, which robosuite reports as the end-effector's."""
        return self.data.xquat[self._hand_body]

    @property
    def hand_rotation(self) -> NDArray[np.float64]:
        """``(3, 3)`` rotation of the hand."""
        return self.data.xmat[self._hand_body].reshape(3, 3)

    @property
    def finger_positions(self) -> NDArray[np.float64]:
        """``(2,)`` m: the finger joints; their difference is the opening."""
        return self.data.qpos[self._finger_qpos]

    def body_of(self, name: str) -> int:
        """MuJoCo id of the root body of an object or fixture; of the parent of a site."""
        if name in self.inner.object_sites_dict:
            return int(self.model.site_bodyid[self.model.site(name).id])
        return int(self.inner.obj_body_id[name])

    @property
    def placed_bodies(self) -> list[int]:
        """MuJoCo's numbers of the objects and fixtures, which every reset places anew."""
        return [int(body) for body in self.inner.obj_body_id.values()]

    def rest_state(self) -> mujoco.MjData:
        """A state apart from the present one: the arm where episodes begin."""
        data = mujoco.MjData(self.model)
        data.qpos[self._arm_qpos] = self._rest_position
        data.qpos[self._finger_qpos] = self._finger_init
        mujoco.mj_kinematics(self.model, data)
        mujoco.mj_comPos(self.model, data)
        mujoco.mj_camlight(self.model, data)
        return data

    def position_of(self, name: str) -> NDArray[np.float64]:
        """``(3,)`` m: the position of an object, fixture or site."""
        if name in self.inner.object_sites_dict:
            return self.data.site_xpos[self.model.site(name).id]
        return self.data.xpos[self.inner.obj_body_id[name]]

    def container_of(self, name: str) -> tuple[str, str] | None:
        """Fixture and region that an object starts inside of, by the task description."""
        for state in self.inner.parsed_problem["initial_state"]:
            if state[0] == "in" and state[1] == name:
                region = str(state[2])
                return str(self.inner.parsed_problem["regions"][region]["target"]), region
        return None

    def success(self) -> bool:
        """Whether every goal predicate holds, by LIBERO's own definitions."""
        return bool(self.inner._check_success())

    def holds(self, predicate: tuple[str, ...]) -> bool:
        """Whether one goal predicate holds."""
        return bool(self.inner._eval_predicate(list(predicate)))

    def grasped(self, name: str) -> bool:
        """Whether both finger pads touch the object (robosuite's definition of a grasp)."""
        thing = self.inner.get_object(name)
        return all(self.in_contact(pad, thing) for pad in self._finger_pads)

    def in_contact(self, first: Any, second: Any = None) -> bool:
        """See `Contacts.between`."""
        return self._contacts.between(first, second)

    def close(self) -> None:
        """Free what robosuite holds; MuJoCo's structures follow with the object."""
        unregister(self.model)
        self.inner.close()

    # ---------------------------------------------------------------- indexing

    def _index_robot(self) -> None:
        robot = self.inner.robots[0]
        self._arm_qpos = _as_slice(robot._ref_joint_pos_indexes)
        self._arm_dofs = _as_slice(robot._ref_joint_vel_indexes)
        self._arm_actuators = _as_slice(robot._ref_joint_actuator_indexes)
        self._finger_qpos = _as_slice(robot._ref_gripper_joint_pos_indexes)
        self._finger_actuators = _as_slice(robot._ref_joint_gripper_actuator_indexes)
        self._rest_position = np.array(robot.init_qpos, dtype=np.float64)
        self._finger_init = np.array(robot.gripper.init_qpos, dtype=np.float64)
        self._grip_site = int(robot.eef_site_id)
        self._hand_body = self.model.body(robot.robot_model.eef_name).id
        self._finger_pads = [
            tuple(robot.gripper.important_geoms[side])
            for side in ("left_fingerpad", "right_fingerpad")
        ]
        self._torque_limit = np.array(robot.torque_limits[1], dtype=np.float64)
        finger_range = self.model.actuator_ctrlrange[self._finger_actuators]
        self._finger_bias = finger_range.mean(axis=1)
        self._finger_weight = (finger_range[:, 1] - finger_range[:, 0]) / 2
        self._jacobian = np.zeros((6, self.model.nv))
        self._mass = np.zeros((self.model.nv, self.model.nv))


def _as_slice(indices: Iterable[int]) -> slice:
    """Consecutive indices as a slice, whose views need no copy."""
    values = list(indices)
    if values != list(range(values[0], values[0] + len(values))):
        raise ValueError(f"expected consecutive indices, got {values}")
    return slice(values[0], values[0] + len(values))
