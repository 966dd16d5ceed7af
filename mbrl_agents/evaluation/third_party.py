"""Policies of other projects: loaded by name, shown the observations that they were trained on.

A policy is a class of the user's own, ``MODULE:CLASS``, with either

- ``predict(observation, state=None, episode_start=None, deterministic=True) -> (action, state)``,
  as Stable-Baselines3's models have it, or
- ``select_action(observation) -> action``, and ``reset()`` where it keeps something between steps,
  as LeRobot's policies have them.

A process builds a policy once and shows it one environment after another: what it keeps for itself
beyond an episode it keeps across tasks.

``observation_format`` of the class says what it is shown: "mbrl", the environment's own
observation, "lerobot" or "openvla" (see `mbrl_agents.envs.libero.published`).
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np

from mbrl_agents.envs.libero.published import (
    FORMATS,
    batched,
    check_shows_published,
    instruction_of,
    published_observation,
)

OWN_FORMAT = "mbrl"
OBSERVATION_FORMATS = (OWN_FORMAT, *FORMATS)
"""The values of ``observation_format``."""

METHODS = ("predict", "select_action")
"""What a policy is asked by; the first that it has."""


def load_policy_class(target: str) -> Any:
    """The class that "MODULE:CLASS" names; modules in the current folder are found too.

    Raises:
        ValueError: for a name of another form, a module or class that is not there, and a class
            that has neither ``predict`` nor ``select_action``.
    """
    module_name, colon, name = target.partition(":")
    if not (module_name and colon and name):
        raise ValueError(f"{target!r} names no policy: write MODULE:CLASS, as in my_policy:Policy")
    if module_name.startswith("."):
        raise ValueError(
            f"{target!r} is relative: name the module as it is imported, as in my_policy:Policy"
        )
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise ValueError(f"{module_name} imports {error.name!r}, which is missing") from error
        raise ValueError(
            f"there is no module {module_name!r}, neither installed nor in {os.getcwd()}"
        ) from error
    for part in name.split("."):
        if not hasattr(found, part):
            classes = [n for n, v in vars(found).items() if inspect.isclass(v)]
            known = f"; its classes: {', '.join(classes)}" if classes else ""
            raise ValueError(f"module {module_name!r} has no {part!r}{known}")
        found = getattr(found, part)
    if not callable(found):
        raise ValueError(f"{target} is not a class")
    if inspect.isclass(found):
        _method_of(found, target)
    return found


def format_of(policy_class: Any, asked: str | None = None) -> str:
    """The observation format: as asked for, or what the class says, or "mbrl".

    Raises:
        ValueError: for an unknown one; the message lists the valid ones.
    """
    chosen = asked or getattr(policy_class, "observation_format", OWN_FORMAT)
    if chosen not in OBSERVATION_FORMATS:
        raise ValueError(
            f"unknown observation format {chosen!r}; valid: {', '.join(OBSERVATION_FORMATS)}"
        )
    return str(chosen)


def check_settings(policy_class: Any, target: str, settings: Mapping[str, Any]) -> None:
    """Refuse settings that the class does not take, without building it.

    Raises:
        ValueError: with what it takes.
    """
    try:
        signature = inspect.signature(policy_class)
    except (TypeError, ValueError):  # written in C: building it will tell
        return
    try:
        signature.bind(**settings)
    except TypeError as error:
        raise ValueError(f"cannot build {target}{signature}: {error}") from error


@dataclass(frozen=True)
class ThirdPartyPredictor:
    """Factory of a third party's policy; picklable, so worker processes can use it.

    The policy object that a process built last is kept until another class or other settings are
    asked for: weights are read once, not for every task.

    Attributes:
        target: "MODULE:CLASS".
        settings: keyword arguments of the class, as pairs.
        observation_format: what it is shown, one of ``OBSERVATION_FORMATS``.
    """

    target: str
    settings: tuple[tuple[str, Any], ...] = ()
    observation_format: str = OWN_FORMAT

    def __call__(self, env: gymnasium.Env) -> ThirdPartyPolicy:
        if self.observation_format != OWN_FORMAT:
            check_shows_published(env)
        policy = _kept_policy(load_policy_class(self.target), self.settings)
        return ThirdPartyPolicy(policy, env, self.target, self.observation_format)


_KEPT: list[tuple[Any, tuple[tuple[str, Any], ...], Any]] = []
"""At most one class, its settings, and the policy built from them."""


def _kept_policy(policy_class: Any, settings: tuple[tuple[str, Any], ...]) -> Any:
    """The policy of this process: the one built last, where it was built in the same way."""
    if not (_KEPT and _KEPT[0][0] is policy_class and _KEPT[0][1] == settings):
        _KEPT.clear()  # before building: there may be room for one only
        _KEPT.append((policy_class, settings, policy_class(**dict(settings))))
    return _KEPT[0][2]


class ThirdPartyPolicy:
    """A third party's policy object behind ``predict``, for one environment.

    Args:
        policy: the object.
        env: the environment it acts in, which tells the task's sentence.
        name: for messages.
        observation_format: what it is shown.

    Raises:
        ValueError: when it has neither ``predict`` nor ``select_action``.
    """

    def __init__(self, policy: Any, env: gymnasium.Env, name: str, observation_format: str) -> None:
        self._policy, self._env, self._name = policy, env, name
        self._format = observation_format
        self._method = _method_of(policy, name)

    def set_random_seed(self, seed: int | None = None) -> None:
        """Seed the policy where it can be."""
        seeded = getattr(self._policy, "set_random_seed", None)
        if seeded is not None:
            seeded(seed)

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, Any]:
        """The policy's action ``(7,)`` and its next state.

        Raises:
            ValueError: for an answer that is no action.
        """
        shown = self._shown(observation)
        if self._method == "select_action":
            if episode_start is not None and np.all(episode_start):
                reset = getattr(self._policy, "reset", None)
                if reset is not None:
                    reset()
            if self._format == "lerobot":
                shown = batched(shown)
            return self._action(self._policy.select_action(shown)), None
        answer = self._policy.predict(shown, state, episode_start, deterministic)
        if not isinstance(answer, tuple) or len(answer) != 2:
            raise ValueError(f"predict of {self._name} must return (action, state), got {answer!r}")
        return self._action(answer[0]), answer[1]

    def _shown(self, observation: Any) -> Any:
        if self._format == OWN_FORMAT:
            return observation
        base: Any = self._env.unwrapped
        instruction = instruction_of(base.task_names[base.task_index])
        return published_observation(observation, instruction, self._format)

    def _action(self, action: Any) -> np.ndarray:
        """An action as the environment takes it: no tensor, no batch of one."""
        if hasattr(action, "detach"):
            action = action.detach().to("cpu").float().numpy()
        array = np.asarray(action)
        shape = self._env.action_space.shape or ()
        if array.shape == (1, *shape):
            array = array[0]
        if array.shape != shape:
            raise ValueError(f"{self._name} returned an action of shape {array.shape}, not {shape}")
        if isinstance(self._env.action_space, gymnasium.spaces.Box):
            array = array.astype(self._env.action_space.dtype)
        return array


def _method_of(policy: Any, name: str) -> str:
    for method in METHODS:
        if callable(getattr(policy, method, None)):
            return method
    raise ValueError(f"{name} has neither of the methods {' and '.join(METHODS)}")


__all__ = [
    "OBSERVATION_FORMATS",
    "ThirdPartyPolicy",
    "ThirdPartyPredictor",
    "check_settings",
    "format_of",
    "load_policy_class",
]
