"""LIBERO tasks as one Gymnasium environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from .assets import resolve_assets
from .bddl import describe
from .conditions import image_conditions, physics_conditions, scene_conditions
from .disturbances import Disturber, parse_disturbance
from .experts import Demonstrated
from .keywords import RENDER_MODES, check_keywords
from .observation import CAMERAS, OBSERVATIONS, in_convention, observation_space, state_entries
from .randomisation import Randomiser, parse_randomisation
from .reset_options import read_options
from .reward import make_reward
from .scenes import Scenes
from .settled import SETTLE_ACTION
from .simulation import Simulation
from .suites import get_suite
from .task_codes import code_space, task_codes


class LiberoEnv(Demonstrated, gymnasium.Env[dict[str, NDArray[Any]], NDArray[np.float32]]):
    """One LIBERO task, or several tasks of a suite in turn.

    Action: ``Box(-1, 1, (7,))``: displacement of the gripper's goal (one unit = 0.05 m), its
    rotation (one unit = 0.5 rad, axis-angle), gripper (negative opens, positive closes), applied
    for 50 ms.

    Observation: a flat Dict.  ``pose``: the robot's grip position (m), axis-angle (rad) and finger
    opening (m); with ``obs="pose"`` followed by position (m) and quaternion (xyzw) of each object
    of interest, and beside it ``joints`` (rad, m) where fixtures among them have any.  With
    ``obs="image"``: ``image`` (H, W, 3) uint8, ``wrist`` when that camera is listed, and the
    robot's pose.  With several tasks also ``task``, see ``task_code``.

    ``terminated`` is success.  Time-out is a wrapper's: ``gymnasium.make`` adds it from the
    suite's limit or its ``max_episode_steps`` keyword.  ``info["is_success"]`` is there at reset
    and at every step.

    Args:
        suite: "libero_spatial", "libero_object", "libero_goal", "libero_10" or "libero_90".
        task: index or name; a list of them, or None for all of the suite's, draws one at each
            reset.
        obs: "pose", "robot_pose" or "image".
        reward: "sparse" (1 at success), "progress" (the change of how far the task has come, and
            10 at success) or "dense" (the course's, which pays more for hovering than for
            finishing); see ``reward.ProgressReward`` and ``reward.DenseReward``.
        init: "random" draws from the task's own placement regions; "benchmark" uses the official
            init states, in order of reset or as ``reset(options={"init_state": k})`` says.
        assets: "auto", "primitive" or "official" (see ``assets.resolve_assets``).
        assets_folder: where official assets lie, if not in a place that is searched anyway.
        cameras: which of "agentview" and "robot0_eye_in_hand" ``obs="image"`` shows.
        image_size: side of the images in pixels.
        settle_steps: control steps after a reset in which objects come to rest.
        fixtures: "centre" puts cabinet, stove and rack in the middle of their regions, so that an
            official init state is the same scene every time; "random" draws them at each reset as
            LIBERO does (+-1 cm, the cabinet's yaw), by the reset's seed.
        contact_rule: "reference" computes contacts as MuJoCo did when LIBERO's init states and
            published results were made; "mujoco" as the installed MuJoCo does.
        render_mode: "rgb_array" or None.
        render_size: side of the image that ``render`` returns.
        rendering: "fast" (coarser meshes, no multisampling) or "libero" (as LIBERO itself draws,
            many times slower), see `rendering.SceneRenderer`.
        image_convention: of the observed images; ``render`` is always upright.  "upright"; "raw",
            upside-down as LIBERO returns them; "rotated", those turned by 180 degrees, as
            OpenVLA's and LeRobot's policies saw them in training.
        robot_state: how ``pose`` describes the robot: "pose7" or "libero8", see
            `observation.robot_state_vector`; ``obs="pose"`` has "pose7" only.
        one_hot_task: whether ``task`` is observed.  None: where there are several.  Given, the
            observation space is the same whatever ``task`` is, ``obs="pose"`` padded with zeros to
            the suite's most objects of interest: what learned all tasks can act in any one.
        task_code: how ``task`` says it: "one_hot" over the suite's, "characters" of the task's
            sentence, or "t5", that language model's features of it, see `task_codes.task_codes`.
        disturbance: None; the name of a preset, such as "heavy", or a mapping of kinds and sizes,
            such as ``{"object_mass": 2.0}``, see `disturbances.Disturbance`.
        randomise: None; the name of a preset, such as "looks", or a mapping of kinds and sizes,
            such as ``{"colours": 0.3}``, drawn anew at every reset, see
            `randomisation.Randomisation`.

    Attributes:
        rendering, image_convention, robot_state: as given.

    Raises:
        ValueError: for an unknown suite, task, obs, reward, init, assets, camera, fixtures,
            contact rule, rendering, image convention, robot state, task code, disturbance or
            randomisation; the message lists the valid ones.  Also for randomised placements with
            ``init="benchmark"``, whose placements are given.
        RuntimeError: for ``contact_rule="reference"`` with a MuJoCo it was not tested with, and for
            ``task_code="t5"`` without T5's weights.
        FileNotFoundError: when official assets are asked for and a file is missing.
    """

    noise_scale: tuple[float, ...] = (1.0, 1.0, 1.0, 0.25, 0.25, 0.25, 0.0)
    """How far noise may disturb each action dimension (read by `mbrl_agents.data.noise`).

    One unit turns by 0.5 rad but moves by only 0.05 m; the gripper acts by sign, so Gaussian noise
    would hardly disturb it.
    """
    gripper_dim: int | None = 6
    """The action dimension that opens and closes the gripper."""
    views: tuple[str, ...] = OBSERVATIONS
    """What `observe` can show of one moment (read by `mbrl_agents.data.recording`)."""

    metadata = {"render_modes": list(RENDER_MODES), "render_fps": 20}  # noqa: RUF012  (Gymnasium's)

    def __init__(
        self,
        suite: str = "libero_spatial",
        task: int | str | Sequence[int | str] | None = 0,
        obs: str = "pose",
        reward: str = "sparse",
        init: str = "random",
        assets: str = "auto",
        assets_folder: str | Path | None = None,
        cameras: tuple[str, ...] = ("agentview",),
        image_size: int = 64,
        settle_steps: int = 10,
        fixtures: str = "centre",
        contact_rule: str = "reference",
        render_mode: str | None = None,
        render_size: int = 256,
        rendering: str = "fast",
        image_convention: str = "upright",
        robot_state: str = "pose7",
        one_hot_task: bool | None = None,
        task_code: str = "one_hot",
        disturbance: str | Mapping[str, Any] | None = None,
        randomise: str | Mapping[str, Any] | None = None,
    ) -> None:
        self._suite = get_suite(suite)
        check_keywords(
            obs=obs,
            reward=reward,
            init=init,
            fixtures=fixtures,
            contact_rule=contact_rule,
            rendering=rendering,
            image_convention=image_convention,
            robot_state=robot_state,
            task_code=task_code,
            render_mode=render_mode,
            cameras=cameras,
        )
        if image_size < 1 or render_size < 1 or settle_steps < 0:
            raise ValueError(
                "image_size and render_size must be at least 1 and settle_steps at least 0, got "
                f"{image_size}, {render_size} and {settle_steps}"
            )
        self._choices = self._suite.task_indices(task)
        several = task is None or isinstance(task, list | tuple)
        self._codes: NDArray[np.float32] | None = None
        if several if one_hot_task is None else one_hot_task:
            self._codes = task_codes(task_code, [t.replace("_", " ") for t in self.task_names])
        self._obs, self._init = obs, init
        self._reward, self._reward_name = make_reward(reward), reward
        self._cameras, self._image_size = tuple(cameras), image_size
        self.rendering, self.image_convention = rendering, image_convention
        self.robot_state = robot_state
        self._settle_steps = settle_steps
        self._disturber = Disturber(parse_disturbance(disturbance), self.noise_scale)
        randomisation = parse_randomisation(randomise)
        if randomisation.placement and init == "benchmark":
            raise ValueError("randomise: placement wants init='random', got init='benchmark'")
        self._randomiser = Randomiser(randomisation, cameras)
        self._fixtures = fixtures
        self.render_mode, self._render_size = render_mode, render_size
        if several:
            self._assets = resolve_assets(assets, suite=self.suite, folder=assets_folder)
        else:
            alone = describe(self._suite.bddl_file(self._choices[0]))
            self._assets = resolve_assets(
                assets,
                categories=alone.categories,
                problem=alone.problem,
                folder=assets_folder,
            )
        self._scenes = Scenes(
            self._suite,
            self._assets.path,
            fixtures=fixtures,
            contact_rule=contact_rule,
            rendering=rendering,
            disturber=self._disturber,
            randomiser=self._randomiser,
        )
        self._task = self._choices[0]
        self._next_init_state = 0
        self._ready = False
        self.action_space = spaces.Box(-1.0, 1.0, (7,), dtype=np.float32)
        alike = (
            range(len(self.task_names)) if several or one_hot_task is not None else self._choices
        )
        described = [describe(self._suite.bddl_file(t)) for t in alike]
        self._space_of = partial(
            observation_space,
            objects=max(len(t.objects_of_interest) for t in described),
            joints=max(t.joints for t in described),
            cameras=len(self._cameras),
            image_size=image_size,
            task=None if self._codes is None else code_space(task_code, self._codes.shape[1]),
            robot_state=robot_state,
        )
        self.observation_space: spaces.Dict = self._space_of(obs)  # type: ignore[assignment]
        self._spaces = {obs: self.observation_space}

    # -------------------------------------------------------------- properties

    @property
    def suite(self) -> str:
        """LIBERO's name of the suite."""
        return self._suite.name

    @property
    def task_names(self) -> list[str]:
        """The suite's tasks in the official order."""
        return list(self._suite.task_names)

    @property
    def task_index(self) -> int:
        """The task of the present episode."""
        return self._task

    @property
    def language(self) -> str:
        """The present task as an instruction."""
        return self.task_names[self._task].replace("_", " ")

    @property
    def assets_kind(self) -> str:
        """ "primitive" or "official": which models are shown and simulated."""
        return self._assets.kind

    @property
    def conditions(self) -> dict[str, Any]:
        """What figures of this environment depend on beside the agent; plain values by name."""
        return self.conditions_as(self._obs)

    def conditions_as(self, obs: str) -> dict[str, Any]:
        """The `conditions` of an environment with another ``obs`` and the same keywords beside."""
        found = physics_conditions(self.simulation.contact_rule)
        scene = self._assets, self.suite, self._fixtures, self._settle_steps, self._reward_name
        found |= scene_conditions(*scene)
        found |= {"disturbance": self._disturber.told, "randomise": self._randomiser.told}
        return found | (self.image_conditions if obs == "image" else {})

    @property
    def image_conditions(self) -> dict[str, Any]:
        """Those of `conditions` that images depend on, whether or not it observes any."""
        return image_conditions(
            self.rendering,
            self.image_convention,
            self._cameras,
            self._image_size,
            self._scenes.backend,
        )

    @property
    def knows_success(self) -> bool:
        """True: ``info["is_success"]`` is at reset and every step."""
        return True

    @property
    def reward_is_change(self) -> bool:
        """Whether rewards are changes of how good a state is, rather than that itself."""
        return self._reward_name != "dense"

    @property
    def n_init_states(self) -> int:
        """How many official init states the present task has."""
        return len(self.simulation.init_states)

    @property
    def simulation(self) -> Simulation:
        """The present task's physics, built on first use."""
        return self._scenes.simulation(self._task)

    # --------------------------------------------------------------- gymnasium

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Begin an episode.

        Args:
            seed: of the placements and of the task drawn; the same seed gives the same episode.
            options: ``init_state`` (index of an official init state; sets the placement for this
                episode whatever ``init`` says) and ``task`` (where there are several).

        Raises:
            ValueError: for an unknown option, task or init state.
        """
        task, init_state = read_options(options, self._suite, self._choices)
        super().reset(seed=seed)
        if task is None:
            task = self._choices[int(self.np_random.integers(len(self._choices)))]
        simulation = self._scenes.simulation(task)
        available = len(simulation.init_states)
        if init_state is not None and init_state >= available:
            raise ValueError(f"init_state must be in 0..{available - 1}, got {init_state}")
        self._task = task  # only now: a refused reset leaves the present episode as it is
        info: dict[str, Any] = {}
        self._randomiser.begin(simulation, self.np_random)
        if init_state is None and self._init == "benchmark":
            init_state = self._next_init_state % len(simulation.init_states)
            self._next_init_state += 1
        if init_state is not None:
            drawn = self._fixtures == "random"
            simulation.reset_to(
                init_state, seed=int(self.np_random.integers(2**31)) if drawn else 0
            )
            info["init_state"] = init_state
        else:
            simulation.reset_random(int(self.np_random.integers(2**31)))
        for _ in range(self._settle_steps):
            simulation.step(SETTLE_ACTION)
        self._disturber.begin(self.np_random)
        self._reward.begin(simulation)
        self._ready = True
        self._begin_demonstration()
        info.update(is_success=simulation.success(), task=self._task)
        return self.observe(self._obs), info

    def step(
        self, action: NDArray[np.float32]
    ) -> tuple[dict[str, NDArray[Any]], float, bool, bool, dict[str, Any]]:
        """Advance 50 ms.

        Raises:
            ValueError: for an action of the wrong shape or with a value that is not finite; the
                episode stays as it was.
            RuntimeError: before the first reset.
        """
        if not self._ready:
            raise gymnasium.error.ResetNeeded("call reset() before step()")
        command = np.asarray(action, dtype=np.float64)
        if command.shape != (7,):
            raise ValueError(f"an action must have shape (7,), got {command.shape}")
        if not np.isfinite(command).all():
            raise ValueError(f"an action must be finite, got {command}")
        self.simulation.step(self._disturber(self.simulation, command))
        observation, reward, success = self.present(begin=False)
        return observation, reward, success, False, {"is_success": success, "task": self._task}

    def present(self, *, begin: bool) -> tuple[dict[str, NDArray[Any]], float, bool]:
        """What the simulation's present state shows, wherever it came from (see `replay`).

        Args:
            begin: whether an episode begins here; its reward is then 0.

        Returns:
            Observation, reward of the way here, and success.
        """
        success = self.simulation.success()
        if begin:
            self._reward.begin(self.simulation)
        reward = 0.0 if begin else self._reward.step(self.simulation, success)
        return self.observe(self._obs), reward, success

    def observe(self, obs: str) -> dict[str, NDArray[Any]]:
        """The present state as an environment with another ``obs`` keyword would show it.

        Raises:
            ValueError: for an unknown ``obs``, or one that ``robot_state`` does not go with.
        """
        if obs not in self._spaces:
            self._spaces[obs] = self._space_of(obs)
        space = self._spaces[obs]
        result = state_entries(self.simulation, obs, space, self.robot_state)
        if obs == "image":
            for camera in self._cameras:
                image = self._scenes.renderer(self._task, self._image_size).render(camera)
                result[CAMERAS[camera]] = in_convention(image, self.image_convention)
        if self._codes is not None:
            result["task"] = self._codes[self._task].copy()
        return result

    def render(self) -> NDArray[np.uint8] | None:  # type: ignore[override]
        """The scene's camera, ``(render_size, render_size, 3)`` uint8, or None."""
        if self.render_mode is None:
            return None
        return self._scenes.renderer(self._task, self._render_size).render("agentview")

    def close(self) -> None:
        """Free the simulations and OpenGL contexts."""
        self._scenes.close()
        self._ready = False
