"""Operational space control of the arm, compiled.

The same law as robosuite's OSC_POSE controller (Khatib 1987, "A unified approach for motion and
force control of robot manipulators", with position and orientation uncoupled), evaluated once per
physics substep on what MuJoCo has already computed.  robosuite runs three forward passes per
substep around it; this needs none of its own.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

KP = 150.0
"""Stiffness of the end-effector, 1/s^2; damping is critical."""

NULLSPACE_KP = 10.0
"""Stiffness of the pull towards the initial joint positions in the null space, 1/s^2."""

POSITION_SCALE = 0.05
"""Metres of goal displacement per unit of action."""

ROTATION_SCALE = 0.5
"""Radians of goal rotation per unit of action."""

GRIPPER_SPEED = 0.01
"""Change of the normalised finger command per substep: 0.25 per control step."""


def goal_rotation(delta: Array, current: Array) -> Array:
    """Rotate ``current`` (3, 3) by the axis-angle ``delta`` (3,) in rad, in the world frame."""
    angle = float(np.sqrt(delta @ delta))
    x, y, z = delta / angle
    c, s = np.cos(angle), np.sin(angle)
    skew = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    rotation = np.eye(3) + s * skew + (1.0 - c) * (skew @ skew)
    return np.ascontiguousarray(rotation @ current)


@numba.njit(cache=True)
def osc_torques(
    mass: Array,
    jacobian: Array,
    position: Array,
    rotation: Array,
    goal_position: Array,
    goal_rotation: Array,
    joint_position: Array,
    joint_velocity: Array,
    rest_position: Array,
    bias: Array,
    limit: Array,
) -> Array:  # pragma: no cover - compiled
    """Joint torques in Nm that drive the end-effector towards its goal.

    Args:
        mass: ``(7, 7)`` joint-space inertia of the arm.
        jacobian: ``(6, 7)`` of the grip site, linear rows first.
        position, rotation: ``(3,)`` m and ``(3, 3)`` of the grip site.
        goal_position, goal_rotation: where it should be.
        joint_position, joint_velocity, rest_position: ``(7,)`` rad, rad/s.
        bias: ``(7,)`` gravity and Coriolis torques, added for compensation.
        limit: ``(7,)`` largest torques.
    """
    velocity = jacobian @ joint_velocity
    kd = 2.0 * np.sqrt(KP)
    force = KP * (goal_position - position) - kd * velocity[:3]

    # Half the sum of the cross products of the frames' axes: the small-angle rotation error.
    error = np.zeros(3)
    for i in range(3):
        a0, a1, a2 = rotation[0, i], rotation[1, i], rotation[2, i]
        b0, b1, b2 = goal_rotation[0, i], goal_rotation[1, i], goal_rotation[2, i]
        error[0] += 0.5 * (a1 * b2 - a2 * b1)
        error[1] += 0.5 * (a2 * b0 - a0 * b2)
        error[2] += 0.5 * (a0 * b1 - a1 * b0)
    torque = KP * error - kd * velocity[3:]

    mass_inverse = np.linalg.inv(mass)
    mobility = jacobian @ mass_inverse @ jacobian.T  # (6, 6)
    wrench = np.empty(6)
    wrench[:3] = np.linalg.solve(np.ascontiguousarray(mobility[:3, :3]), force)
    wrench[3:] = np.linalg.solve(np.ascontiguousarray(mobility[3:, 3:]), torque)

    null_kd = 2.0 * np.sqrt(NULLSPACE_KP)
    posture = mass @ (NULLSPACE_KP * (rest_position - joint_position) - null_kd * joint_velocity)
    # (I - Jbar J)^T posture with Jbar = M^-1 J^T Lambda
    posture = posture - jacobian.T @ np.linalg.solve(mobility, jacobian @ (mass_inverse @ posture))

    result = jacobian.T @ wrench + bias + posture
    return np.minimum(np.maximum(result, -limit), limit)
