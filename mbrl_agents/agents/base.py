"""What an agent is before it is trained: Stable-Baselines3's set-up, logs, files."""

from __future__ import annotations

import io
import os
import sys
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm, maybe_make_env
from stable_baselines3.common.logger import HumanOutputFormat, Logger, configure
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.utils import safe_mean

from mbrl_agents.agents.origins import origin_of, tells_success, warn_of_another
from mbrl_agents.agents.parts import Parts, build_parts
from mbrl_agents.agents.policy import AgentPolicy
from mbrl_agents.agents.saving import SavedAgent, read_saved, write_run, zip_bytes
from mbrl_agents.agents.suitability import check_suits
from mbrl_agents.config import MethodConfig, resolve_config
from mbrl_agents.data.episode import observations_told, same_observations
from mbrl_agents.data.files import atomic

Self = TypeVar("Self", bound="BaseAgent")


class BaseAgent(BaseAlgorithm):
    """An algorithm with a planner on top or without, saved without pickle.

    Args:
        method: name of a method, or its resolved settings.
        env: an environment, a `VecEnv`, an id, or None (give one later with ``set_env``).
        seed: of weights, batches and noise; ``training.seed`` when None.
        parts: ready-made objects in place of those the settings describe.
        tensorboard_log: folder of SB3's TensorBoard runs.
        verbose: SB3's verbosity.
        device: torch device; "auto" is a GPU where there is one, as in SB3.
        observation_space, action_space: in place of ``env``'s.

    Raises:
        ValueError: for an unknown method.
        UsageError: for spaces it cannot work on, or a planner that it has no policy for.
    """

    policy: AgentPolicy  # type: ignore[assignment]
    policy_aliases: ClassVar[dict[str, Any]] = {}

    def __init__(
        self,
        method: str | MethodConfig,
        env: GymEnv | str | None = None,
        *,
        seed: int | None = None,
        parts: Parts | None = None,
        tensorboard_log: str | None = None,
        verbose: int = 0,
        device: torch.device | str = "auto",
        observation_space: spaces.Space | None = None,
        action_space: spaces.Space | None = None,
    ) -> None:
        env = None if env is None else maybe_make_env(env, verbose)
        if isinstance(method, str):
            method = resolve_config(method, success=tells_success(env))
        self.config = method
        self.settings: Any = self.config.training
        self.parts = parts or Parts()
        super().__init__(
            policy=AgentPolicy,
            env=env,
            learning_rate=self.settings.learning_rate,
            tensorboard_log=tensorboard_log,
            verbose=verbose,
            device=device,
            support_multi_env=True,
            seed=self.settings.seed if seed is None else seed,
        )
        if env is None:
            if observation_space is None or action_space is None:
                raise ValueError("need an environment, or both of its spaces")
            self.observation_space, self.action_space = observation_space, action_space
        check_suits(self.config.method, self.observation_space, self.action_space)
        self.knows_success, self.origin = tells_success(self.env), origin_of(self.env)
        self._check_rewards()
        self.metrics: dict[str, float] = {}
        self.training_seconds = 0.0
        self.fitted = False
        self._setup_model()

    def _setup_model(self) -> None:
        seed = int(self.seed or 0)
        self.algorithm, planner, objective = build_parts(
            self.config, self.observation_space, self.action_space, seed=seed, given=self.parts
        )
        self.policy = AgentPolicy(
            self.observation_space,
            self.action_space,
            self.algorithm,
            planner,
            objective,
            explore_std=self.settings.explore_std,
            seed=seed,
        ).to(self.device)
        self.set_random_seed(self.seed)

    def _check_rewards(self) -> None:
        """Warn of an objective that takes rewards for what they are not."""
        objective = self.config.sections.get("objective")
        if self.env is None or not getattr(objective, "cumulative", False):
            return
        try:
            change = self.env.get_attr("reward_is_change")
        except AttributeError:  # most environments do not say
            return
        if not all(change):
            warnings.warn(
                "this environment's reward says how good a state is, and objective.cumulative "
                "takes it for a change of that: plans will prefer to wait; set "
                "objective.cumulative=false objective.end_reward=4, or take another reward",
                stacklevel=3,
            )

    def set_random_seed(self, seed: int | None = None) -> None:
        """Seed spaces, environments and planning; unlike SB3, no global generator is touched."""
        if seed is None:
            return
        self.policy.seed = seed
        self.action_space.seed(seed)
        if self.env is not None:
            self.env.seed(seed)

    # -- logs ---------------------------------------------------------------------------

    def _log_rollouts(self) -> None:
        """Log what own experience came to, over environment steps."""
        if self.ep_info_buffer:
            returns = safe_mean([entry["r"] for entry in self.ep_info_buffer])
            lengths = safe_mean([entry["l"] for entry in self.ep_info_buffer])
            self.logger.record("rollout/ep_rew_mean", returns)
            self.logger.record("rollout/ep_len_mean", lengths)
        if self.ep_success_buffer:
            self.logger.record("rollout/success_rate", safe_mean(self.ep_success_buffer))
        self.logger.record("time/total_timesteps", self.num_timesteps, exclude="tensorboard")
        self.logger.dump(self.num_timesteps)

    def _ensure_logger(self, run: Path | None) -> None:
        if self.__dict__.get("_logger") is not None and self._custom_logger:
            return
        shown = self.verbose >= 1
        if run is not None:
            self._logger = configure(str(run), ["tensorboard"] + ["stdout"] * shown)
        elif self.__dict__.get("_logger") is None:
            self._logger = Logger(None, [HumanOutputFormat(sys.stdout)] if shown else [])

    # -- files --------------------------------------------------------------------------

    def _saved(self) -> SavedAgent:
        return SavedAgent(
            config=self.config,
            observation_space=self.observation_space,
            action_space=self.action_space,
            weights={name: m.state_dict() for name, m in self.algorithm.modules.items()},
            facts={
                "seed": int(self.seed or 0),
                "num_timesteps": self.num_timesteps,
                "fitted": self.fitted,
                "training_seconds": self.training_seconds,
                "metrics": self.metrics,
                "parameters": self.policy.parameter_counts(),
                "ready_made": self.parts.names(),
                "knows_success": self.knows_success,
                "origin": self.origin,
            },
        )

    def save(
        self,
        path: str | os.PathLike[str] | io.BufferedIOBase,
        exclude: Iterable[str] | None = None,
        include: Iterable[str] | None = None,
    ) -> None:
        """Write a zip of safetensors and text; ``.zip`` is added to a path without a suffix.

        Recorded experience is not part of it.  ``exclude`` and ``include`` have no meaning here:
        nothing is pickled.
        """
        data = zip_bytes(self._saved())
        if isinstance(path, io.BufferedIOBase):
            path.write(data)
            return
        target = Path(path)
        if target.suffix == "":
            target = target.with_suffix(".zip")
        with atomic(target) as temporary:
            temporary.write_bytes(data)

    def save_run(self, folder: str | os.PathLike[str], overrides: Sequence[str] = ()) -> None:
        """Write the agent as a run folder."""
        write_run(Path(folder), self._saved(), overrides)

    @classmethod
    def load(  # type: ignore[override]
        cls: type[Self],
        path: str | os.PathLike[str] | io.BufferedIOBase,
        env: GymEnv | None = None,
        device: torch.device | str = "auto",
        custom_objects: dict[str, Any] | None = None,
        print_system_info: bool = False,
        force_reset: bool = True,
        **arguments: Any,
    ) -> Self:
        """Load a run folder, or a file `save` wrote; ``.zip`` may be left out.

        Args:
            env: set on the agent, after its spaces were checked.
            device: torch device.
            **arguments: further arguments of the agent (``parts``, ``tensorboard_log``,
                ``verbose``).  ``custom_objects`` and ``print_system_info`` are SB3's and ignored:
                nothing is pickled.

        Raises:
            FileNotFoundError: when there is nothing at ``path`` or a file of the run is missing.
            ValueError: when it is not a saved agent, ``env`` has other spaces, or it was built
                of ready-made objects that were not given again.
        """
        saved = read_saved(path)
        return cls.from_saved(saved, env, device=device, force_reset=force_reset, **arguments)

    @classmethod
    def from_saved(
        cls: type[Self],
        saved: SavedAgent,
        env: GymEnv | None = None,
        *,
        force_reset: bool = True,
        parts: Parts | None = None,
        **arguments: Any,
    ) -> Self:
        """The agent that was saved; see `load`."""
        (parts or Parts()).require(saved.facts.get("ready_made", []))
        agent = cls(
            saved.config,
            None,
            seed=saved.facts["seed"],
            parts=parts,
            observation_space=saved.observation_space,
            action_space=saved.action_space,
            **arguments,
        )
        saved.load_into(agent.algorithm.modules)
        agent.num_timesteps = int(saved.facts["num_timesteps"])
        agent.fitted = bool(saved.facts["fitted"])
        agent.training_seconds = float(saved.facts["training_seconds"])
        agent.metrics = dict(saved.facts["metrics"])
        # Earlier versions wrote neither.
        agent.knows_success = bool(saved.facts.get("knows_success", True))
        agent.origin = saved.facts.get("origin")
        if env is not None:
            agent.set_env(env, force_reset=force_reset)
        return agent

    def set_env(self, env: GymEnv, force_reset: bool = True) -> None:
        """Set the environment; unlike SB3's own agents, of any number of environments.

        Warns (`OtherTaskWarning`) of another environment or task than that of its training, whose
        spaces are equal: it may act and learn there, but nothing says that it knows how.

        Raises:
            ValueError: when its spaces are not the agent's.
        """
        wrapped = self._wrap_env(env, self.verbose)
        check_spaces_of_env(self, wrapped, "the agent")
        shown = origin_of(wrapped)
        warn_of_another(self.origin, shown, "the agent")
        if not self.fitted:
            self.origin = shown
        self.n_envs = wrapped.num_envs
        super().set_env(wrapped, force_reset)

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return ["policy"], []


def check_spaces_of_env(model: Any, env: Any, who: str, hint: str = "") -> None:
    """Refuse an environment that an agent or baseline cannot act in.

    A vectorised environment showed an agent its images channels first; it takes them either way.

    Args:
        who: what the message calls the model.
        hint: what to say beside observations that differ.

    Raises:
        ValueError: for observations of other keys or shapes, or other actions.
    """
    if not same_observations(model.observation_space, env.observation_space):
        shown = observations_told(env.observation_space)
        seen = observations_told(model.observation_space)
        raise ValueError(
            f"{who} was trained on the observations {seen}, but this environment shows {shown}: "
            f"give it the environment, task and settings of its training{hint}"
        )
    if model.action_space != env.action_space:
        raise ValueError(
            f"{who} was trained on the actions {model.action_space}, but this environment takes "
            f"{env.action_space}"
        )


__all__ = ["BaseAgent", "check_spaces_of_env"]
