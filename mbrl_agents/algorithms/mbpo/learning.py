"""Training MBPO: fits of the model, branched rollouts in it, updates of the model-free learner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mbrl_agents.algorithms.mbpo.config import MBPOTrainingConfig
from mbrl_agents.algorithms.mbpo.model import MBPOModel
from mbrl_agents.data.buffer import SequenceBuffer
from mbrl_agents.data.transitions import Transitions, draw_transitions, share
from mbrl_agents.protocols import Metrics, Schedule
from mbrl_agents.training.checkpoints import under
from mbrl_agents.training.model_free import ModelFree
from mbrl_agents.training.phase import ModulePhase

HELD_OUT = 512
"""Transitions of a look at held-out data, drawn with replacement."""

STATISTICS = 5000
"""Transitions that the normalisers are set from, likewise."""

AT_ONCE = 32
"""Updates of the learner that real transitions are drawn for in one go, which costs the least."""

POISSON = np.cumsum(np.exp(-1.0) / np.array([1.0, 1.0, 2.0, 6.0, 24.0, 120.0]))
"""Cumulative probabilities of 0, 1, 2, ... for a mean of 1."""


class ModelPhase(ModulePhase):
    """A fit of the ensemble: held-out transitions choose each member's weights, and the elites.

    A transition is held out, or counts so and so often for a member, for good, by its name: the
    counts are Poisson(1), so that members see different bootstraps of the data (Oza and Russell
    2001) though they are given the same batches.

    Args:
        config: settings of training.
        model: trained in place.
        seed: of batches and bootstraps.
    """

    def __init__(self, config: MBPOTrainingConfig, model: MBPOModel, *, seed: int) -> None:
        schedule = Schedule(
            updates=config.updates,
            start=config.random_steps,
            every=config.refit_every,
            per_turn=config.refit_updates,
            first=config.first_updates,
        )
        super().__init__("model", schedule, {"world_model": model}, seed=seed, length=2)
        self.config, self.model, self.seed = config, model, seed
        self.optimizers = {
            "model": torch.optim.Adam(model.decayed(), lr=config.learning_rate, fused=True)
        }
        self.turn = 0
        self.best: dict[str, Tensor] = {}
        self.best_error = torch.full((model.config.members,), torch.inf)

    def begin(self, buffer: SequenceBuffer, updates: int, *, seed: int, refit: bool) -> None:
        data, _ = self._draw(buffer, STATISTICS, self.batches)
        self.model.fit_statistics(data.to(self.device))
        self.best, self.turn = {}, 0
        self.best_error = torch.full((self.model.config.members,), torch.inf)

    def update(self, buffer: SequenceBuffer) -> Metrics:
        data, names = self._draw(buffer, self.config.batch_size, self.batches, self._kept)
        weight = torch.as_tensor(self.counts(names), dtype=torch.float32, device=self.device)
        loss, _, metrics = self.model.compute_loss(data.to(self.device), weight)
        self.step("model", loss, self.model.parameters(), torch.inf)
        self.updates += 1
        self.turn += 1
        if self.turn % self.config.check_every == 0:
            self._check(buffer)
        return metrics

    def end(self, buffer: SequenceBuffer) -> dict[str, float]:
        self._check(buffer)
        state = self.model.state_dict()
        for name, value in self.best.items():
            state[name].copy_(value)
        best = self.best_error.argsort()[: self.model.config.elites]
        # In the order of their numbers, so that equal elites are equal models.
        self.model.elites.copy_(best.sort().values)
        return {"error": float(self.best_error[best].mean())}

    def counts(self, names: np.ndarray) -> np.ndarray:
        """``(E, N)``: how often each transition is in each member's bootstrap."""
        members = range(self.model.config.members)
        drawn = np.stack([share(names, 2 + self.seed * 64 + member) for member in members])
        return np.searchsorted(POISSON, drawn, side="right")

    def _held(self, names: np.ndarray) -> np.ndarray:
        return share(names, 1 + self.seed * 64) < self.config.holdout

    def _kept(self, names: np.ndarray) -> np.ndarray:
        return ~self._held(names)

    def _draw(
        self, buffer: SequenceBuffer, size: int, draws: torch.Generator, wanted: Any = None
    ) -> tuple[Transitions, np.ndarray]:
        stack = self.model.layout.stacked_vectors
        try:
            return draw_transitions(buffer, size, stack, draws, wanted=wanted)
        except ValueError:  # of a few transitions all may be held out, or none
            return draw_transitions(buffer, size, stack, draws)

    @torch.no_grad()
    def _check(self, buffer: SequenceBuffer) -> None:
        """Note the weights of members that never did better on held-out transitions."""
        # All looks of a turn are at the same ones.
        draws = torch.Generator().manual_seed(self.seed + self.updates - self.turn)
        wanted = self._held if self.config.holdout > 0 else None
        data, _ = self._draw(buffer, HELD_OUT, draws, wanted)
        _, error, _ = self.model.compute_loss(data.to(self.device))
        better = error.cpu() < self.best_error
        for name, value in self.model.state_dict().items():
            if name.startswith(("dynamics.", "end.")):
                kept = self.best.setdefault(name, value.clone())
                kept[better.to(value.device)] = value[better.to(value.device)]
        self.best_error = torch.where(better, error.cpu(), self.best_error)

    def tensors(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors, meta = super().tensors()
        tensors |= {f"best/{name}": value for name, value in self.best.items()}
        tensors["best_error"] = self.best_error
        return tensors, {**meta, "turn": self.turn}

    def restore(self, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
        super().restore(tensors, meta)
        best = under(tensors, "best/")
        self.best = {name: value.to(self.device) for name, value in best.items()}
        self.best_error, self.turn = tensors["best_error"], int(meta["turn"])


class RolloutPhase(ModulePhase):
    """Branched rollouts: from real states, by the present policy, some steps into the model.

    An update is a set of them (algorithm 2 of arXiv:1906.08253, lines 6 to 9).  It comes after a
    fit of the model, never between its data and their use; the last sets are kept.

    Args:
        config: settings of training.
        model: imagines.
        learner: acts.
        seed: of the states, and of what is drawn on the way.

    Attributes:
        imagined: transitions of the sets kept, the oldest first; None before the first.
    """

    def __init__(
        self, config: MBPOTrainingConfig, model: MBPOModel, learner: ModelFree, *, seed: int
    ) -> None:
        schedule = Schedule(
            updates=config.retained,
            start=config.random_steps,
            every=config.rollout_every,
            first=1,
        )
        modules = {"world_model": model, "learner": learner}
        super().__init__("rollouts", schedule, modules, seed=seed, length=2)
        self.config, self.model, self.learner = config, model, learner
        self.imagined: Transitions | None = None
        self.sizes: list[int] = []

    @torch.no_grad()
    def update(self, buffer: SequenceBuffer) -> Metrics:
        config, draws = self.config, self.drawing()
        stack = self.model.layout.stacked_vectors
        steps = config.random_steps + self.updates * config.rollout_every
        real, _ = draw_transitions(buffer, config.rollouts, stack, self.batches)
        obs, path, length = (
            real.obs.to(self.device),
            list[ImaginedStep](),
            config.length_after(steps),
        )
        alive = torch.ones(len(obs), dtype=torch.bool, device=self.device)
        for _ in range(length):
            action = self.learner.act(obs, explore=True, generator=draws).clamp(-1.0, 1.0)
            # Where actions are drawn from a density, all of them are the policy's.
            own = torch.ones_like(alive)
            if self.learner.discrete:
                own = (action == self.learner.act(obs)).all(-1)
            following, reward = self.model.step(obs, action, draws)
            chance = torch.rand(len(obs), generator=draws, device=draws.device)
            terminal = chance.to(obs.device) < self.model.ending(following)
            path.append(ImaginedStep(obs, action, reward, following, terminal, alive, own))
            obs, alive = following, alive & ~terminal
            if not alive.any():
                break
        new = n_step_transitions(path, config.n_step, self.learner.config.discount)
        kept = [] if self.imagined is None else [self.imagined]
        self.sizes = [*self.sizes, len(new)][-config.retained :]
        self.imagined = Transitions.cat([*kept, new])[-sum(self.sizes) :]
        self.updates += 1
        return {
            "length": torch.tensor(float(length)),
            "transitions": torch.tensor(float(len(self.imagined))),
            "ends": torch.cat([step.terminal[step.alive] for step in path]).float().mean(),
            "reward": torch.cat([step.reward[step.alive] for step in path]).mean(),
        }

    def draw(self, size: int, generator: torch.Generator) -> Transitions:
        """``size`` imagined transitions, with replacement."""
        assert self.imagined is not None
        rows = torch.randint(len(self.imagined), (size,), generator=generator)
        return self.imagined[rows.to(self.imagined.reward.device)]

    def tensors(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors, meta = super().tensors()
        return tensors | _packed("imagined", self.imagined), {**meta, "sizes": self.sizes}

    def restore(self, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
        super().restore(tensors, meta)
        self.imagined = _unpacked("imagined", tensors, self.device)
        self.sizes = list(meta["sizes"])


@dataclass(frozen=True)
class ImaginedStep:
    """A step of rollouts side by side, each ``(N, ...)``.

    Attributes:
        obs, action, reward, next_obs, terminal: as of `Transitions`.
        alive: whether the rollout had not ended before.
        own: whether the policy would have acted so without exploring.
    """

    obs: Tensor
    action: Tensor
    reward: Tensor
    next_obs: Tensor
    terminal: Tensor
    alive: Tensor
    own: Tensor


def n_step_transitions(path: Sequence[ImaginedStep], n_step: int, discount: float) -> Transitions:
    """Transitions from every step of rollouts to up to ``n_step`` steps later.

    One goes on for as long as the rollout does and actions are the policy's own (Watkins 1989):
    what follows an action drawn at random is not what the first action leads to.

    Args:
        path: steps of the rollouts, in order.
        n_step: at least 1.
        discount: of rewards, per step.
    """
    parts = []
    for start, first in enumerate(path):
        reward, following = first.reward.clone(), first.next_obs.clone()
        terminal, count = first.terminal.clone(), torch.ones_like(first.reward, dtype=torch.int64)
        goes_on = ~first.terminal
        for ahead, step in enumerate(path[start + 1 : start + n_step], 1):
            goes_on = goes_on & step.own
            reward += torch.where(goes_on, discount**ahead * step.reward, 0.0)
            following = torch.where(goes_on[:, None], step.next_obs, following)
            terminal = torch.where(goes_on, step.terminal, terminal)
            count += goes_on
            goes_on = goes_on & ~step.terminal
        whole = Transitions(first.obs, first.action, reward, following, terminal, count)
        parts.append(whole[first.alive])
    return Transitions.cat(parts)


class PolicyPhase(ModulePhase):
    """Updates of the model-free learner on real and imagined transitions, mixed in each batch.

    Args:
        config: settings of training.
        model: says what observations consist of.
        learner: trained in place.
        rollouts: the imagined transitions; None to learn from real ones alone.
        seed: of batches, and of what the learner draws.
    """

    def __init__(
        self,
        config: MBPOTrainingConfig,
        model: MBPOModel,
        learner: ModelFree,
        rollouts: RolloutPhase | None,
        *,
        seed: int,
    ) -> None:
        schedule = Schedule(
            updates=config.updates,
            start=config.random_steps,
            per_turn=config.updates_per_step,
        )
        super().__init__("policy", schedule, {"learner": learner}, seed=seed, length=2)
        self.config, self.model, self.learner, self.rollouts = config, model, learner, rollouts
        self.optimizers = learner.optimizers
        self.left = 0  # updates of the turn
        self.waiting: Transitions | None = None  # real ones, drawn for several updates at once

    def begin(self, buffer: SequenceBuffer, updates: int, *, seed: int, refit: bool) -> None:
        self.left, self.waiting = updates, None

    def update(self, buffer: SequenceBuffer) -> Metrics:
        size, parts = self.learner.config.batch_size, list[Transitions]()
        imagining = self.rollouts is not None and self.rollouts.imagined is not None
        real = round(self.config.real_ratio * size) if imagining else size
        if real:
            parts.append(self._real(buffer, real))
        if real < size:
            assert self.rollouts is not None
            parts.append(self.rollouts.draw(size - real, self.batches))
        self.updates += 1
        self.left -= 1
        return self.learner.update(Transitions.cat(parts), self.drawing())

    def _real(self, buffer: SequenceBuffer, size: int) -> Transitions:
        if self.waiting is None or len(self.waiting) < size:
            count = size * max(1, min(self.left, AT_ONCE))
            stack = self.model.layout.stacked_vectors
            self.waiting = draw_transitions(buffer, count, stack, self.batches)[0].to(self.device)
        found, self.waiting = self.waiting[:size], self.waiting[size:]
        return found

    def tensors(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors, meta = super().tensors()
        return tensors | _packed("waiting", self.waiting), {**meta, "left": self.left}

    def restore(self, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
        super().restore(tensors, meta)
        self.left = int(meta["left"])
        self.waiting = _unpacked("waiting", tensors, self.device)


def _packed(name: str, data: Transitions | None) -> dict[str, Tensor]:
    """Transitions as named tensors, none without."""
    return {} if data is None else {f"{name}/{key}": value for key, value in vars(data).items()}


def _unpacked(name: str, tensors: Mapping[str, Tensor], device: torch.device) -> Transitions | None:
    """What `_packed` was given."""
    found = under(tensors, f"{name}/")
    return Transitions(**found).to(device) if found else None


__all__ = ["ModelPhase", "PolicyPhase", "RolloutPhase"]
