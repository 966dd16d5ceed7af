"""Agent: any algorithm trained on recorded episodes or on its own experience, through SB3."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.base_class import maybe_make_env
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.type_aliases import MaybeCallback

from mbrl_agents.agents.experience import Collector, experience_folder
from mbrl_agents.agents.origins import origin_of, tells_success
from mbrl_agents.agents.parts import Parts
from mbrl_agents.agents.saving import (
    CHECKPOINT,
    LOG_FILE,
    append_rows,
    read_saved,
    refuse_earlier,
    trim_rows,
    weights_digest,
)
from mbrl_agents.agents.trained import TrainedAgent
from mbrl_agents.config import resolve_config
from mbrl_agents.data.env_workers import EnvFactory, rollouts_in
from mbrl_agents.data.episode import Episode, observations_told, same_observations
from mbrl_agents.errors import UsageError
from mbrl_agents.protocols import ActingPhase
from mbrl_agents.registry import AgentMethod
from mbrl_agents.training.checkpoints import load_meta
from mbrl_agents.training.trainer import FIT, LEARN, Report, Trainer, check_identity

ONLINE = "online"
"""Phase of the log in ``learn``, which counts environment steps."""

FIRST_CHECKPOINT = 500
"""Environment steps of ``learn`` before its first checkpoint, or what settings ask for, if less."""


class Agent(TrainedAgent):
    """An agent around a learned world model.

    It takes what SB3's tools take and gives what they give: ``learn`` with callbacks, ``predict``
    with ``state`` and ``episode_start``, ``save``, ``load``, ``set_env``, ``set_logger``.  ``fit``
    trains offline, on recorded episodes; ``learn`` on its own experience.  Arguments are those of
    `BaseAgent`.
    """

    # -- offline ------------------------------------------------------------------------

    def fit(
        self,
        episodes: Sequence[Episode] = (),
        *,
        folder: str | os.PathLike[str] | None = None,
        progress: Report | None = None,
        watch: Callable[[], None] | None = None,
        overrides: Sequence[str] = (),
        workers: int = 0,
        engine: str = "local",
    ) -> dict[str, float]:
        """Train on recorded episodes, or those that a phase gathers, every phase in turn.

        Args:
            episodes: kept for ``learn``; none are needed where a phase gathers some.
            folder: a run folder to write (and, after an interruption, to resume from).  One in
                which this training finished before, or went on to ``learn``, is not trained in
                again.
            progress: told of every log.
            watch: called after every update; it must not change what is computed.
            overrides: what the user asked for, recorded in the run folder.
            workers: processes for phases that act in environments like the agent's own; 0 lets them
                act in this one.  The result is the same.
            engine: where these environments are: "local", or "ray" for a cluster, where 0 workers
                are as many as it has processors.

        Returns:
            The last metrics by name, also in ``metrics``.

        Raises:
            ValueError: without episodes, without labels where a policy is cloned, or for the
                checkpoint of another training.
        """
        run = None if folder is None else Path(folder)
        if run is not None:
            refuse_earlier(run)
        self._ensure_logger(run)
        buffer = self._remember(episodes)
        acting = [p for p in self.algorithm.phases if isinstance(p, ActingPhase)]
        gathers = any(phase.gathers for phase in acting)
        if buffer.recorded is None and not gathers:
            raise ValueError("there are no episodes to learn from")
        own = None if run is None or not gathers else experience_folder(run, 1)
        buffer.record_into(1, own)
        self.trainer = trainer = self._new_trainer()
        for phase in trainer.phases.values():
            if phase.needs_labels and not buffer.has_labels():
                raise ValueError(
                    "no step of these episodes carries a demonstrator's label; "
                    "collect with the source 'expert' or 'noisy_expert'"
                )
        file = None if run is None else run / CHECKPOINT
        if file is not None and file.is_file():
            if self._continues(file):
                meta = load_meta(file)
                # `learn` restores what came of this fit, and everything after it.
                n_envs = 1 if self.env is None else self.env.num_envs
                check_identity(file, meta, self._identity(LEARN, n_envs))
                self.metrics = dict(meta["facts"]["metrics"])
                return self.metrics
            self._restore(file, self._identity(FIT))
        elif own is not None:
            buffer.tidy()
        if run is not None:
            reached = list(trainer.phases)[: trainer.phase + 1]
            for name in trainer.phases:
                at = trainer.done if name == reached[-1] else 0
                if name not in reached[:-1] and trainer.phase < len(trainer.phases):
                    trim_rows(run / LOG_FILE, name, at)
        began = time.perf_counter() - self.training_seconds

        def report(phase: str, done: int, total: int, row: dict[str, float]) -> None:
            for name, value in trainer.tagged(phase, row).items():
                self.logger.record(name, value)
            self.logger.dump(done)
            if run is not None:
                append_rows(run / LOG_FILE, phase, {"step": float(done), **row})
            if progress is not None:
                progress(phase, done, total, row)

        def save() -> None:
            self.training_seconds = time.perf_counter() - began
            assert file is not None
            tensors, meta = buffer.recorded_extras(), None
            if own is not None:
                tensors, meta = buffer.save(own)
            trainer.save(file, self._identity(FIT), self._facts({}), tensors, meta)
            buffer.tidy()

        with trainer.threads(), self._rollouts(acting, workers, engine):
            found = trainer.fit(buffer, report, save if file is not None else None, watch)
        if acting:
            self.num_timesteps = sum(phase.env_steps for phase in acting)
        self.metrics = dict(found)
        self.training_seconds = time.perf_counter() - began
        self.policy.eval()
        self.fitted = True
        if run is not None:
            self.save_run(run, overrides)
        return self.metrics

    def start_from(self, path: str | os.PathLike[str], episodes: Sequence[Episode] = ()) -> None:
        """Take the weights of a saved agent, to go on from them with ``learn``.

        It may be of another method, as long as it holds all modules of this one.  Where this
        agent's settings build them in another shape, they do not fit.

        Args:
            path: a run folder, or a file `save` wrote.
            episodes: recorded ones, which stay in the data of ``learn`` as if ``fit`` had been
                given them.

        Raises:
            FileNotFoundError: when there is nothing at ``path``, or a module is missing there.
            ValueError: when it saw other observations, took other actions, or its weights do not
                fit.
        """
        saved = read_saved(path)
        if not saved.facts["fitted"]:
            raise ValueError(f"the agent in {path} was not trained: there is nothing to start from")
        same = same_observations(saved.observation_space, self.observation_space)
        if not same or saved.action_space != self.action_space:
            seen, shown = map(observations_told, (saved.observation_space, self.observation_space))
            raise ValueError(
                f"the agent in {path} saw the observations {seen} and took the actions "
                f"{saved.action_space}; this one sees {shown} and takes {self.action_space}"
            )
        saved.load_into(self.algorithm.modules)
        self._remember(episodes)
        self._recorded += f", weights of {weights_digest(saved)}"
        self.trainer = self._new_trainer()
        # What is loaded had its first turn in the run that it comes from: refits follow.
        self.trainer.turns = dict.fromkeys(self.trainer.phases, 1)
        self.fitted = True

    @contextmanager
    def _rollouts(
        self, acting: Sequence[ActingPhase], workers: int = 0, engine: str = "local"
    ) -> Iterator[None]:
        """A context in which phases have environments like the agent's own to act in."""
        if not acting or self.env is None:
            yield
            return
        factory = EnvFactory.of(self.env.get_attr("spec", 0)[0])
        with rollouts_in(factory, workers=workers, engine=engine) as found:
            for phase in acting:
                phase.use(found)
            try:
                yield
            finally:
                for phase in acting:
                    phase.use(None)

    # -- online -------------------------------------------------------------------------

    def learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 1,
        tb_log_name: str = "Agent",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
        folder: str | os.PathLike[str] | None = None,
    ) -> Agent:
        """Act, remember, and train in step with it (SB3's ``learn``).

        Episodes given to ``fit`` stay in the data.

        Args:
            log_interval: ``training.log_every`` steps times this lie between logs.
            folder: a run folder for checkpoints.  Where it holds one already, training goes on
                from it, exactly as if it had never stopped.  To make that possible for
                environments that cannot be saved, all of them are reset with seeds of their own at
                every checkpoint, interrupted or not; with one environment that is when an episode
                ends anyway.  Checkpoints follow after 500, 1,000, 2,000, ... steps until
                ``training.checkpoint_every`` lie between them: how many steps a minute brings is
                not known before, and the clock must not decide where environments are reset.

        Raises:
            ValueError: without an environment, for a method whose prior needs demonstrations
                that nobody gave, or for the checkpoint of another training.
        """
        if self.env is None:
            raise ValueError("learn needs an environment: call set_env first")
        if not self.fitted and any(phase.needs_labels for phase in self.algorithm.phases):
            raise UsageError(
                f"{self.config.method!r} starts from a cloned policy: fit it to demonstrations "
                "before learning from its own experience"
            )
        run, settings = None if folder is None else Path(folder), self.settings
        n_envs = self.env.num_envs
        self.origin = origin_of(self.env)
        self._last_obs = None
        total, callback = self._setup_learn(
            total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar
        )
        assert isinstance(callback, BaseCallback)
        buffer, trainer, logged = self._prepare(run), self._trained(), self.num_timesteps
        random_until = 0 if trainer.fitted or self.fitted else settings.random_steps
        file = None if run is None else run / CHECKPOINT
        if run is not None and file is not None:
            if self._continues(file):
                facts = self._restore(file, self._identity(LEARN, n_envs))
                logged = int(facts["logged"])
                # A phase may have had turns while actions were still random.
                random_until = int(facts.get("random_until", 0))
                self._reset_environments()
            trim_rows(run / LOG_FILE, ONLINE, self.num_timesteps)
        collector = Collector(self.policy, buffer, n_envs)
        checkpoint = self.num_timesteps
        callback.on_training_start(locals(), globals())
        ended = self.num_timesteps >= total
        if not ended:
            callback.on_rollout_start()
        acting = [p for p in self.algorithm.phases if isinstance(p, ActingPhase)]
        with trainer.threads(), self._rollouts(acting):
            while not ended:
                draws = trainer.generator(1, self.num_timesteps)
                self._last_obs, rewards, dones, infos = collector.step(
                    self.env, self._last_obs, draws, random=self.num_timesteps < random_until
                )
                self.num_timesteps += n_envs
                self._last_episode_starts = dones
                callback.update_locals(locals())
                going = callback.on_step()
                ended = not going or self.num_timesteps >= total
                self._update_info_buffer(infos, dones)
                self._update_current_progress_remaining(self.num_timesteps, total)
                began = time.perf_counter()
                if going:
                    trainer.advance(buffer, self.num_timesteps, n_envs)
                self.training_seconds += time.perf_counter() - began
                waited = self.num_timesteps - logged
                if ended or (log_interval and waited >= settings.log_every * log_interval):
                    callback.on_rollout_end()
                    self._log(trainer, run)
                    logged = self.num_timesteps
                    if not ended:
                        callback.on_rollout_start()
                waited = self.num_timesteps - checkpoint
                every = min(settings.checkpoint_every, max(checkpoint, FIRST_CHECKPOINT))
                due = waited >= every and (bool(dones[0]) or waited >= 2 * every)
                if run is not None and going and (due or ended):
                    self._save_online(run, {"logged": logged, "random_until": random_until})
                    self._reset_environments()
                    collector.begin()
                    checkpoint = self.num_timesteps
        callback.on_training_end()
        self.policy.eval()
        self.fitted = self.fitted or trainer.fitted
        if run is not None:
            self.save_run(run)
        return self

    def _reset_environments(self) -> None:
        """Begin new episodes everywhere, by a seed that the number of steps decides."""
        assert self.env is not None
        words = np.random.SeedSequence([int(self.seed or 0), 2, self.num_timesteps])
        self.env.seed(int(words.generate_state(1)[0]))
        self._last_obs = self.env.reset()  # type: ignore[assignment]

    def _log(self, trainer: Trainer, run: Path | None) -> None:
        row = trainer.take_metrics()
        for name, value in row.items():
            self.logger.record(name, value)
        self.metrics = row or self.metrics
        self._log_rollouts()
        if run is not None and row:
            append_rows(run / LOG_FILE, ONLINE, {"step": float(self.num_timesteps), **row})


def make_model_based(
    recipe: AgentMethod,
    env: Any,
    *,
    seed: int | None = None,
    overrides: Mapping[str, Any],
    **arguments: Any,
) -> Agent:
    """An untrained agent; see `mbrl_agents.make_agent`."""
    parts, settings = Parts.among(overrides)
    env = None if env is None else maybe_make_env(env, 0)
    config = resolve_config(recipe.name, settings, success=tells_success(env))
    return Agent(config, env, seed=seed, parts=parts, **arguments)


__all__ = ["ONLINE", "Agent", "make_model_based"]
