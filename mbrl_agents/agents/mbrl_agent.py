"""MBRLAgent: any world model, prior and planner, as a Stable-Baselines3 algorithm."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.type_aliases import MaybeCallback

from mbrl_agents.agents.base_agent import ModelBasedAgent, restore
from mbrl_agents.agents.experience import Recorder
from mbrl_agents.agents.planning_policy import PlanningPolicy
from mbrl_agents.agents.run_files import (
    MODEL_FILE,
    POLICY_FILE,
    SavedAgent,
    append_rows,
    trim_rows,
    write_run,
)
from mbrl_agents.data.episode import Episode
from mbrl_agents.training.checkpoints import load_meta
from mbrl_agents.training.fit_actor import fit_prior
from mbrl_agents.training.fitting import Progress, fit_world_model, prepare


class MBRLAgent(ModelBasedAgent):
    """An agent that learns a world model and plans in it.

    On top of what `ModelBasedAgent` has, ``fit`` trains offline, on recorded episodes; arguments
    are the same.
    """

    policy: PlanningPolicy
    policy_type = PlanningPolicy

    def _build_policy(self, seed: int) -> PlanningPolicy:
        self.episodes: list[Episode] = []
        return PlanningPolicy(self.observation_space, self.action_space, self.config, seed=seed)

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
        online: bool = False,
    ) -> dict[str, float]:
        training = self.config.training
        space = self.action_space
        assert isinstance(space, spaces.Box)
        train, held = prepare(
            self.episodes,
            training,
            low=space.low,
            high=space.high,
            device=self.device,
            seed=int(self.seed or 0),
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
            if not online:
                self.logger.dump(done)
            if logs is not None:
                append_rows(logs, phase, row)
            if progress is not None:
                progress(phase, done, total, row)

        def arguments(phase: str, steps: int) -> dict[str, Any]:
            file = None if run is None else run / f"{phase}.checkpoint.safetensors"
            if logs is not None:
                reached = load_meta(file)["done"] if file is not None and file.is_file() else 0
                trim_rows(logs, phase, reached)
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
            prior = self.policy.prior
            if prior is not None and (len(labels) or not refit or not _needs_labels(prior)):
                result = fit_prior(
                    prior,
                    model,
                    train,
                    held,
                    training,
                    behaviour=self.config.behaviour,
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
        prior = self.policy.prior
        if prior is not None and not self.fitted and _needs_labels(prior):
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
                self.metrics = self._fit(None, refit=self.fitted, online=True)
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

    # -- files --------------------------------------------------------------------------

    def _weights(self) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor] | None]:
        prior = self.policy.prior
        return self.policy.world_model.state_dict(), None if prior is None else prior.state_dict()

    def _take(self, saved: SavedAgent) -> None:
        restore(self.policy.world_model, saved.model, MODEL_FILE)
        if self.policy.prior is not None:
            restore(self.policy.prior, saved.policy or {}, POLICY_FILE)

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "episodes"]


def _needs_labels(prior: Any) -> bool:
    """Whether a prior learns from a demonstrator's labels only, as cloning does."""
    return bool(getattr(prior, "needs_labels", True))
