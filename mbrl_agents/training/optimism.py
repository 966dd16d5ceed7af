"""Optimism: how much more a world model promises of actions than came of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from mbrl_agents.data.buffer import SequenceBuffer
from mbrl_agents.data.recorded import RecordedEpisodes
from mbrl_agents.protocols import Batch, Metrics, Objective, Rollout, Schedule, WorldModel, tree_map
from mbrl_agents.training.filtering import AT_ONCE, filtered

HORIZON = 36
"""Control steps of a stretch at most."""

STRETCHES = 256
"""As many are kept with a model."""

LOGGED = (1, 3, 6, 12, 24, 36)
"""Horizons that are logged."""


@dataclass(frozen=True)
class Stretches:
    """``N`` stretches of episodes: a state, the actions executed from there, what came of them.

    Attributes:
        state: leaves ``(N, ...)``, what the model made of all it had seen by then.
        actions: ``(N, H, A)``, zeros beyond a stretch's end.
        realised: ``reward`` and ``continues`` ``(N, H)`` as recorded, ``steps_to_go`` as the model
            sees it one step before, from what was really observed.
        length: ``(N,)`` steps of each stretch.
    """

    state: Any
    actions: Tensor
    realised: Rollout
    length: Tensor

    def __len__(self) -> int:
        return len(self.length)

    def first(self, horizon: int) -> Stretches:
        """The first ``horizon`` steps of the stretches that are as long."""
        rows = (self.length >= horizon).nonzero()[:, 0]

        def part(x: Tensor | None) -> Tensor | None:
            return None if x is None else x[rows, :horizon]

        realised = Rollout(
            None,
            self.realised.reward[rows, :horizon],
            part(self.realised.continues),
            steps_to_go=part(self.realised.steps_to_go),
        )
        state = tree_map(lambda x: x[rows], self.state)
        return Stretches(state, self.actions[rows, :horizon], realised, self.length[rows])


@torch.no_grad()
def stretches_of(
    model: WorldModel[Any],
    episodes: Sequence[Batch],
    *,
    horizon: int = HORIZON,
    limit: int = STRETCHES,
) -> Stretches | None:
    """Stretches that begin at evenly spaced steps of episodes; None where there is no step.

    The model filters each episode from its first observation, as it does when it acts.

    Args:
        episodes: batches of whole ones, padded at their ends.
        horizon: steps of a stretch at most; those near an episode's end are shorter.
        limit: stretches at most.
    """
    total = int(sum(int((~batch.is_last & batch.mask).sum()) for batch in episodes))
    if total == 0:
        return None
    every = max(1, -(-total // limit))
    found, offset = [], 0
    for batch in episodes:
        states = filtered(model, batch)
        acts = ~batch.is_last & batch.mask
        number = acts.flatten().cumsum(0).reshape(acts.shape) - 1 + offset
        offset += int(acts.sum())
        row, start = (acts & (number % every == 0)).nonzero(as_tuple=True)
        if len(row):
            taken = Taken(
                states=tree_map(lambda x: x[:, :-1], states),
                actions=batch.prev_action[:, 1:],
                reward=batch.reward[:, 1:],
                terminal=batch.terminal[:, 1:],
                length=acts.sum(1),
            )
            found.append(cut(model, taken, row, start, horizon))
    return found[0] if len(found) == 1 else _joined(found)


@dataclass(frozen=True)
class Taken:
    """The steps of ``B`` episodes, each ``(B, T, ...)``; what lies beyond an end has no meaning.

    Attributes:
        states: a model's, at which the actions were taken.
        actions: normalised.
        reward, terminal: what came of each.
        length: ``(B,)`` steps of each episode.
    """

    states: Any
    actions: Tensor
    reward: Tensor
    terminal: Tensor
    length: Tensor


@torch.no_grad()
def cut(
    model: WorldModel[Any], taken: Taken, row: Tensor, start: Tensor, horizon: int
) -> Stretches:
    """The stretches ``(N,)`` that begin at steps ``start`` of episodes ``row``."""
    steps = torch.arange(horizon, device=row.device)
    ends = taken.length[row]
    length = (ends - start).clamp_max(horizon)
    inside = steps < length[:, None]
    rows = row[:, None].expand(-1, horizon)
    at = (start[:, None] + steps).minimum(ends[:, None] - 1)
    actions = taken.actions[rows, at] * inside[..., None]
    one = model.imagine(
        tree_map(lambda x: x[rows, at].flatten(0, 1), taken.states),
        actions.flatten(0, 1)[:, None],
    )
    realised = Rollout(
        None,
        taken.reward[rows, at] * inside,
        None if one.continues is None else (~taken.terminal[rows, at] & inside).float(),
        steps_to_go=None if one.steps_to_go is None else one.steps_to_go.reshape(-1, horizon),
    )
    return Stretches(tree_map(lambda x: x[row, start], taken.states), actions, realised, length)


def _joined(parts: Sequence[Stretches]) -> Stretches:
    def cat(values: Sequence[Tensor | None]) -> Tensor | None:
        known = [value for value in values if value is not None]
        return torch.cat(known) if known else None

    rollouts = [part.realised for part in parts]
    return Stretches(
        tree_map(lambda *x: torch.cat(x), parts[0].state, *(p.state for p in parts[1:])),
        torch.cat([part.actions for part in parts]),
        Rollout(
            None,
            torch.cat([r.reward for r in rollouts]),
            cat([r.continues for r in rollouts]),
            steps_to_go=cat([r.steps_to_go for r in rollouts]),
        ),
        torch.cat([part.length for part in parts]),
    )


@torch.no_grad()
def optimism_by_horizon(
    model: WorldModel[Any], stretches: Stretches, horizons: Sequence[int] = LOGGED
) -> dict[str, float]:
    """Mean optimism over the stretches that are long enough, ``reward_H`` and ``progress_H``.

    Reward: the sum predicted minus the sum received.  Progress, in control steps: steps to go as
    seen at what was reached, minus those of what was imagined.  Positive is optimistic.
    """
    found: dict[str, float] = {}
    for horizon in horizons:
        part = stretches.first(horizon)
        if not len(part):
            continue
        imagined = model.imagine(part.state, part.actions)
        gap = (imagined.reward - part.realised.reward).sum(1)
        found[f"reward_{horizon}"] = float(gap.mean())
        if imagined.steps_to_go is not None and part.realised.steps_to_go is not None:
            progress = part.realised.steps_to_go[:, -1] - imagined.steps_to_go[:, -1]
            found[f"progress_{horizon}"] = float(progress.mean())
    return found


class Calibration(nn.Module):
    """Held-out stretches kept with a model, so that any objective's optimism can be measured.

    Args:
        model: whose states are kept.
        horizon, count: of the stretches.
    """

    actions: Tensor
    state: Tensor
    reward: Tensor
    continues: Tensor
    steps_to_go: Tensor
    length: Tensor

    def __init__(
        self, model: WorldModel[Any], *, horizon: int = HORIZON, count: int = STRETCHES
    ) -> None:
        super().__init__()
        self._leaves = _leaves(model.initial(1))
        size = sum(leaf[0].numel() for leaf in self._leaves)
        self.register_buffer("state", torch.zeros(count, size))
        self.register_buffer("actions", torch.zeros(count, horizon, model.action_size))
        for name in ("reward", "continues", "steps_to_go"):
            self.register_buffer(name, torch.zeros(count, horizon))
        self.register_buffer("length", torch.zeros(count, dtype=torch.long))
        self.version = 0
        """Rises whenever the stretches change."""

    def fill(self, stretches: Stretches | None) -> None:
        """Keep these instead of what was kept; None for none."""
        for buffer in self.buffers():
            buffer.zero_()
        self.version += 1
        if stretches is None:
            return
        count = min(len(stretches), len(self.length))
        leaves = [leaf.reshape(len(leaf), -1).float() for leaf in _leaves(stretches.state)]
        self.state[:count] = torch.cat(leaves, 1)[:count]
        self.actions[:count] = stretches.actions[:count]
        realised = stretches.realised
        for kept, value in (
            (self.reward, realised.reward),
            (self.continues, realised.continues),
            (self.steps_to_go, realised.steps_to_go),
        ):
            kept[:count] = torch.nan if value is None else value[:count]
        self.length[:count] = stretches.length[:count]

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        self.version += 1
        return super().load_state_dict(*args, **kwargs)

    def stretches(self, model: WorldModel[Any]) -> Stretches | None:
        """What is kept, or None."""
        rows = (self.length > 0).nonzero()[:, 0]
        if not len(rows):
            return None
        parts = self.state[rows].split([leaf[0].numel() for leaf in self._leaves], 1)
        leaves = iter(
            part.reshape(len(rows), *leaf.shape[1:]).to(leaf.dtype)
            for part, leaf in zip(parts, self._leaves, strict=True)
        )
        state = tree_map(lambda _: next(leaves), model.initial(1))

        def known(value: Tensor) -> Tensor | None:
            return None if bool(value[rows].isnan().any()) else value[rows]

        realised = Rollout(
            None, self.reward[rows], known(self.continues), steps_to_go=known(self.steps_to_go)
        )
        return Stretches(state, self.actions[rows], realised, self.length[rows])

    @torch.no_grad()
    def errors(self, model: WorldModel[Any], objective: Objective, horizon: int) -> Tensor:
        """``(N,)`` predicted minus realised score of the kept stretches, as far as they go.

        Reward, ends and steps to go are compared; disagreement, and a value beyond the horizon,
        count as predicted on both sides.

        Args:
            horizon: control steps that plans have; at most those of the kept stretches are used.
        """
        kept = self.stretches(model)
        part = None if kept is None else kept.first(min(horizon, self.actions.shape[1]))
        if part is None or not len(part):
            return torch.zeros(0)
        imagined = model.imagine(part.state, part.actions)
        known: Mapping[str, Any] = {
            name: value
            for name in ("reward", "continues", "steps_to_go")
            if (value := getattr(part.realised, name)) is not None
        }
        return objective.score(imagined) - objective.score(replace(imagined, **known))


class OptimismPhase:
    """Keeps stretches of held-out episodes with the model once it is fitted, and logs optimism.

    Args:
        calibration: filled.
        model: of which.
        schedule: of the world model's phase: after each of its turns.
        holdout, seed: which episodes are held out; all are used where none is.
    """

    name = "optimism"
    needs_labels = False

    def __init__(
        self,
        calibration: Calibration,
        model: WorldModel[Any],
        schedule: Schedule,
        *,
        holdout: float,
        seed: int,
    ) -> None:
        self.calibration, self.model = calibration, model
        self.schedule = replace(schedule, updates=1, per_turn=1.0, first=1)
        self.holdout, self.seed = holdout, seed

    def ready(self, buffer: SequenceBuffer) -> bool:
        return buffer.has_episodes()

    def begin(self, buffer: SequenceBuffer, updates: int, *, seed: int, refit: bool) -> None:
        """Nothing has to be prepared."""

    def update(self, buffer: SequenceBuffer) -> Metrics:
        shown, held = buffer.split(self.holdout, self.seed)
        data = shown if held is None else held
        device = self.calibration.actions.device
        self.calibration.fill(stretches_of(self.model, whole_episodes(data, device)))
        return {}

    def evaluate(self, buffer: SequenceBuffer) -> dict[str, float]:
        kept = self.calibration.stretches(self.model)
        return {} if kept is None else optimism_by_horizon(self.model, kept)

    def end(self, buffer: SequenceBuffer) -> dict[str, float]:
        return {}

    def tensors(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return {}, {}

    def restore(self, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
        """Everything it has is in the module."""


def whole_episodes(data: RecordedEpisodes, device: torch.device | str = "cpu") -> list[Batch]:
    """Batches of whole episodes, at most `STRETCHES` of them, evenly taken."""
    every = torch.arange(0, len(data.first), max(1, -(-len(data.first) // STRETCHES)))
    return [data.whole(episodes).to(device) for episodes in every.split(AT_ONCE)]


def _leaves(state: Any) -> list[Tensor]:
    found: list[Tensor] = []
    tree_map(found.append, state)
    return found


__all__ = [
    "Calibration",
    "OptimismPhase",
    "Stretches",
    "Taken",
    "cut",
    "optimism_by_horizon",
    "stretches_of",
    "whole_episodes",
]
