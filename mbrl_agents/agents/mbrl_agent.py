"""MBRLAgent: any world model, prior and planner, as a Stable-Baselines3 algorithm."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger, configure
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback
from stable_baselines3.common.utils import safe_mean

from mbrl_agents.agents.experience import Recorder
from mbrl_agents.agents.planning_policy import PlanningPolicy
from mbrl_agents.agents.run_files import (
    MODEL_FILE,
    POLICY_FILE,
    SavedAgent,
    append_rows,
    read_saved,
    write_run,
    zip_bytes,
)
from mbrl_agents.config import MethodConfig, resolve_config
from mbrl_agents.data.episode import Episode
from mbrl_agents.training.checkpoints import atomic
from mbrl_agents.training.fitting import (
    Progress,
    fit_policy,
    fit_world_model,
    prepare,
)


class MBRLAgent(BaseAlgorithm):
    """An agent that learns a world model and plans in it.

    It takes what SB3's tools take and give: ``learn`` with callbacks, ``predict`` with ``state``
    and ``episode_start``, ``save``, ``load``, ``set_env``, ``set_logger``.  On top of that
    ``fit`` trains offline, on recorded episodes.

    Args:
        method: name of a method, or its resolved settings.
        env: an environment, a `VecEnv`, an id, or None (give one later with ``set_env``).
        seed: of weights, batches and planning noise; ``training.seed`` when None.
        tensorboard_log: folder of SB3's TensorBoard runs.
        verbose: SB3's verbosity.
        device: torch device.
        observation_space, action_space: in place of ``env``'s.

    Raises:
        ValueError: for an unknown method, or spaces it cannot work on.
    """

    policy: PlanningPolicy  # type: ignore[assignment]
    policy_aliases: ClassVar[dict[str, Any]] = {}

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
            policy=PlanningPolicy,
            env=env,
            learning_rate=self.config.training.learning_rate,
            tensorboard_log=tensorboard_log,
            verbose=verbose,
            device=device,
            support_multi_env=True,
            seed=self.config.training.seed if seed is None else seed,
            supported_action_spaces=(spaces.Box,),
        )
        if env is None:
            if observation_space is None or action_space is None:
                raise ValueError("need an environment, or both of its spaces")
            self.observation_space, self.action_space = observation_space, action_space
        self.episodes: list[Episode] = []
        self.fitted = False
        self.metrics: dict[str, float] = {}
        self.training_seconds = 0.0
        self._setup_model()

    def _setup_model(self) -> None:
        seed = int(self.seed or 0)
        self.policy = PlanningPolicy(
            self.observation_space, self.action_space, self.config, seed=seed
        ).to(self.device)
        self.set_random_seed(self.seed)

    def set_random_seed(self, seed: int | None = None) -> None:
        """Seed spaces, environments and planning; unlike SB3, no global generator is touched."""
        if seed is None:
            return
        self.policy.seed = seed
        self.action_space.seed(seed)
        if self.env is not None:
            self.env.seed(seed)

    # -- offline ------------------------------------------------------------------------

    def fit(
        self,
        episodes: Sequence[Episode],
        *,
        folder: str | os.PathLike[str] | None = None,
        progress: Progress | None = None,
        overrides: Sequence[str] = (),
    ) -> dict[str, float]:
        """Train world model and prior from scratch on recorded episodes.

        Args:
            episodes: kept for later refits in ``learn``.
            folder: a run folder to write (and, after an interruption, to resume from).
            progress: told of every evaluation, see `training.fitting.Progress`.
            overrides: what the user asked for, recorded in the run folder.

        Returns:
            Final metrics by name, also in ``metrics``: ``world_model/...``, ``policy/...``.
        """
        run = None if folder is None else Path(folder)
        self._ensure_logger(run)
        self.episodes = list(episodes)
        started = time.perf_counter()
        logs = None if run is None else run / "training_logs.csv"
        self.metrics = self._fit(progress, run=run, logs=logs)
        self.training_seconds += time.perf_counter() - started
        if run is not None:
            write_run(run, self._saved(), overrides)
            for phase in ("world_model", "policy"):
                (run / f"{phase}.checkpoint.safetensors").unlink(missing_ok=True)
        return self.metrics

    def _fit(
        self,
        progress: Progress | None,
        *,
        run: Path | None = None,
        logs: Path | None = None,
        refit: bool = False,
    ) -> dict[str, float]:
        training = self.config.training
        space = self.action_space
        assert isinstance(space, spaces.Box)
        train, held = prepare(
            self.episodes, training, low=space.low, high=space.high, device=self.device
        )
        threads = torch.get_num_threads()
        metrics: dict[str, float] = {}
        # A refit must not draw the batches of the fit before it.
        seed = int(self.seed or 0) + (self.num_timesteps if refit else 0)

        def report(phase: str, done: int, total: int, row: dict[str, float]) -> None:
            for name, value in row.items():
                if name != "step":
                    part, metric = name.split("/", 1)
                    self.logger.record(f"{part}/{phase}/{metric}", value)
            # In `learn` the axis is environment steps, and the loop there writes what is recorded.
            if not refit:
                self.logger.dump(done)
            if logs is not None:
                append_rows(logs, phase, row)
            if progress is not None:
                progress(phase, done, total, row)

        def arguments(phase: str, steps: int) -> dict[str, Any]:
            file = None if run is None else run / f"{phase}.checkpoint.safetensors"
            return {
                "steps": training.refit_steps if refit else steps,
                "refit": refit,
                "progress": report,
                "checkpoint": file,
                "seed": seed,
            }

        try:
            if training.threads:
                torch.set_num_threads(training.threads)
            model = self.policy.world_model
            result = fit_world_model(
                model, train, held, training, **arguments("world_model", training.model_steps)
            )
            metrics |= {f"world_model/{k}": v for k, v in result.metrics.items()}
            labels = train.label[train.label.isfinite().all(-1)]
            if self.policy.prior is not None and (len(labels) or not refit):
                result = fit_policy(
                    self.policy.prior,
                    model,
                    train,
                    held,
                    training,
                    **arguments("policy", training.policy_steps),
                )
                metrics |= {f"policy/{k}": v for k, v in result.metrics.items()}
        finally:
            torch.set_num_threads(threads)
        self.policy.eval()
        self.fitted = True
        return metrics

    # -- online -------------------------------------------------------------------------

    def learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 1,
        tb_log_name: str = "MBRLAgent",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> MBRLAgent:
        """Collect experience and refit in rounds (SB3's ``learn``).

        An agent that was not fitted yet starts with random actions.  Episodes given to ``fit``
        stay in the data.  ``log_interval`` counts rounds.

        Raises:
            ValueError: without an environment, or for a method whose prior needs demonstrations
                that nobody gave.
        """
        if self.env is None:
            raise ValueError("learn needs an environment: call set_env first")
        if self.policy.prior is not None and not self.fitted:
            raise ValueError(
                f"{self.config.method!r} starts from a cloned policy: fit it to demonstrations "
                "before learning from its own experience"
            )
        training = self.config.training
        total, callback = self._setup_learn(
            total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar
        )
        assert isinstance(callback, BaseCallback)
        callback.on_training_start(locals(), globals())
        recorder = Recorder(self.env.num_envs)
        state: Any = None
        starts = np.ones(self.env.num_envs, dtype=bool)
        random = np.random.default_rng(np.random.SeedSequence([int(self.seed or 0), 1]))
        rounds = 0
        going = True
        while going and self.num_timesteps < total:
            callback.on_rollout_start()
            goal = training.round_steps if self.fitted else training.random_steps
            until = min(self.num_timesteps + goal, total)
            while self.num_timesteps < until:
                actions, state = self._explore(state, starts, random)
                new_obs, rewards, dones, infos = self.env.step(actions)
                self.num_timesteps += self.env.num_envs
                callback.update_locals(locals())
                if not callback.on_step():
                    going = False
                    break
                self._update_info_buffer(infos, dones)
                self.episodes += recorder.add(self._last_obs, actions, rewards, dones, infos)
                self._last_obs, starts = new_obs, dones  # type: ignore[assignment]
                self._last_episode_starts = dones
            callback.on_rollout_end()
            self._update_current_progress_remaining(self.num_timesteps, total)
            if going and self.episodes:
                started = time.perf_counter()
                self.metrics = self._fit(None, refit=self.fitted)
                self.training_seconds += time.perf_counter() - started
            rounds += 1
            if log_interval and rounds % log_interval == 0:
                self._log_round(rounds)
        callback.on_training_end()
        return self

    def _explore(
        self, state: Any, starts: np.ndarray, random: np.random.Generator
    ) -> tuple[np.ndarray, Any]:
        """Actions to collect with: random ones before the first fit, noisy plans after."""
        space = self.action_space
        assert isinstance(space, spaces.Box)
        if not self.fitted:
            shape = (len(starts), *space.shape)
            return random.uniform(space.low, space.high, shape).astype(space.dtype), None
        actions, state = self.policy.predict(self._last_obs, state, starts, deterministic=True)  # type: ignore[arg-type]
        noise = random.normal(size=actions.shape) * self.config.training.explore_std
        actions = actions + noise * (space.high - space.low) / 2
        return np.clip(actions, space.low, space.high).astype(space.dtype), state

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

    def _saved(self) -> SavedAgent:
        prior = self.policy.prior
        return SavedAgent(
            config=self.config,
            observation_space=self.observation_space,
            action_space=self.action_space,
            model=self.policy.world_model.state_dict(),
            policy=None if prior is None else prior.state_dict(),
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

        Episodes are not part of it.  ``exclude`` and ``include`` have no meaning here: nothing is
        pickled.
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
        cls,
        path: str | os.PathLike[str] | io.BufferedIOBase,
        env: GymEnv | None = None,
        device: torch.device | str = "cpu",
        custom_objects: dict[str, Any] | None = None,
        print_system_info: bool = False,
        force_reset: bool = True,
        **arguments: Any,
    ) -> MBRLAgent:
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
        agent = cls(
            saved.config,
            None,
            seed=saved.facts["seed"],
            device=device,
            observation_space=saved.observation_space,
            action_space=saved.action_space,
            **arguments,
        )
        agent._restore(agent.policy.world_model, saved.model, MODEL_FILE)
        if agent.policy.prior is not None:
            agent._restore(agent.policy.prior, saved.policy or {}, POLICY_FILE)
        agent.num_timesteps = int(saved.facts["num_timesteps"])
        agent.fitted = bool(saved.facts["fitted"])
        agent.training_seconds = float(saved.facts["training_seconds"])
        agent.metrics = dict(saved.facts["metrics"])
        if env is not None:
            agent.set_env(env, force_reset=force_reset)
        return agent

    @staticmethod
    def _restore(module: torch.nn.Module, weights: dict[str, torch.Tensor], name: str) -> None:
        try:
            module.load_state_dict(weights)
        except RuntimeError as error:
            raise ValueError(f"{name} does not fit the saved config: {error}") from error
        module.eval()

    def set_env(self, env: GymEnv, force_reset: bool = True) -> None:
        """Set the environment; unlike SB3's own agents, of any number of environments.

        Raises:
            ValueError: when its spaces are not the agent's.
        """
        wrapped = self._wrap_env(env, self.verbose)
        self.n_envs = wrapped.num_envs
        super().set_env(wrapped, force_reset)

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "episodes"]

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return ["policy"], []
