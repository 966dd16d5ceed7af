"""What an agent trains with: its buffer and trainer, and the checkpoints they go on from."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from mbrl_agents.agents.base import BaseAgent
from mbrl_agents.agents.experience import experience_folder
from mbrl_agents.agents.saving import CHECKPOINT, refuse_earlier
from mbrl_agents.data.buffer import SequenceBuffer
from mbrl_agents.data.episode import Episode
from mbrl_agents.protocols import Batch
from mbrl_agents.training.checkpoints import load_meta, load_tensors, under
from mbrl_agents.training.trainer import FIT, LEARN, Trainer

UNTIED = ("log_every", "checkpoint_every", "threads", "compile")
"""Training settings that a resumed run may change."""

NOTHING_RECORDED = "no recorded episodes"
"""What a checkpoint says of an agent that was given none."""


class TrainedAgent(BaseAgent):
    """An agent with a buffer and a trainer, made when they are first needed."""

    def _setup_model(self) -> None:
        self.buffer: SequenceBuffer | None = None
        self.trainer: Trainer | None = None
        self._recorded = NOTHING_RECORDED
        super()._setup_model()

    def _new_buffer(self, episodes: Sequence[Episode] = ()) -> SequenceBuffer:
        return SequenceBuffer(
            self.observation_space,
            self.action_space,
            recorded=episodes,
            extras=self.algorithm.extras,
            capacity=self.settings.replay_size,
            label_successes=getattr(self.settings, "clone_successes", False),
        )

    def _remember(self, episodes: Sequence[Episode]) -> SequenceBuffer:
        """A new buffer, with recorded episodes that checkpoints depend on."""
        self.buffer = buffer = self._new_buffer(episodes)
        self._recorded = NOTHING_RECORDED
        if buffer.recorded is not None:
            self._recorded = f"recorded: {buffer.recorded.fingerprint()}"
        return buffer

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

    def _save_online(self, run: Path, facts: dict[str, Any]) -> None:
        assert self.buffer is not None
        trainer, n_envs = self._trained(), self.buffer.own.n_envs
        tensors, meta = self.buffer.save(experience_folder(run, n_envs))
        trainer.stage = LEARN
        identity = self._identity(LEARN, n_envs)
        trainer.save(run / CHECKPOINT, identity, self._facts(facts), tensors, meta)
        self.buffer.tidy()

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "buffer", "trainer", "algorithm", "parts"]


__all__ = ["TrainedAgent"]
