"""Reference policies of every comparison: random actions and the scripted demonstrator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv

from mbrl_agents.names import resolve
from mbrl_agents.registry import ReferenceMethod


def make_reference(
    recipe: ReferenceMethod,
    env: Any,
    *,
    seed: int | None = None,
    overrides: Mapping[str, Any],
) -> Any:
    """A reference policy; see `mbrl_agents.make_agent`.

    Raises:
        ValueError: for settings, of which there are none.
    """
    if overrides:
        raise ValueError(f"method {recipe.name!r} has no settings, got {sorted(overrides)}")
    return resolve(recipe.target)(env, seed=seed or 0)


def _batch(observation: Any, space: spaces.Space | None) -> int | None:
    """How many environments an observation is of; None for a single, unbatched one."""
    if isinstance(observation, dict):
        key = next(iter(observation))
        inner = space.spaces[key] if isinstance(space, spaces.Dict) else None
        return _batch(observation[key], inner)
    array = np.asarray(observation)
    single = len(space.shape or ()) if space is not None else 1
    return None if array.ndim == single else len(array)


class RandomAgent:
    """Uniformly random actions, with ``predict`` as Stable-Baselines3 has it.

    The draws depend on ``seed`` and on the number of calls, which travels in the state.

    Args:
        env: an environment or `VecEnv` (for its spaces), or an id; actions are a Box or Discrete.
        seed: of the draws.
    """

    def __init__(self, env: Any, *, seed: int = 0) -> None:
        if isinstance(env, str):
            env = gymnasium.make(env)
        self.observation_space: spaces.Space = env.observation_space
        self.action_space: spaces.Box | spaces.Discrete = env.action_space
        self.seed = seed

    def set_random_seed(self, seed: int | None = None) -> None:
        """Seed the draws."""
        if seed is not None:
            self.seed = seed

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, Any]:
        """Random actions and the number of calls so far."""
        calls = int(state[0]) if state is not None else 0
        batch = _batch(observation, self.observation_space)
        # Not [seed, calls]: at the first call that is the stream of an environment that was reset
        # with this seed, and actions would know where things were placed.
        words = np.random.SeedSequence(self.seed, spawn_key=(calls,))
        generator = np.random.default_rng(words)
        space = self.action_space
        single = space.shape or ()
        shape = single if batch is None else (batch, *single)
        if isinstance(space, spaces.Discrete):
            actions = np.asarray(space.start + generator.integers(space.n, size=shape))
        else:
            actions = generator.uniform(space.low, space.high, shape)
        return actions.astype(space.dtype), (calls + 1,)


class ExpertAgent:
    """The environment's own demonstrator, with ``predict`` as Stable-Baselines3 has it.

    It asks the environment for the action and so knows more than any observation; ``predict``
    must be called on the environment's present observation.

    Args:
        env: an environment or `VecEnv` whose environments have ``expert_action()``.
        seed: unused; the demonstrator draws nothing.

    Raises:
        ValueError: when the environment has no demonstrator.
    """

    def __init__(self, env: Any, *, seed: int = 0) -> None:
        if isinstance(env, str):
            raise ValueError("the expert needs the environment it acts in, not its id")
        self.env = env
        self.observation_space: spaces.Space = env.observation_space
        self.action_space: spaces.Box = env.action_space
        if not isinstance(env, VecEnv) and not hasattr(env.unwrapped, "expert_action"):
            raise ValueError(f"{env} has no demonstrator")

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, Any]:
        """The demonstrator's actions for the present state; the state is passed through."""
        if isinstance(self.env, VecEnv):
            actions = np.stack(self.env.env_method("expert_action"))
        else:
            actions = np.asarray(self.env.unwrapped.expert_action())
            if _batch(observation, self.observation_space) is not None:
                actions = actions[None]
        return actions.astype(self.action_space.dtype), state
