"""The trainer: runs an algorithm's phases over a buffer, offline or in step with environments."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mbrl_agents.data.buffer import SequenceBuffer
from mbrl_agents.nn.sharing import averaged
from mbrl_agents.protocols import ActingPhase, Algorithm, Metrics, Phase
from mbrl_agents.training.checkpoints import load_tensors, save_tensors, under
from mbrl_agents.training.means import RunningMeans
from mbrl_agents.training.settings import TrainingSettings

Report = Callable[[str, int, int, dict[str, float]], None]
"""Called with a phase's name, updates done, updates in all, and metrics by name."""

SAVE_SECONDS = 60.0
"""How much of a fit a kill costs at most, beside an update."""

FIT, LEARN = "fit", "learn"
"""Stages: offline on recorded episodes, and in step with environments."""


class Trainer:
    """Where the training of one algorithm stands.

    Attributes:
        stage: `FIT` or `LEARN`.
        phase, done: in a fit, the number of the phase in turn and its updates so far.
        turns: finished turns by phase.
        metrics: of a fit, the last of each phase, by names as in `tagged`.
        work: updates of each phase so far and their seconds, without looks at held-out data and
            what prepares a turn.  On a GPU, seconds until the update was handed to it.
    """

    def __init__(self, algorithm: Algorithm, settings: TrainingSettings, *, seed: int) -> None:
        self.algorithm, self.settings, self.seed = algorithm, settings, seed
        self.phases = {phase.name: phase for phase in algorithm.phases}
        self.stage = FIT
        self.phase = self.done = 0
        self.metrics: dict[str, float] = {}
        self.turns = dict.fromkeys(self.phases, 0)
        self.work = dict.fromkeys(self.phases, (0, 0.0))
        self._waited = dict.fromkeys(self.phases, 0)
        self._credit = dict.fromkeys(self.phases, 0.0)
        self._means = {name: RunningMeans() for name in self.phases}
        self._held_out: dict[str, dict[str, float]] = {name: {} for name in self.phases}

    @property
    def fitted(self) -> bool:
        """Whether any phase had a turn."""
        return any(self.turns.values())

    # -- offline ------------------------------------------------------------------------

    def fit(
        self,
        buffer: SequenceBuffer,
        report: Report,
        save: Callable[[], None] | None = None,
        watch: Callable[[], None] | None = None,
    ) -> dict[str, float]:
        """Every phase in turn, from where a restored checkpoint left off.

        Args:
            report: told of every log.
            save: writes a checkpoint; called when the settings say, and `SAVE_SECONDS` after the
                last one, as none changes what is computed.
            watch: called after every update; it must not change what is computed.

        Returns:
            ``metrics``.
        """
        phases = list(self.phases.values())
        saved = time.monotonic()
        while self.phase < len(phases):
            phase = phases[self.phase]
            total, every = phase.schedule.updates, self._log_every(phase)
            checkpoint_every = phase.schedule.checkpoint_every or self.settings.checkpoint_every
            if self.done == 0:
                phase.begin(buffer, total, seed=self.seed, refit=False)
            while self.done < total:
                self._means[phase.name].add(self._update(phase, buffer))
                self.done += 1
                if watch is not None:
                    watch()
                if self.done % every == 0 or self.done == total:
                    self._held_out[phase.name] = phase.evaluate(buffer)
                    row = self._row(phase.name)
                    self.metrics |= self.tagged(phase.name, row)
                    report(phase.name, self.done, total, row)
                due = self.done % checkpoint_every == 0 or time.monotonic() - saved >= SAVE_SECONDS
                if save and due and self.done < total:
                    save()
                    saved = time.monotonic()
            last = {f"held_out/{name}": value for name, value in phase.end(buffer).items()}
            self.metrics |= self.tagged(phase.name, last)
            self.turns[phase.name] += 1
            self.phase, self.done = self.phase + 1, 0
            if save is not None:
                save()
                saved = time.monotonic()
        return self.metrics

    # -- online -------------------------------------------------------------------------

    def advance(self, buffer: SequenceBuffer, total: int, steps: int) -> None:
        """Whatever is due after ``steps`` more environment steps, ``total`` in all."""
        self.stage = LEARN
        for phase in self.phases.values():
            updates = self._due(phase, buffer, total, steps)
            if not updates:
                continue
            refit = self.turns[phase.name] > 0
            # A later turn must not draw the batches of the one before it.
            phase.begin(buffer, updates, seed=self.seed + total * refit, refit=refit)
            for done in range(1, updates + 1):
                self._means[phase.name].add(self._update(phase, buffer))
                if done % self._log_every(phase) == 0 or done == updates:
                    self._held_out[phase.name] |= phase.evaluate(buffer)
            self._held_out[phase.name] |= phase.end(buffer)
            self.turns[phase.name] += 1

    def _update(self, phase: Phase, buffer: SequenceBuffer) -> Metrics:
        """One update, whose time is taken."""
        began = time.perf_counter()
        metrics = averaged(phase.update(buffer))
        updates, seconds = self.work[phase.name]
        self.work[phase.name] = updates + 1, seconds + time.perf_counter() - began
        return metrics

    def _due(self, phase: Phase, buffer: SequenceBuffer, total: int, steps: int) -> int:
        """Updates that a phase has to take now."""
        schedule, name = phase.schedule, phase.name
        if isinstance(phase, ActingPhase) and phase.gathers:
            return 0  # whoever learns online gathers by acting
        if phase.needs_labels and not buffer.has_labels():
            return 0
        if self.turns[name] == 0:
            if total < schedule.start or not phase.ready(buffer):
                return 0
            if schedule.first is not None:
                return schedule.first
        self._waited[name] += steps
        while self._waited[name] >= schedule.every:
            self._waited[name] -= schedule.every
            self._credit[name] += schedule.per_turn
        updates = int(self._credit[name])
        self._credit[name] -= updates
        return updates

    def _log_every(self, phase: Phase) -> int:
        return phase.schedule.log_every or self.settings.log_every

    def take_metrics(self) -> dict[str, float]:
        """Means since the last call, and the last look at held-out data, of all phases."""
        found: dict[str, float] = {}
        for name in self.phases:
            found |= self.tagged(name, self._row(name))
        return found

    def tagged(self, phase: str, row: Mapping[str, float]) -> dict[str, float]:
        """``train/loss`` as ``train/PHASE/loss``, unless there is but one phase."""
        if len(self.phases) == 1:
            return dict(row)
        return {key.replace("/", f"/{phase}/", 1): value for key, value in row.items()}

    def _row(self, phase: str) -> dict[str, float]:
        row = {f"train/{name}": value for name, value in self._means[phase].take().items()}
        row |= {f"held_out/{name}": value for name, value in self._held_out[phase].items()}
        self._held_out[phase] = {}
        return row

    @contextmanager
    def threads(self) -> Iterator[None]:
        """A context with as many threads as the settings ask for."""
        before = torch.get_num_threads()
        if self.settings.threads:
            torch.set_num_threads(self.settings.threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)

    def generator(self, *words: int) -> torch.Generator:
        """A generator that the seed and ``words`` decide, on the CPU."""
        state = np.random.SeedSequence([self.seed, *words]).generate_state(1)
        return torch.Generator().manual_seed(int(state[0]))

    # -- files --------------------------------------------------------------------------

    def save(
        self,
        file: Path,
        identity: str,
        facts: Mapping[str, Any],
        tensors: Mapping[str, Tensor],
        buffer: Mapping[str, Any] | None,
    ) -> None:
        """Write everything training goes on from; the last file written makes it count.

        Args:
            identity: what training it belongs to.
            facts: plain JSON values, returned by `restore`.
            tensors, buffer: what the buffer goes on from.
        """
        found = {f"buffer/{name}": value for name, value in tensors.items()}
        phases: dict[str, Any] = {}
        for name, module in self.algorithm.modules.items():
            found |= {f"modules/{name}/{k}": v for k, v in module.state_dict().items()}
        for name, phase in self.phases.items():
            state, phases[name] = phase.tensors()
            found |= {f"phases/{name}/{k}": v for k, v in state.items()}
        for name, means in self._means.items():
            found |= {f"means/{name}/{k}": v for k, v in means.sums.items()}
        meta = {
            "identity": identity,
            "stage": self.stage,
            "phase": self.phase,
            "done": self.done,
            "turns": self.turns,
            "work": self.work,
            "metrics": self.metrics,
            "waited": self._waited,
            "credit": self._credit,
            "means": {name: means.count for name, means in self._means.items()},
            "held_out": self._held_out,
            "phases": phases,
            "buffer": buffer,
            "facts": dict(facts),
        }
        save_tensors(file, found, meta)

    def restore(
        self, file: Path, identity: str
    ) -> tuple[dict[str, Any], dict[str, Tensor], dict[str, Any] | None]:
        """Go on from a checkpoint; returns ``facts``, and what the buffer goes on from.

        Raises:
            ValueError: for the checkpoint of another training or version.
        """
        tensors, meta = load_tensors(file)
        check_identity(file, meta, identity)
        if list(meta["phases"]) != list(self.phases):
            # The phase it stopped in is written as a number.
            raise ValueError(
                f"{file} was written by a version with the phases {', '.join(meta['phases'])}, not "
                f"{', '.join(self.phases)}; take another folder or remove the file"
            )
        for name, module in self.algorithm.modules.items():
            module.load_state_dict(under(tensors, f"modules/{name}/"))
        self.stage, self.phase, self.done = meta["stage"], meta["phase"], meta["done"]
        self.turns, self.metrics = meta["turns"], meta["metrics"]
        # Checkpoints of earlier versions do not say.
        self.work |= {name: (int(n), float(s)) for name, (n, s) in meta.get("work", {}).items()}
        self._waited = meta["waited"]
        self._credit, self._held_out = meta["credit"], meta["held_out"]
        for name, phase in self.phases.items():
            phase.restore(under(tensors, f"phases/{name}/"), meta["phases"][name])
        for name, means in self._means.items():
            means.restore(under(tensors, f"means/{name}/"), meta["means"][name])
        return meta["facts"], under(tensors, "buffer/"), meta["buffer"]


def check_identity(file: Path, meta: Any, identity: str) -> None:
    """Raise ValueError unless a checkpoint belongs to the training ``identity`` describes."""
    if not isinstance(meta, dict) or meta.get("identity") != identity:
        found = meta.get("identity") if isinstance(meta, dict) else None
        raise ValueError(
            f"{file} belongs to another training ({found}; this one: {identity}); "
            "take another folder or remove the file"
        )


__all__ = ["FIT", "LEARN", "Report", "Trainer", "check_identity"]
