"""LIBERO's demonstrations: one HDF5 file a task, ``data/demo_N`` in it.

A demonstration has ``actions`` (T, 7), ``rewards`` and ``dones`` (T,), and under ``obs`` images
(upside-down) and robot states.  LIBERO recorded an observation *after* its action and a state of
the simulator *before* it (its ``scripts/create_dataset.py``), so ``actions[0]`` led to the first
observation and belongs to no pair; files rendered anew by others have it the other way around.
Which is which is told by the arm's joints, which states and observations both have.

With ``ReadOptions.replay`` the states are put through our simulator instead: poses of objects,
dense rewards and success then are what our environment would have shown.

What is written has LIBERO's order: a first row without movement stands for the reset.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from mbrl_agents.data.episode import Episode
from mbrl_agents.data.formats.base import (
    DAMAGE,
    Part,
    ReadOptions,
    broken,
    goal_of,
    labels_from,
    shown_action,
)
from mbrl_agents.data.formats.columns import last_twice
from mbrl_agents.data.formats.libero_tasks import (
    canonical_pose,
    image_keywords,
    task_origin,
    upright,
)

CAMERAS = {"image": "agentview_rgb", "wrist": "eye_in_hand_rgb"}
OWN = "mbrl"
"""Group of a demonstration for what LIBERO has no place for."""

NO_MOVEMENT = np.array([0, 0, 0, 0, 0, 0, -1], dtype=np.float64)
ARM_JOINTS = slice(1, 8)
"""Of a state: time, then positions, the arm's seven first."""


class LiberoHdf5:
    """See the module."""

    name = "libero"
    summary = "LIBERO's demonstrations, an HDF5 file a task"

    def detects(self, path: Path) -> bool:
        found = _files(path)
        return bool(found) and all(file.name != "main_data.hdf5" for file in found)

    def parts(self, path: Path, options: ReadOptions) -> Iterator[Part]:
        replayer = _Replayer(options)
        with closing(replayer):
            for file in _files(path):
                yield from _demonstrations(file, options, replayer)

    def write(self, folder: Path, episodes: Iterable[Episode]) -> int:
        counts: Counter[Path] = Counter()
        for episode in episodes:
            task = str(episode.info.get("task_name") or "episodes").replace("/", "_")
            path = folder / f"{task}_demo.hdf5"
            with h5py.File(path, "a") as file:
                _append(file.require_group("data"), counts[path], episode, task)
            counts[path] += 1
        return counts.total()


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path] if path.suffix in (".hdf5", ".h5") else []
    return sorted(p for p in path.rglob("*") if p.suffix in (".hdf5", ".h5"))


def _demonstrations(file: Path, options: ReadOptions, replayer: _Replayer) -> Iterator[Part]:
    try:
        opened = h5py.File(file, "r")
    except OSError as error:
        yield broken(str(file), ValueError(f"is no readable HDF5 file: {error}"))
        return
    with opened:
        try:
            data = opened["data"]
            names = sorted(data, key=lambda name: (len(name), name))
            told = _told(file, data.attrs)
        except DAMAGE as error:
            reason = f"is no file of demonstrations, which have a group 'data': {error}"
            yield broken(str(file), ValueError(reason))
            return
        for name in names:
            yield Part(f"{file} {name}", partial(_read, data, name, told, options, replayer))


def _told(file: Path, attributes: Mapping[str, Any]) -> tuple[str, str, str]:
    """Task, folder and goal: of the BDDL file that the attributes name, else of the file's name."""
    bddl = Path(str(attributes.get("bddl_file_name") or file.name))
    problem = json.loads(str(attributes.get("problem_info") or "{}"))
    folder = bddl.parent.name or file.parent.name
    return bddl.name.removesuffix(".bddl"), folder, str(problem.get("language_instruction") or "")


def _read(
    data: h5py.Group,
    name: str,
    told: tuple[str, str, str],
    options: ReadOptions,
    replayer: _Replayer,
) -> Episode:
    demo, (task, folder, goal) = data[name], told
    actions = np.asarray(demo["actions"], dtype=np.float32)
    if actions.ndim != 2 or not len(actions):
        raise ValueError(f"actions have shape {actions.shape}; expected (T, A)")
    for key in ("rewards", "dones"):
        if demo[key].shape != (len(actions),):
            raise ValueError(
                f"{key!r} has shape {demo[key].shape}; {len(actions)} actions need as many"
            )
    own = demo.get(OWN)
    if options.replay:
        info = task_origin(task, folder, obs=options.obs, reward=options.reward)
        episode = replayer.replayed(info, demo, actions)
    else:
        episode = _recorded(demo, actions, own, task, folder, options)
    info = {**episode.info, "demo_key": name}
    if goal:
        info["goal"] = goal
    if own is not None and not options.replay:
        info = json.loads(own.attrs["info"])
    return replace(episode, info=info)


# ---------------------------------------------------------------------------------------------
# As recorded


def _recorded(
    demo: h5py.Group,
    actions: np.ndarray,
    own: h5py.Group | None,
    task: str,
    folder: str,
    options: ReadOptions,
) -> Episode:
    observed = _observed(demo["obs"], own, options)
    if not observed:
        raise ValueError("'obs' holds neither images nor the robot's states; replay the states")
    lengths = {key: len(value) for key, value in observed.items()}
    if set(lengths.values()) != {len(actions)}:
        raise ValueError(f"{len(actions)} actions need as many observations, got {lengths}")
    rewards = np.asarray(demo["rewards"], dtype=np.float32)
    executed, labels = actions, actions
    if own is not None:
        executed = np.asarray(own["executed_actions"], dtype=np.float32)
        labels = labels_from(actions, own["labelled"])
    if _observed_before(demo):
        observed = {key: last_twice(value) for key, value in observed.items()}
        end: dict[str, Any] = {"final_observation": "repeated"}
    else:
        if len(actions) < 2:
            raise ValueError("a single row is no step: LIBERO's rows show what actions led to")
        executed, labels, rewards = executed[1:], labels[1:], rewards[1:]
        end = {}
    terminated = bool(demo["dones"][-1])
    success = terminated and bool(rewards[-1] > 0)
    if own is not None:
        success = bool(own.attrs["success"])
    info = task_origin(task, folder, **image_keywords(observed.get("image"), observed.get("wrist")))
    return Episode(observed, executed, labels.copy(), rewards, terminated, success, info | end)


def _observed(
    obs: h5py.Group, own: h5py.Group | None, options: ReadOptions
) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    for key, name in CAMERAS.items():
        if name in obs:
            images = np.asarray(obs[name])
            if images.ndim != 4 or images.dtype != np.uint8:
                raise ValueError(
                    f"{name} has shape {images.shape} and dtype {images.dtype}; expected images "
                    "(T, H, W, 3) uint8"
                )
            found[key] = upright(images, options.images or "raw")
    if own is not None:
        return found | {key: np.asarray(value) for key, value in own["observations"].items()}
    if "ee_states" in obs and "gripper_states" in obs:
        states, fingers = np.asarray(obs["ee_states"]), np.asarray(obs["gripper_states"])
        opening = fingers[:, 0] - fingers[:, 1]
        found["pose"] = canonical_pose(states[:, :3], states[:, 3:6], opening)
    return found


def _observed_before(demo: h5py.Group) -> bool:
    """Whether a row's observation is that of its state, before the action; see the module."""
    obs = demo["obs"]
    if "states" not in demo or "joint_states" not in obs or len(demo["states"]) < 2:
        return False
    arm, seen = np.asarray(demo["states"])[:, ARM_JOINTS], np.asarray(obs["joint_states"])
    same = np.abs(seen - arm).mean()
    after = np.abs(seen[:-1] - arm[1:]).mean()
    return bool(same < after)


# ---------------------------------------------------------------------------------------------
# Replayed


class _Replayer:
    """Our environments, one task at a time, to put recorded states through."""

    def __init__(self, options: ReadOptions) -> None:
        from mbrl_agents.data.parallel import EnvCache

        self._options, self._cache = options, EnvCache()

    def replayed(self, info: dict[str, Any], demo: h5py.Group, actions: np.ndarray) -> Episode:
        from mbrl_agents.data.conditions import conditions_of
        from mbrl_agents.envs.libero.replay import replay

        if "env_id" not in info:
            raise ValueError(f"no suite of LIBERO has the task {info['task_name']!r}")
        if "states" not in demo:
            raise ValueError("has no 'states' to replay")
        told = json.loads(info["collection"])["env_kwargs"]
        kwargs = {**told, "assets": self._options.assets, "task": info["task"]}
        env = self._cache.get(info["env_id"], kwargs)
        libero: Any = env.unwrapped
        states = np.asarray(demo["states"], dtype=np.float64)
        moments = list(
            replay(libero, states, actions[-1], str(demo.attrs.get("model_file") or "") or None)
        )
        steps = len(moments) - 1
        if steps < 1:
            raise ValueError("its first state is a success already: nothing to learn")
        keys = moments[0].observation
        return Episode(
            observations={k: np.stack([m.observation[k] for m in moments]) for k in keys},
            actions=actions[:steps],
            labels=actions[:steps].copy(),
            rewards=np.array([m.reward for m in moments[1:]], dtype=np.float32),
            terminated=moments[-1].success,
            success=moments[-1].success,
            info={
                **info,
                "obs": self._options.obs,
                "reward": self._options.reward,
                "assets": libero.assets_kind,
                "robot_state": libero.robot_state,
                "conditions": json.dumps(conditions_of(env), sort_keys=True),
            },
        )

    def close(self) -> None:
        self._cache.close()


# ---------------------------------------------------------------------------------------------
# Writing


def _append(data: h5py.Group, number: int, episode: Episode, task: str) -> None:
    if episode.actions.shape[1:] != NO_MOVEMENT.shape:
        raise ValueError(
            f"LIBERO's files hold actions of 7 numbers, not {episode.actions.shape[1:]}"
        )
    demo = data.create_group(f"demo_{number}")
    obs = demo.create_group("obs")
    own = demo.create_group(OWN)
    seen = own.create_group("observations")
    for key, value in episode.observations.items():
        if key in CAMERAS and value.ndim == 4:
            raw = upright(value, "raw")
            chunks = (1, *raw.shape[1:])
            obs.create_dataset(CAMERAS[key], data=raw, compression="gzip", chunks=chunks)
        else:
            seen.create_dataset(key, data=value)
    _robot(obs, episode)

    def led(values: np.ndarray, first: Any) -> np.ndarray:
        return np.concatenate([np.asarray(first, values.dtype)[None], values])

    demo["actions"] = led(shown_action(episode).astype(np.float64), NO_MOVEMENT)
    demo["rewards"] = led(episode.rewards, 0)
    dones = np.zeros(len(episode) + 1, np.uint8)
    dones[-1] = episode.terminated
    demo["dones"] = dones
    own["executed_actions"] = led(episode.actions, NO_MOVEMENT)
    own["labelled"] = led(np.isfinite(episode.labels).all(-1), False)
    own.attrs["info"] = json.dumps(episode.info, sort_keys=True)
    own.attrs["success"] = episode.success
    demo.attrs["num_samples"] = len(episode) + 1
    data.attrs["num_demos"] = number + 1
    data.attrs["total"] = int(data.attrs.get("total", 0)) + len(episode) + 1
    data.attrs["bddl_file_name"] = f"{episode.info.get('suite') or '.'}/{task}.bddl"
    data.attrs["problem_info"] = json.dumps({"language_instruction": goal_of(episode)})
    data.attrs["macros_image_convention"] = "opengl"


def _robot(obs: h5py.Group, episode: Episode) -> None:
    """The robot's states as LIBERO names them, where the episode has such poses."""
    pose = episode.observations.get("pose")
    if "suite" not in episode.info or pose is None or pose.ndim != 2 or pose.shape[1] < 7:
        return
    fingers = pose[:, 6:8]
    if episode.info.get("robot_state") != "libero8":
        fingers = pose[:, 6:7] * np.array([0.5, -0.5], np.float32)
    obs["ee_states"], obs["ee_pos"], obs["ee_ori"] = pose[:, :6], pose[:, :3], pose[:, 3:6]
    obs["gripper_states"] = fingers


__all__ = ["LiberoHdf5"]
