"""One recorded episode: by the demonstrator, disturbed or not, at random, or by an agent."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, Literal, get_args

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import load_env_creator

from mbrl_agents.data.conditions import conditions_of
from mbrl_agents.data.episode import Episode
from mbrl_agents.data.noise import Disturbance, NoiseConfig
from mbrl_agents.data.rollout import Acting, Predictor, play, succeeded

Source = Literal["expert", "noisy_expert", "random", "agent"]
SOURCES: tuple[str, ...] = get_args(Source)


def run_episode(
    env: gymnasium.Env,
    *,
    source: str,
    seed: np.random.SeedSequence,
    noise: NoiseConfig | None = None,
    predictor: Predictor | None = None,
    label: bool = False,
) -> Episode:
    """Run and record one episode until it terminates or is truncated.

    Raises:
        ValueError: the source needs a demonstrator or predictor that is not there, or actions are
            neither a Box nor a Discrete, or Discrete where ``source`` is "noisy_expert".
    """
    return run_episode_with_views(
        env, (), source=source, seed=seed, noise=noise, predictor=predictor, label=label
    )[0]


def run_episode_with_views(
    env: gymnasium.Env,
    views: Sequence[str],
    *,
    source: str,
    seed: np.random.SeedSequence,
    noise: NoiseConfig | None = None,
    predictor: Predictor | None = None,
    label: bool = False,
) -> list[Episode]:
    """Run one episode and record it as the environment shows it and under other observations.

    Args:
        views: other values of the environment's keyword ``obs``; see `views_of`.
        source, seed, noise, predictor, label: see `run_episode`.

    Returns:
        The episode, and for each view the one that an environment with that ``obs`` would have
        given for the same seed.

    Raises:
        ValueError: see `run_episode`; or the environment has no such view.
    """
    base: Any = env.unwrapped
    if unknown := [view for view in views if view not in views_of(type(base))]:
        known = ", ".join(views_of(type(base))) or "none"
        raise ValueError(f"{type(base).__name__} has no view {unknown[0]!r} (valid: {known})")
    reset_seed = int(seed.generate_state(1)[0])
    rng = np.random.default_rng(seed.spawn(1)[0])
    acting = None if predictor is None else Acting(predictor, reset_seed, deterministic=False)
    chooser = _Chooser(env, source, rng, noise or NoiseConfig(), acting, label)
    seen: list[list[dict[str, np.ndarray]]] = [[] for _ in (None, *views)]
    rewards = []
    for step in play(env, chooser, seed=reset_seed):
        shown = [step.observation, *(base.observe(view) for view in views)]
        for observations, observation in zip(seen, shown, strict=True):
            observations.append(_as_dict(observation))
        rewards.append(step.reward)
    first = Episode(
        observations=_stacked(seen[0]),
        actions=np.stack(chooser.actions),
        labels=np.stack(chooser.labels),
        rewards=np.array(rewards[1:], dtype=np.float32),
        terminated=step.terminated,
        success=succeeded(step.info),
        info={"seed": reset_seed, "source": source, **_describe(env)},
    )
    others = (
        replace(
            first,
            observations=_stacked(observations),
            info={"seed": reset_seed, "source": source, **_describe(env, view)},
        )
        for view, observations in zip(views, seen[1:], strict=True)
    )
    return [first, *others]


def views_of(kind: object) -> tuple[str, ...]:
    """The values of ``obs`` under which environments can show one moment; empty for most.

    Classes of those that can have an attribute ``views``, a tuple of them, and the methods
    ``observe(obs)`` and ``conditions_as(obs)``, as `envs.libero.env.LiberoEnv` has.

    Args:
        kind: the class, or a registered environment's id.
    """
    if isinstance(kind, str):
        # "module:Name-v0" is registered as Name-v0 once the module is imported.
        spec = gymnasium.registry.get(kind.rpartition(":")[2])
        point = None if spec is None else spec.entry_point
        kind = load_env_creator(point) if isinstance(point, str) else point
    views = getattr(kind, "views", ())
    # Somebody else may mean something else by the name.
    return views if isinstance(views, tuple) else ()


class _Chooser:
    """Chooses the actions of one episode by its source, and keeps them with their labels.

    Attributes:
        actions, labels: ``(A,)`` float32 each; of a Discrete ``(1,)``, the action's number.
    """

    def __init__(
        self,
        env: gymnasium.Env,
        source: str,
        rng: np.random.Generator,
        noise: NoiseConfig,
        acting: Acting | None,
        label: bool,
    ) -> None:
        self.actions: list[np.ndarray] = []
        self.labels: list[np.ndarray] = []
        self._env, self._source, self._rng, self._acting = env, source, rng, acting
        self._asks_expert = label or source in ("expert", "noisy_expert")
        space = env.action_space
        if not isinstance(space, spaces.Box | spaces.Discrete):
            raise ValueError(f"episodes need a Box or Discrete action space, got {space}")
        if source == "agent" and acting is None:
            raise ValueError("source 'agent' needs a predictor")
        self._space: spaces.Box | spaces.Discrete = space
        self._disturb: Disturbance | None = None
        # Drawn from ``rng`` for every source: what a seed collects must not change.
        if source == "noisy_expert" or isinstance(space, spaces.Box):
            self._disturb = Disturbance.of_env(noise, env, rng)

    @cached_property
    def _expert(self) -> Callable[[], Any] | None:
        """The demonstrator, looked up at the first action: a reset may draw another task."""
        if not self._asks_expert:
            return None
        return _expert(self._env, required=self._source in ("expert", "noisy_expert"))

    def __call__(self, observation: Any) -> Any:
        """The action to take now, as the environment takes it."""
        space = self._space
        label = None if self._expert is None else _vector(self._expert())
        if self._source == "random":
            if isinstance(space, spaces.Box):
                low, high = space.low.astype(np.float64), space.high.astype(np.float64)
                action = _vector(self._rng.uniform(low, high))
            else:
                action = _vector(space.start + self._rng.integers(space.n))
        elif self._source == "agent":
            assert self._acting is not None
            action = _vector(self._acting(observation))
        else:
            assert label is not None
            action = label
            if self._source == "noisy_expert":
                assert self._disturb is not None
                action = self._disturb(label)
        self.actions.append(action)
        self.labels.append(np.full_like(action, np.nan) if label is None else label)
        return action if isinstance(space, spaces.Box) else np.int64(action[0])


def _vector(action: Any) -> np.ndarray:
    """An action as it is recorded: float32; of a Discrete, its number as a vector of one."""
    return np.atleast_1d(np.asarray(action, dtype=np.float32))


def _expert(env: gymnasium.Env, *, required: bool) -> Callable[[], Any] | None:
    base: Any = env.unwrapped
    if hasattr(base, "expert_action") and getattr(base, "has_expert", True):
        expert: Callable[[], Any] = base.expert_action
        return expert
    if required:
        name = env.spec.id if env.spec is not None else type(base).__name__
        raise ValueError(
            f"{name} has no scripted demonstrator for this task; use source 'random' or 'agent'"
        )
    return None


def _describe(
    env: gymnasium.Env, view: str | None = None
) -> dict[str, str | int | float | bool | None]:
    """Origin of the episode, as far as the environment tells."""
    base: Any = env.unwrapped
    described: dict[str, str | int | float | bool | None] = {}
    index = getattr(base, "task_index", None)
    if index is not None:
        described["task"] = int(index)
        names = getattr(base, "task_names", None)
        if names:
            described["task_name"] = str(names[int(index)])
    told = ("suite", "suite"), ("assets", "assets_kind"), ("robot_state", "robot_state")
    for name, attribute in told:
        value = getattr(base, attribute, None)
        if value is not None:
            described[name] = str(getattr(value, "name", value))
    conditions = conditions_of(env, view)
    if conditions is not None:
        described["conditions"] = json.dumps(conditions, sort_keys=True)
    return described


def _stacked(observations: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {key: np.stack([o[key] for o in observations]) for key in observations[0]}


def _as_dict(observation: Any) -> dict[str, np.ndarray]:
    if isinstance(observation, dict):
        return {key: np.array(value) for key, value in observation.items()}
    return {"obs": np.array(observation)}


__all__ = ["SOURCES", "Source", "run_episode", "run_episode_with_views", "views_of"]
