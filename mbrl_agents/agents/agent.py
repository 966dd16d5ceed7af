"""Agent: any algorithm trained on recorded episodes or on its own experience, through SB3."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.type_aliases import MaybeCallback

from mbrl_agents.agents.base import BaseAgent, Parts
from mbrl_agents.agents.experience import Collector, experience_folder
from mbrl_agents.agents.saving import CHECKPOINT, LOG_FILE, append_rows, refuse_earlier, trim_rows
from mbrl_agents.config import resolve_config
from mbrl_agents.data.buffer import SequenceBuffer
from mbrl_agents.data.env_workers import EnvFactory, rollouts_in
from mbrl_agents.data.episode import Episode
from mbrl_agents.protocols import ActingPhase, Batch
from mbrl_agents.registry import AgentMethod
from mbrl_agents.training.checkpoints import load_meta, load_tensors, under
from mbrl_agents.training.trainer import FIT, LEARN, Report, Trainer, check_identity

ONLINE = "online"
"""Phase of the log in ``learn``, which counts environment steps."""

UNTIED = ("log_every", "checkpoint_every", "threads", "compile")
"""Training settings that a resumed run may change."""


class Agent(BaseAgent):
    """An agent around a learned world model.

    It takes what SB3's tools take and gives what they give: ``learn`` with callbacks, ``predict``
    with ``state`` and ``episode_start``, ``save``, ``load``, ``set_env``, ``set_logger``.  ``fit``
    trains offline, on recorded episodes; ``learn`` on its own experience.  Arguments are those of
    `BaseAgent`.
    """

    def _setup_model(self) -> None:
        self.buffer: SequenceBuffer | None = None
        self.trainer: Trainer | None = None
        self._recorded = "no recorded episodes"
        super()._setup_model()

    # -- offline ------------------------------------------------------------------------

    def fit(
        self,
        episodes: Sequence[Episode] = (),
        *,
        folder: str | os.PathLike[str] | None = None,
        progress: Report | None = None,
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
        self.buffer = buffer = self._new_buffer(episodes)
        acting = [p for p in self.algorithm.phases if isinstance(p, ActingPhase)]
        gathers = any(phase.gathers for phase in acting)
        if buffer.recorded is not None:
            self._recorded = f"recorded: {buffer.recorded.fingerprint()}"
        elif not gathers:
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
            found = trainer.fit(buffer, report, save if file is not None else None)
        if acting:
            self.num_timesteps = sum(phase.env_steps for phase in acting)
        self.metrics = dict(found)
        self.training_seconds = time.perf_counter() - began
        self.policy.eval()
        self.fitted = True
        if run is not None:
            self.save_run(run, overrides)
        return self.metrics

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
                ends anyway.

        Raises:
            ValueError: without an environment, for a method whose prior needs demonstrations
                that nobody gave, or for the checkpoint of another training.
        """
        if self.env is None:
            raise ValueError("learn needs an environment: call set_env first")
        if not self.fitted and any(phase.needs_labels for phase in self.algorithm.phases):
            raise ValueError(
                f"{self.config.method!r} starts from a cloned policy: fit it to demonstrations "
                "before learning from its own experience"
            )
        run, settings = None if folder is None else Path(folder), self.settings
        n_envs = self.env.num_envs
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
                due = waited >= settings.checkpoint_every and (
                    bool(dones[0]) or waited >= 2 * settings.checkpoint_every
                )
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

    def _save_online(self, run: Path, facts: dict[str, Any]) -> None:
        assert self.buffer is not None
        trainer, n_envs = self._trained(), self.buffer.own.n_envs
        tensors, meta = self.buffer.save(experience_folder(run, n_envs))
        trainer.stage = LEARN
        identity = self._identity(LEARN, n_envs)
        trainer.save(run / CHECKPOINT, identity, self._facts(facts), tensors, meta)
        self.buffer.tidy()

    def _reset_environments(self) -> None:
        """Begin new episodes everywhere, by a seed that the number of steps decides."""
        assert self.env is not None
        words = np.random.SeedSequence([int(self.seed or 0), 2, self.num_timesteps])
        self.env.seed(int(words.generate_state(1)[0]))
        self._last_obs = self.env.reset()  # type: ignore[assignment]

    # -- buffer, trainer, checkpoints ---------------------------------------------------

    def _new_buffer(self, episodes: Sequence[Episode] = ()) -> SequenceBuffer:
        return SequenceBuffer(
            self.observation_space,
            self.action_space,
            recorded=episodes,
            extras=self.algorithm.extras,
            capacity=self.settings.replay_size,
            label_successes=getattr(self.settings, "clone_successes", False),
        )

    def _new_trainer(self) -> Trainer:
        return Trainer(self.algorithm, self.settings, seed=int(self.seed or 0))

    def _trained(self) -> Trainer:
        if self.trainer is None:
            self.trainer = self._new_trainer()
        return self.trainer

    def _prepare(self, run: Path | None) -> SequenceBuffer:
        """The buffer, kept between calls, recording into the run folder if there is one.

        Raises:
            ValueError: when its rings would not hold a training sequence.
        """
        assert self.env is not None
        n_envs, settings = self.env.num_envs, self.settings
        if settings.replay_size // n_envs <= settings.sequence_length:
            raise ValueError(
                f"{settings.replay_size} steps in {n_envs} rings hold no sequence of "
                f"{settings.sequence_length} steps"
            )
        buffer = self.buffer = self.buffer or self._new_buffer()
        folder = None if run is None else experience_folder(run, n_envs)
        if run is not None:
            refuse_earlier(run)
        buffer.record_into(n_envs, folder)
        if run is not None and not self._continues(run / CHECKPOINT):
            buffer.tidy()
        return buffer

    @staticmethod
    def _continues(file: Path) -> bool:
        """Whether a file is the checkpoint of an interrupted ``learn``."""
        return file.is_file() and load_meta(file).get("stage") == LEARN

    def _identity(self, stage: str, n_envs: int = 1) -> str:
        """What a checkpoint belongs to; how long, how fast and with which logs may change."""
        tree = self.config.to_dict()
        for name in UNTIED:
            tree["training"].pop(name)
        if stage == FIT:
            tree.pop("planner", None)
            tree.pop("objective", None)
        return f"{stage}, {tree}, seed {self.seed}, {n_envs} environments, {self._recorded}"

    def _facts(self, facts: dict[str, Any]) -> dict[str, Any]:
        return {
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

    def _restore(self, file: Path, identity: str) -> dict[str, Any]:
        """Go on from a checkpoint; returns the facts that were written with it."""
        assert self.buffer is not None
        trainer, buffer = self._trained(), self.buffer
        facts, tensors, meta = trainer.restore(file, identity)
        folder = None if meta is None else experience_folder(file.parent, buffer.own.n_envs)
        buffer.restore(folder, tensors, meta)
        buffer.tidy()
        self.num_timesteps = int(facts["num_timesteps"])
        self.training_seconds = float(facts["training_seconds"])
        self.metrics = dict(facts["metrics"])
        for found, name in (
            (self.ep_info_buffer, "episodes"),
            (self.ep_success_buffer, "successes"),
        ):
            if found is not None:
                found.clear()
                found.extend(facts[name])
        return facts

    def load_experience(self, folder: str | os.PathLike[str]) -> None:
        """Read the own experience of a run folder, as `recordings` gives it.

        Raises:
            FileNotFoundError: where the folder has no checkpoint of ``learn``.
        """
        run = Path(folder)
        if not self._continues(run / CHECKPOINT):
            raise FileNotFoundError(
                f"{run} keeps no experience of its own; give recorded episodes (--data FOLDER)"
            )
        tensors, meta = load_tensors(run / CHECKPOINT)
        n_envs = len(meta["buffer"]["count"])
        self.buffer = self._new_buffer()
        self.buffer.record_into(n_envs, None)
        found = under(tensors, "buffer/")
        self.buffer.restore(experience_folder(run, n_envs), found, meta["buffer"])

    def recordings(self, episodes: Sequence[Episode] = (), count: int = 8) -> list[Batch]:
        """Episodes as a world model reads them, each a `Batch` of ``(N, ...)``.

        Args:
            episodes: those to read; without any the newest of own experience.
            count: how many at most.
        """
        found = list(episodes)[:count]
        if not found and self.buffer is not None:
            found = self.buffer.newest(count)
        if not found:
            return []
        recorded = self._new_buffer(found).recorded
        assert recorded is not None
        every = torch.arange(len(found))
        return [recorded.whole(number[None])[0] for number in every]

    def _log(self, trainer: Trainer, run: Path | None) -> None:
        row = trainer.take_metrics()
        for name, value in row.items():
            self.logger.record(name, value)
        self.metrics = row or self.metrics
        self._log_rollouts()
        if run is not None and row:
            append_rows(run / LOG_FILE, ONLINE, {"step": float(self.num_timesteps), **row})

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "buffer", "trainer", "algorithm", "parts"]


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
    return Agent(resolve_config(recipe.name, settings), env, seed=seed, parts=parts, **arguments)


__all__ = ["ONLINE", "Agent", "make_model_based"]
