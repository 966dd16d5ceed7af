"""DreamerAgent: DreamerV3 as a Stable-Baselines3 algorithm, on any task it can see."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
    Learner,
    check_identity,
    listing_checkpoints,
    read_checkpoint,
    replay_folder,
    write_checkpoint,
)
from mbrl_agents.agents.dreamer_policy import DreamerPolicy
from mbrl_agents.agents.experience import Collecting
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
from mbrl_agents.training.dreamer import DreamerTrainer
from mbrl_agents.training.means import RunningMeans
from mbrl_agents.training.optimise import Progress
from mbrl_agents.training.replay import Replay

LOG_FILE = "training_logs.csv"
OFFLINE, ONLINE = "dreamer", "online"
"""Phases of the log: `fit` counts gradient steps, `learn` environment steps."""


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
        learner = self._prepare(self.env.num_envs, run)
        replay, credit, logged = learner.replay, 0.0, self.num_timesteps
        if run is not None:
            if (run / CHECKPOINT).is_file():
                facts = self._resume(run / CHECKPOINT, learner)
                credit, logged = float(facts["credit"]), int(facts["logged"])
                self._reset_environments()
            trim_rows(run / LOG_FILE, ONLINE, self.num_timesteps)
        at = Collecting.afresh(self.env.num_envs)
        checkpoint = self.num_timesteps
        callback.on_training_start(locals(), globals())
        ended = self.num_timesteps >= total
        if not ended:
            callback.on_rollout_start()
        with self._threads():
            while not ended:
                at, dones, infos = self._step(at, learner)
                callback.update_locals(locals())
                going = callback.on_step()
                ended = not going or self.num_timesteps >= total
                self._update_info_buffer(infos, dones)
                self._update_current_progress_remaining(self.num_timesteps, total)
                if len(replay) >= training.learning_starts and replay.sequences:
                    credit += self.env.num_envs * training.updates_per_step
                started = time.perf_counter()
                while credit >= 1.0:
                    credit -= 1.0
                    learner.update()
                self.training_seconds += time.perf_counter() - started
                waited = self.num_timesteps - logged
                if ended or (log_interval and waited >= training.log_every * log_interval):
                    callback.on_rollout_end()
                    self._log(learner.means, run, ONLINE)
                    logged = self.num_timesteps
                    if not ended:
                        callback.on_rollout_start()
                waited = self.num_timesteps - checkpoint
                due = waited >= training.checkpoint_every and (
                    bool(dones[0]) or waited >= 2 * training.checkpoint_every
                )
                if run is not None and going and (due or ended):
                    facts = {"credit": credit, "logged": logged}
                    self._checkpoint(run / CHECKPOINT, learner, facts)
                    self._reset_environments()
                    at = Collecting.afresh(self.env.num_envs)
                    checkpoint = self.num_timesteps
        callback.on_training_end()
        self.fitted = learner.trainer.updates > 0
        if run is not None:
            self.save_run(run)
        return self

    def _step(
        self, at: Collecting, learner: Learner
    ) -> tuple[Collecting, np.ndarray, list[dict[str, Any]]]:
        """One step in every environment, recorded."""
        assert self.env is not None
        replay = learner.replay
        last: Any = self._last_obs
        tensors, _ = self.policy.to_tensors(last)
        previous = at.action
        calls = torch.zeros(self.env.num_envs, dtype=torch.long)
        with torch.inference_mode():
            action, state = self.policy.advance(
                tensors, at.model, previous, at.starts, generator=learner.draws, calls=calls
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
        return Collecting(state.model, action, rewards, dones.copy()), dones, infos

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
        learner = self._prepare(1, run, capacity=max(steps + len(episodes), training.replay_size))
        trainer = learner.trainer
        if run is not None and (run / CHECKPOINT).is_file():
            # `learn` restores what came of this fit, and everything after it.
            lanes = 1 if self.env is None else self.env.num_envs
            meta = load_meta(run / CHECKPOINT)
            check_identity(run / CHECKPOINT, meta, self._identity(CHECKPOINT, lanes))
            self.metrics = dict(meta["facts"]["metrics"])
            return self.metrics
        file = None if run is None else run / FIT_CHECKPOINT
        if file is not None and file.is_file():
            self._resume(file, learner)
        else:
            for episode in episodes:
                learner.replay.add_episode(
                    episode.observations,
                    self.policy.from_env(episode.actions),
                    episode.rewards,
                    terminal=episode.terminated,
                )
        if run is not None:
            trim_rows(run / LOG_FILE, OFFLINE, trainer.updates)
        started = time.perf_counter() - self.training_seconds
        with self._threads():
            while trainer.updates < training.updates:
                learner.update()
                done = trainer.updates
                if done % training.log_every == 0 or done == training.updates:
                    row = self._log(learner.means, run, OFFLINE, axis=done)
                    if progress is not None:
                        progress("dreamer", done, training.updates, row)
                self.training_seconds = time.perf_counter() - started
                # The last one tells that this phase is done, should `learn` be interrupted.
                due = done % training.checkpoint_every == 0 or done == training.updates
                if file is not None and due:
                    self._checkpoint(file, learner, {})
        self.fitted = True
        if run is not None:
            write_run(run, self._saved(), overrides)
        return self.metrics

    # -- shared -------------------------------------------------------------------------

    def _prepare(self, lanes: int, run: Path | None, capacity: int | None = None) -> Learner:
        """What learns: replay and trainer are kept between calls.

        Where the number of environments changed, what was recorded moves to a new replay.  With a
        run folder it lies in files there.
        """
        training, model = self.config.training, self.policy.world_model
        before = replay = self.replay
        folder = None if run is None else replay_folder(run, lanes)
        if replay is None or replay.lanes != lanes:
            keys = {*model.layout.vectors, *model.layout.images}
            space = self.observation_space
            entries = space.spaces if isinstance(space, spaces.Dict) else {"obs": space}
            held = 0 if before is None else before.lanes * before.size
            replay = Replay(
                capacity or max(held, training.replay_size),
                lanes,
                training.sequence_length,
                {k: (s.shape or (), s.dtype) for k, s in entries.items() if k in keys},
                model.action_size,
                model.latent_sizes,
                folder,
            )
            if run is not None and not listing_checkpoints(run, lanes):
                replay.tidy()
            if before is not None:
                replay.take_over(before)
            self.replay = replay
        elif replay.steps.folder != (None if folder is None else folder.absolute()):
            # Into files of another training nothing must be recorded: its checkpoints count them,
            # and nobody would remove those they do not.
            replay.steps = replay.steps.copied_to(folder)
        if self.trainer is None:
            self.trainer = DreamerTrainer(
                training, model, self.policy.behaviour, seed=int(self.seed or 0)
            )
        draws = torch.Generator().manual_seed(int(self.seed or 0) + 1)
        return Learner(replay, self.trainer, draws)

    def _entries(self, obs: Any) -> dict[str, np.ndarray]:
        assert self.replay is not None
        entries = obs if isinstance(obs, dict) else {"obs": obs}
        return {key: entries[key] for key in self.replay.keys}

    def _log(
        self, means: RunningMeans, run: Path | None, phase: str, axis: int | None = None
    ) -> dict[str, float]:
        """Log means over ``axis``, or over environment steps where that is None."""
        row = {f"train/{name}": value for name, value in means.take().items()}
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
            append_rows(run / LOG_FILE, phase, {"step": float(step), **row})
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
        """What a checkpoint belongs to; how long, how fast and with which logs may change."""
        tree = self.config.to_dict()
        for name in ("updates", "log_every", "checkpoint_every", "threads", "compile"):
            tree["training"].pop(name)
        phase = file.partition(".")[0]
        return f"{phase}, {tree}, seed {self.seed}, {lanes} environments, {self._recorded}"

    def _checkpoint(self, file: Path, learner: Learner, facts: dict[str, Any]) -> None:
        facts = {
            **facts,
            "num_timesteps": self.num_timesteps,
            "training_seconds": self.training_seconds,
            "metrics": self.metrics,
            # What Stable-Baselines3 averages for `rollout/`.
            "episodes": [
                {key: float(entry[key]) for key in ("r", "l", "t") if key in entry}
                for entry in self.ep_info_buffer or ()
            ],
            "successes": [bool(entry) for entry in self.ep_success_buffer or ()],
        }
        identity = self._identity(file.name, learner.replay.lanes)
        write_checkpoint(file, identity, learner, facts)

    def _resume(self, file: Path, learner: Learner) -> dict[str, Any]:
        """Go on from a checkpoint; returns the facts that were written with it."""
        identity = self._identity(file.name, learner.replay.lanes)
        facts = read_checkpoint(file, identity, learner)
        self.num_timesteps = int(facts["num_timesteps"])
        self.training_seconds = float(facts["training_seconds"])
        self.metrics = dict(facts["metrics"])
        for buffer, name in (
            (self.ep_info_buffer, "episodes"),
            (self.ep_success_buffer, "successes"),
        ):
            if buffer is not None:
                buffer.clear()
                buffer.extend(facts[name])
        return facts

    # -- files --------------------------------------------------------------------------

    def _weights(self) -> tuple[dict[str, Tensor], dict[str, Tensor] | None]:
        return self.policy.world_model.state_dict(), self.policy.behaviour.state_dict()

    def _take(self, saved: SavedAgent) -> None:
        restore(self.policy.world_model, saved.model, MODEL_FILE)
        restore(self.policy.behaviour, saved.policy or {}, POLICY_FILE)

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "replay", "trainer"]
