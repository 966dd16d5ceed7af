"""What every model-based agent shares as a Stable-Baselines3 algorithm: set-up, logs, files."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.logger import Logger, configure
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.utils import safe_mean

from mbrl_agents.agents.acting_policy import ActingPolicy
from mbrl_agents.agents.run_files import SavedAgent, read_saved, write_run, zip_bytes
from mbrl_agents.config import MethodConfig, resolve_config
from mbrl_agents.data.files import atomic

Self = TypeVar("Self", bound="ModelBasedAgent")


class ModelBasedAgent(BaseAlgorithm):
    """An agent around a learned world model, saved without pickle.

    It takes what SB3's tools take and give: ``learn`` with callbacks, ``predict`` with ``state``
    and ``episode_start``, ``save``, ``load``, ``set_env``, ``set_logger``.

    Args:
        method: name of a method, or its resolved settings.
        env: an environment, a `VecEnv`, an id, or None (give one later with ``set_env``).
        seed: of weights, batches and noise; ``training.seed`` when None.
        tensorboard_log: folder of SB3's TensorBoard runs.
        verbose: SB3's verbosity.
        device: torch device.
        observation_space, action_space: in place of ``env``'s.

    Raises:
        ValueError: for an unknown method, or spaces it cannot work on.
    """

    policy: ActingPolicy  # type: ignore[assignment]
    policy_aliases: ClassVar[dict[str, Any]] = {}
    policy_type: ClassVar[type[ActingPolicy]] = ActingPolicy
    resumes: ClassVar[bool] = False
    """Whether ``learn`` takes a ``folder`` to keep checkpoints in and to go on from."""

    def __init__(
        self,
        method: str | MethodConfig,
        env: GymEnv | str | None = None,
        *,
        seed: int | None = None,
        tensorboard_log: str | None = None,
        verbose: int = 0,
        device: torch.device | str = "cpu",
        observation_space: spaces.Space | None = None,
        action_space: spaces.Space | None = None,
    ) -> None:
        self.config = resolve_config(method) if isinstance(method, str) else method
        if self.config.training is None:
            raise ValueError(f"{self.config.method!r} is not a model-based agent")
        super().__init__(
            policy=self.policy_type,
            env=env,
            learning_rate=self.config.training.learning_rate,
            tensorboard_log=tensorboard_log,
            verbose=verbose,
            device=device,
            support_multi_env=True,
            seed=self.config.training.seed if seed is None else seed,
            supported_action_spaces=self.policy_type.kinds,
        )
        if env is None:
            if observation_space is None or action_space is None:
                raise ValueError("need an environment, or both of its spaces")
            self.observation_space, self.action_space = observation_space, action_space
        self.fitted = False
        self.metrics: dict[str, float] = {}
        self.training_seconds = 0.0
        self._setup_model()

    def _setup_model(self) -> None:
        self.policy = self._build_policy(int(self.seed or 0)).to(self.device)
        self.set_random_seed(self.seed)

    def _build_policy(self, seed: int) -> ActingPolicy:
        """The policy with fresh weights."""
        raise NotImplementedError

    def set_random_seed(self, seed: int | None = None) -> None:
        """Seed spaces, environments and planning; unlike SB3, no global generator is touched."""
        if seed is None:
            return
        self.policy.seed = seed
        self.action_space.seed(seed)
        if self.env is not None:
            self.env.seed(seed)

    # -- logs ---------------------------------------------------------------------------

    def _log_round(self, rounds: int) -> None:
        if self.ep_info_buffer:
            returns = safe_mean([entry["r"] for entry in self.ep_info_buffer])
            lengths = safe_mean([entry["l"] for entry in self.ep_info_buffer])
            self.logger.record("rollout/ep_rew_mean", returns)
            self.logger.record("rollout/ep_len_mean", lengths)
        if self.ep_success_buffer:
            self.logger.record("rollout/success_rate", safe_mean(self.ep_success_buffer))
        self.logger.record("time/iterations", rounds, exclude="tensorboard")
        self.logger.record("time/total_timesteps", self.num_timesteps, exclude="tensorboard")
        self.logger.dump(self.num_timesteps)

    def _ensure_logger(self, run: Path | None) -> None:
        if hasattr(self, "_logger") and self._custom_logger:
            return
        if run is not None:
            self._logger = configure(str(run), ["tensorboard"])
        elif not hasattr(self, "_logger"):
            self._logger = Logger(None, [])

    # -- files --------------------------------------------------------------------------

    def _weights(self) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor] | None]:
        """Weights of the model file and of the policy file."""
        raise NotImplementedError

    def _take(self, saved: SavedAgent) -> None:
        """Take weights from a saved agent."""
        raise NotImplementedError

    def _saved(self) -> SavedAgent:
        model, policy = self._weights()
        return SavedAgent(
            config=self.config,
            observation_space=self.observation_space,
            action_space=self.action_space,
            model=model,
            policy=policy,
            facts={
                "seed": int(self.seed or 0),
                "num_timesteps": self.num_timesteps,
                "fitted": self.fitted,
                "training_seconds": self.training_seconds,
                "metrics": self.metrics,
                "parameters": self.policy.parameter_counts(),
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
        device: torch.device | str = "cpu",
        custom_objects: dict[str, Any] | None = None,
        print_system_info: bool = False,
        force_reset: bool = True,
        **arguments: Any,
    ) -> Self:
        """Load a run folder, or a file `save` wrote; ``.zip`` may be left out.

        Args:
            env: set on the agent, after its spaces were checked.
            device: torch device.
            **arguments: further arguments of the agent (``tensorboard_log``, ``verbose``).
                ``custom_objects`` and ``print_system_info`` are SB3's and ignored: nothing is
                pickled.

        Raises:
            FileNotFoundError: when there is nothing at ``path`` or a file of the run is missing.
            ValueError: when it is not a saved agent, or ``env`` has other spaces.
        """
        saved = read_saved(path)
        return cls.from_saved(saved, env, device=device, force_reset=force_reset, **arguments)

    @classmethod
    def from_saved(
        cls: type[Self],
        saved: SavedAgent,
        env: GymEnv | None = None,
        *,
        device: torch.device | str = "cpu",
        force_reset: bool = True,
        **arguments: Any,
    ) -> Self:
        """The agent that was saved; see `load`."""
        agent = cls(
            saved.config,
            None,
            seed=saved.facts["seed"],
            device=device,
            observation_space=saved.observation_space,
            action_space=saved.action_space,
            **arguments,
        )
        agent._take(saved)
        agent.num_timesteps = int(saved.facts["num_timesteps"])
        agent.fitted = bool(saved.facts["fitted"])
        agent.training_seconds = float(saved.facts["training_seconds"])
        agent.metrics = dict(saved.facts["metrics"])
        if env is not None:
            agent.set_env(env, force_reset=force_reset)
        return agent

    def set_env(self, env: GymEnv, force_reset: bool = True) -> None:
        """Set the environment; unlike SB3's own agents, of any number of environments.

        Raises:
            ValueError: when its spaces are not the agent's.
        """
        wrapped = self._wrap_env(env, self.verbose)
        self.n_envs = wrapped.num_envs
        super().set_env(wrapped, force_reset)

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return ["policy"], []


def restore(module: torch.nn.Module, weights: dict[str, torch.Tensor], name: str) -> None:
    """Load weights into a module built by the same config, and leave it in eval mode.

    Raises:
        ValueError: when they do not fit.
    """
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(
            f"{name} does not fit the saved config, or another version of this package wrote it: "
            f"{error}"
        ) from error
    module.eval()
