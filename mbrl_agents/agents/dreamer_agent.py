"""DreamerAgent: DreamerV3 as a Stable-Baselines3 algorithm, on any task it can see."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.type_aliases import MaybeCallback
from torch import Tensor

from mbrl_agents.agents.base_agent import ModelBasedAgent, restore
from mbrl_agents.agents.dreamer_checkpoints import (
    CHECKPOINT,
    FIT_CHECKPOINT,
    check_identity,
    read_checkpoint,
    write_checkpoint,
)
from mbrl_agents.agents.dreamer_policy import DreamerPolicy
from mbrl_agents.agents.run_files import (
    MODEL_FILE,
    POLICY_FILE,
    SavedAgent,
    append_rows,
    write_run,
)
from mbrl_agents.data.episode import Episode
from mbrl_agents.training.checkpoints import load_tensors
from mbrl_agents.training.dreamer import DreamerTrainer
from mbrl_agents.training.fitting import Progress
from mbrl_agents.training.replay import Replay


@dataclass
class _Collecting:
    """Where `DreamerAgent.learn` stands in its environments.

    ``model`` and ``action`` are None right after all of them were reset.
    """

    model: dict[str, Tensor] | None
    action: Tensor | None
    reward: np.ndarray
    starts: np.ndarray

    @classmethod
    def afresh(cls, count: int) -> _Collecting:
        return cls(None, None, np.zeros(count, np.float32), np.ones(count, bool))


class DreamerAgent(ModelBasedAgent):
    """DreamerV3 (Hafner et al. 2023, arXiv:2301.04104): model, actor and critic learned together.

    Vector, picture or mixed observations; continuous or discrete actions.  ``learn`` trains on
    its own experience, ``fit`` on recorded episodes; arguments are those of `ModelBasedAgent`.
    """

    policy: DreamerPolicy
    policy_type = DreamerPolicy
    resumes = True

    def _build_policy(self, seed: int) -> DreamerPolicy:
        self.replay: Replay | None = None
        self.trainer: DreamerTrainer | None = None
        self._recorded = "no recorded episodes"
        return DreamerPolicy(self.observation_space, self.action_space, self.config, seed=seed)

    # -- online -------------------------------------------------------------------------

    def learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 1,
        tb_log_name: str = "DreamerAgent",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
        folder: str | os.PathLike[str] | None = None,
    ) -> DreamerAgent:
        """Act, remember, and train in step with it (SB3's ``learn``).

        Args:
            log_interval: ``training.log_every`` steps times this lie between logs.
            folder: a run folder for checkpoints.  Where it holds one already, training goes on
                from it, exactly as if it had never stopped.  To make that possible for
                environments that cannot be saved, all of them are reset with seeds of their own at
                every checkpoint, interrupted or not; with one environment that is when an episode
                ends anyway.

        Raises:
            ValueError: without an environment, or for the checkpoint of another training.
        """
        if self.env is None:
            raise ValueError("learn needs an environment: call set_env first")
        training, run = self.config.training, None if folder is None else Path(folder)
        self._last_obs = None
        total, callback = self._setup_learn(
            total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar
        )
        assert isinstance(callback, BaseCallback)
        replay, trainer = self._prepare(self.env.num_envs)
        draws = torch.Generator().manual_seed(int(self.seed or 0) + 1)
        credit = 0.0
        if run is not None and (run / CHECKPOINT).is_file():
            credit = self._resume(run / CHECKPOINT, replay, trainer, draws)
            self._reset_environments()
        at = _Collecting.afresh(self.env.num_envs)
        checkpoint = logged = self.num_timesteps
        sums: dict[str, Tensor] = {}
        done_updates = trainer.updates
        callback.on_training_start(locals(), globals())
        callback.on_rollout_start()
        going = True
        with self._threads():
            while going and self.num_timesteps < total:
                at, dones, infos = self._step(at, replay, draws)
                callback.update_locals(locals())
                going = callback.on_step()
                self._update_info_buffer(infos, dones)
                self._update_current_progress_remaining(self.num_timesteps, total)
                if len(replay) >= training.learning_starts and replay.sequences:
                    credit += self.env.num_envs * training.updates_per_step
                started = time.perf_counter()
                while credit >= 1.0:
                    credit -= 1.0
                    for name, value in trainer.update(replay).items():
                        sums[name] = sums.get(name, torch.zeros(())) + value.float().cpu()
                self.training_seconds += time.perf_counter() - started
                if log_interval and self.num_timesteps - logged >= (
                    training.log_every * log_interval
                ):
                    callback.on_rollout_end()
                    self._log(sums, trainer.updates - done_updates, run)
                    sums, logged, done_updates = {}, self.num_timesteps, trainer.updates
                    callback.on_rollout_start()
                waited = self.num_timesteps - checkpoint
                due = waited >= training.checkpoint_every and (
                    bool(dones[0]) or waited >= 2 * training.checkpoint_every
                )
                if run is not None and going and (due or self.num_timesteps >= total):
                    self._checkpoint(run / CHECKPOINT, replay, trainer, draws, credit)
                    self._reset_environments()
                    at = _Collecting.afresh(self.env.num_envs)
                    checkpoint = self.num_timesteps
        callback.on_rollout_end()
        self._log(sums, trainer.updates - done_updates, run)
        callback.on_training_end()
        self.fitted = trainer.updates > 0
        if run is not None:
            self.save_run(run)
        return self

    def _step(
        self, at: _Collecting, replay: Replay, draws: torch.Generator
    ) -> tuple[_Collecting, np.ndarray, list[dict[str, Any]]]:
        """One step in every environment, recorded."""
        assert self.env is not None
        last: Any = self._last_obs
        tensors, _ = self.policy.to_tensors(last)
        previous = at.action
        calls = torch.zeros(self.env.num_envs, dtype=torch.long)
        with torch.inference_mode():
            action, state = self.policy.advance(
                tensors, at.model, previous, at.starts, generator=draws, calls=calls
            )
        normalised = action.cpu().numpy()
        before = np.zeros_like(normalised) if previous is None else previous.cpu().numpy()
        obs = self._entries(last)
        for i in range(self.env.num_envs):
            replay.add(
                i,
                {key: value[i] for key, value in obs.items()},
                before[i],
                float(at.reward[i]),
                is_first=bool(at.starts[i]),
                latents={key: value[i] for key, value in state.model.items()},
            )
        new_obs, rewards, dones, infos = self.env.step(self.policy.to_env(action))
        self.num_timesteps += self.env.num_envs
        for i in np.flatnonzero(dones).tolist():
            ended = self._entries(infos[i]["terminal_observation"])
            replay.add(
                i,
                ended,
                normalised[i],
                float(rewards[i]),
                is_first=False,
                is_last=True,
                terminal=not infos[i].get("TimeLimit.truncated", False),
            )
        self._last_obs = new_obs  # type: ignore[assignment]
        self._last_episode_starts = dones
        rewards = np.where(dones, 0.0, rewards).astype(np.float32)
        return _Collecting(state.model, action, rewards, dones.copy()), dones, infos

    def _reset_environments(self) -> None:
        """Begin new episodes everywhere, by a seed that the number of steps decides."""
        assert self.env is not None
        words = np.random.SeedSequence([int(self.seed or 0), 2, self.num_timesteps])
        self.env.seed(int(words.generate_state(1)[0]))
        self._last_obs = self.env.reset()  # type: ignore[assignment]

    # -- offline ------------------------------------------------------------------------

    def fit(
        self,
        episodes: Sequence[Episode],
        *,
        folder: str | os.PathLike[str] | None = None,
        progress: Progress | None = None,
        overrides: Sequence[str] = (),
    ) -> dict[str, float]:
        """Train on recorded episodes: ``training.updates`` gradient steps.

        Args:
            episodes: put into the replay.
            folder: a run folder to write (and, after an interruption, to resume from).  One in
                which this training finished before, or went on to ``learn``, is not trained in
                again.
            progress: told of every log, see `training.fitting.Progress`.
            overrides: what the user asked for, recorded in the run folder.

        Returns:
            Mean of each metric since the last log.
        """
        training, run = self.config.training, None if folder is None else Path(folder)
        self._ensure_logger(run)
        self.replay = None
        steps = sum(len(episode) for episode in episodes)
        self._recorded = f"{len(episodes)} recorded episodes of {steps} steps"
        replay, trainer = self._prepare(
            1, capacity=max(steps + len(episodes), training.replay_size)
        )
        if run is not None and (run / CHECKPOINT).is_file():
            # `learn` restores what came of this fit, and everything after it.
            lanes = 1 if self.env is None else self.env.num_envs
            _, meta = load_tensors(run / CHECKPOINT)
            check_identity(run / CHECKPOINT, meta, self._identity(CHECKPOINT, lanes))
            self.metrics = dict(meta["facts"]["metrics"])
            return self.metrics
        draws = torch.Generator().manual_seed(int(self.seed or 0) + 1)
        file = None if run is None else run / FIT_CHECKPOINT
        if file is not None and file.is_file():
            self._resume(file, replay, trainer, draws)
        else:
            for episode in episodes:
                self._record(episode, replay)
        started = time.perf_counter() - self.training_seconds
        sums: dict[str, Tensor] = {}
        since = trainer.updates
        with self._threads():
            while trainer.updates < training.updates:
                for name, value in trainer.update(replay).items():
                    sums[name] = sums.get(name, torch.zeros(())) + value.float().cpu()
                done = trainer.updates
                if done % training.log_every == 0 or done == training.updates:
                    row = self._log(sums, done - since, run, axis=done)
                    sums, since = {}, done
                    if progress is not None:
                        progress("dreamer", done, training.updates, row)
                self.training_seconds = time.perf_counter() - started
                # The last one tells that this phase is done, should `learn` be interrupted.
                due = done % training.checkpoint_every == 0 or done == training.updates
                if file is not None and due:
                    self._checkpoint(file, replay, trainer, draws, 0.0)
        self.fitted = True
        if run is not None:
            write_run(run, self._saved(), overrides)
        return self.metrics

    def _record(self, episode: Episode, replay: Replay) -> None:
        actions = self.policy.from_env(episode.actions)
        for t in range(len(episode) + 1):
            last = t == len(episode)
            replay.add(
                0,
                {key: np.asarray(episode.observations[key][t]) for key in replay.obs},
                actions[t - 1] if t else np.zeros_like(actions[0]),
                float(episode.rewards[t - 1]) if t else 0.0,
                is_first=t == 0,
                is_last=last,
                terminal=last and episode.terminated,
            )

    # -- shared -------------------------------------------------------------------------

    def _prepare(self, lanes: int, capacity: int | None = None) -> tuple[Replay, DreamerTrainer]:
        """The replay and the trainer; kept between calls where they still fit."""
        training, model = self.config.training, self.policy.world_model
        if self.replay is None or self.replay.lanes != lanes:
            keys = {*model.layout.vectors, *model.layout.images}
            space = self.observation_space
            entries = space.spaces if isinstance(space, spaces.Dict) else {"obs": space}
            self.replay = Replay(
                capacity or training.replay_size,
                lanes,
                training.sequence_length,
                {k: (s.shape or (), s.dtype) for k, s in entries.items() if k in keys},
                model.action_size,
                model.latent_sizes,
            )
        if self.trainer is None:
            self.trainer = DreamerTrainer(
                training, model, self.policy.behaviour, seed=int(self.seed or 0)
            )
        return self.replay, self.trainer

    def _entries(self, obs: Any) -> dict[str, np.ndarray]:
        assert self.replay is not None
        entries = obs if isinstance(obs, dict) else {"obs": obs}
        return {key: entries[key] for key in self.replay.obs}

    def _log(
        self, sums: dict[str, Tensor], count: int, run: Path | None, axis: int | None = None
    ) -> dict[str, float]:
        row = {f"train/{name}": float(value) / count for name, value in sums.items()}
        for name, value in row.items():
            self.logger.record(name, value)
        if row:
            self.metrics = row
        if axis is None:
            self._log_round(self.num_timesteps // self.config.training.log_every)
        else:
            self.logger.dump(axis)
        if run is not None and row:
            step = self.num_timesteps if axis is None else axis
            append_rows(run / "training_logs.csv", "dreamer", {"step": float(step), **row})
        return row

    @contextmanager
    def _threads(self) -> Iterator[None]:
        before = torch.get_num_threads()
        if self.config.training.threads:
            torch.set_num_threads(self.config.training.threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)

    # -- checkpoints --------------------------------------------------------------------

    def _identity(self, file: str, lanes: int) -> str:
        """What a checkpoint belongs to; how long to train and what to log may change."""
        tree = self.config.to_dict()
        for name in ("updates", "log_every", "checkpoint_every", "threads"):
            tree["training"].pop(name)
        phase = file.partition(".")[0]
        return f"{phase}, {tree}, seed {self.seed}, {lanes} environments, {self._recorded}"

    def _checkpoint(
        self,
        file: Path,
        replay: Replay,
        trainer: DreamerTrainer,
        draws: torch.Generator,
        credit: float,
    ) -> None:
        facts = {
            "credit": credit,
            "num_timesteps": self.num_timesteps,
            "training_seconds": self.training_seconds,
            "metrics": self.metrics,
        }
        identity = self._identity(file.name, replay.lanes)
        write_checkpoint(file, identity, replay, trainer, draws, facts)

    def _resume(
        self, file: Path, replay: Replay, trainer: DreamerTrainer, draws: torch.Generator
    ) -> float:
        """Go on from a checkpoint; returns the gradient steps still owed."""
        identity = self._identity(file.name, replay.lanes)
        facts = read_checkpoint(file, identity, replay, trainer, draws)
        self.num_timesteps = int(facts["num_timesteps"])
        self.training_seconds = float(facts["training_seconds"])
        self.metrics = dict(facts["metrics"])
        return float(facts["credit"])

    # -- files --------------------------------------------------------------------------

    def _weights(self) -> tuple[dict[str, Tensor], dict[str, Tensor] | None]:
        return self.policy.world_model.state_dict(), self.policy.behaviour.state_dict()

    def _take(self, saved: SavedAgent) -> None:
        restore(self.policy.world_model, saved.model, MODEL_FILE)
        restore(self.policy.behaviour, saved.policy or {}, POLICY_FILE)

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "replay", "trainer"]
