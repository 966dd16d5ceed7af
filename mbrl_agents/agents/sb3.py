"""Stable-Baselines3's own algorithms as rows of the same table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm, maybe_make_env
from stable_baselines3.common.preprocessing import is_image_space

from mbrl_agents.agents.suitability import check_suits
from mbrl_agents.config import resolve_config
from mbrl_agents.data.episode import Episode, check_spaces
from mbrl_agents.names import resolve
from mbrl_agents.registry import BaselineMethod


@dataclass(frozen=True)
class BaselineSettings:
    """What belongs to every training of a baseline, and to none of SB3's arguments.

    Attributes:
        checkpoint_every: environment steps between checkpoints.
    """

    checkpoint_every: int = 10_000

    def __post_init__(self) -> None:
        if self.checkpoint_every < 1:
            raise ValueError(f"checkpoint_every must be at least 1, got {self.checkpoint_every}")

    def arguments(self) -> dict[str, Any]:
        """Those of SB3's constructor."""
        ours = {"net_arch", *(field.name for field in fields(BaselineSettings))}
        return {k: v for k, v in vars(self).items() if k not in ours}


@dataclass(frozen=True)
class SACSettings(BaselineSettings):
    """Settings of SAC; what is not named here stays at SB3's default."""

    learning_rate: float = 3e-4
    buffer_size: int = 200_000
    learning_starts: int = 500
    batch_size: int = 256
    gamma: float = 0.99
    tau: float = 0.005
    train_freq: int = 1
    gradient_steps: int = 1
    net_arch: tuple[int, ...] = (256, 256)

    def notes(self) -> list[str]:
        """What has to be known to compare its budget with those of others."""
        per = f"{self.gradient_steps} per {self.train_freq}"
        return [f"gradient steps per environment steps: {per}"]


@dataclass(frozen=True)
class DQNSettings(BaselineSettings):
    """Settings of DQN; what is not named here stays at SB3's default."""

    learning_rate: float = 1e-4
    buffer_size: int = 200_000
    learning_starts: int = 500
    batch_size: int = 32
    gamma: float = 0.99
    tau: float = 1.0
    train_freq: int = 4
    gradient_steps: int = 1
    target_update_interval: int = 1000
    exploration_fraction: float = 0.1
    exploration_final_eps: float = 0.05
    net_arch: tuple[int, ...] = (256, 256)

    def notes(self) -> list[str]:
        """What has to be known to compare its budget with those of others."""
        return [
            f"gradient steps per environment steps: {self.gradient_steps} per {self.train_freq}"
        ]


@dataclass(frozen=True)
class PPOSettings(BaselineSettings):
    """Settings of PPO; what is not named here stays at SB3's default."""

    learning_rate: float = 3e-4
    n_steps: int = 1024
    batch_size: int = 128
    n_epochs: int = 10
    gamma: float = 0.99
    gae_lambda: float = 0.95
    ent_coef: float = 0.0
    net_arch: tuple[int, ...] = (256, 256)

    def notes(self) -> list[str]:
        """Nothing has to be known."""
        return []


class DemonstratedSAC(SAC):
    """SAC that does not learn before `add_demonstrations` filled its replay buffer."""

    def learn(self, *args: Any, **kwargs: Any) -> DemonstratedSAC:
        """SB3's ``learn``.

        Raises:
            ValueError: the replay buffer is empty.
        """
        if self.replay_buffer is None or self.replay_buffer.size() == 0:
            raise ValueError("'sb3-sac-demos' needs demonstrations: pass episodes")
        return super().learn(*args, **kwargs)


def make_baseline(
    recipe: BaselineMethod,
    env: Any,
    *,
    seed: int | None = None,
    overrides: Mapping[str, Any],
    episodes: Sequence[Episode] = (),
    tensorboard_log: str | None = None,
    verbose: int = 0,
    device: str = "auto",
) -> BaseAlgorithm:
    """An SB3 algorithm, ready to ``learn``; see `mbrl_agents.make_agent`.

    Args:
        episodes: demonstrations put into SAC's replay buffer; "sb3-sac-demos" does not learn
            without them.
        seed: SB3 seeds the global generators with it.
        device: torch device; "auto" is a GPU where there is one.

    Raises:
        ValueError: for an unknown setting.
        UsageError: for actions it does not take.
    """
    env = maybe_make_env(env, verbose)
    check_suits(recipe.name, env.observation_space, env.action_space)
    model = build_baseline(
        resolve(recipe.target),
        _policy_name(env),
        env,
        resolve_config(recipe.name, overrides).baseline,
        seed=seed or 0,
        tensorboard_log=tensorboard_log,
        verbose=verbose,
        device=device,
    )
    if isinstance(model, DemonstratedSAC):
        add_demonstrations(model, episodes)
    return model


def build_baseline(
    algorithm: type[BaseAlgorithm], policy: str, env: Any, settings: Any, **arguments: Any
) -> BaseAlgorithm:
    """An algorithm of SB3 by the settings of this module; further arguments are SB3's."""
    kwargs = {"net_arch": list(settings.net_arch)}
    return algorithm(policy, env, policy_kwargs=kwargs, **settings.arguments(), **arguments)


def add_demonstrations(model: SAC, episodes: Sequence[Episode]) -> int:
    """Put all steps of ``episodes`` into the replay buffer; returns how many went in.

    The buffer takes one step per environment at a time, so a remainder of fewer steps than
    environments is left out.  Training may begin at once: ``learning_starts`` becomes 0.

    Raises:
        ValueError: for episodes of other spaces.
    """
    check_spaces(episodes, model.observation_space, model.action_space)
    buffer, space, count = model.replay_buffer, model.action_space, model.n_envs
    assert buffer is not None
    assert isinstance(space, spaces.Box)
    rows: list[tuple[Any, Any, np.ndarray, float, bool, dict[str, Any]]] = []
    added = 0
    for step in _steps(episodes, isinstance(model.observation_space, spaces.Dict)):
        rows.append(step)
        if len(rows) == count:
            obs, following, actions, rewards, dones, infos = zip(*rows, strict=True)
            scaled = model.policy.scale_action(np.stack(actions))
            buffer.add(
                _stack(obs),
                _stack(following),
                scaled,
                np.array(rewards, dtype=np.float32),
                np.array(dones, dtype=bool),
                list(infos),
            )
            added += count
            rows = []
    model.learning_starts = 0
    return added


def _steps(
    episodes: Sequence[Episode], as_dict: bool
) -> Iterator[tuple[Any, Any, np.ndarray, float, bool, dict[str, Any]]]:
    for episode in episodes:

        def at(t: int, episode: Episode = episode) -> Any:
            entries = {key: value[t] for key, value in episode.observations.items()}
            return entries if as_dict else entries["obs"]

        for t in range(len(episode)):
            done = t + 1 == len(episode)
            info = {"TimeLimit.truncated": done and not episode.terminated}
            yield at(t), at(t + 1), episode.actions[t], float(episode.rewards[t]), done, info


def _stack(entries: Sequence[Any]) -> Any:
    if isinstance(entries[0], dict):
        return {key: np.stack([entry[key] for entry in entries]) for key in entries[0]}
    return np.stack(entries)


NATURE_CNN = 36
"""Pixels a side that the three convolutions of Stable-Baselines3's CnnPolicy need at least."""


def _policy_name(env: Any) -> str:
    """The policy for an environment's observations; images too small for its CNN are flattened."""
    space = env.observation_space
    if isinstance(space, spaces.Dict):
        return "MultiInputPolicy"
    if is_image_space(space) and sorted(space.shape or ())[1] >= NATURE_CNN:
        return "CnnPolicy"
    return "MlpPolicy"


__all__ = [
    "DQN",
    "PPO",
    "SAC",
    "BaselineSettings",
    "DQNSettings",
    "DemonstratedSAC",
    "PPOSettings",
    "SACSettings",
    "build_baseline",
    "make_baseline",
]
