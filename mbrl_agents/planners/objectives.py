"""Objectives: what makes one imagined rollout better than another."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mbrl_agents.protocols import Rollout


@dataclass(frozen=True)
class ReturnObjectiveConfig:
    """Settings of `ReturnObjective`.

    Attributes:
        discount: per control step.
        terminal_value: whether the model's value at the horizon's end counts.
        disagreement: penalty per unit of the rollout's mean disagreement.  A negative one is a
            bonus, which leads to what the model does not know yet (Plan2Explore, Sekar et al.
            2020): for gathering experience, not for tests.
    """

    discount: float = 0.99
    terminal_value: bool = True
    disagreement: float = 0.0


class ReturnObjective:
    """Discounted return: ``sum_h d^h c_h r_h + d^H c_H v_H``.

    ``c_h`` is the probability that the episode still runs when step ``h`` is taken, the product
    of the continuations before it, so nothing counts after a predicted end.
    """

    def __init__(self, config: ReturnObjectiveConfig | None = None) -> None:
        self.config = config or ReturnObjectiveConfig()

    def reads_value(self, *, steps_to_go: bool) -> bool:
        """Whether rollouts, with ``steps_to_go`` or without, need a value as well."""
        return self.config.terminal_value

    def score(self, rollout: Rollout) -> Tensor:
        reward, discount = rollout.reward, self.config.discount
        horizon = reward.shape[1]
        last: float | Tensor = discount**horizon  # weight of what lies beyond the horizon
        if rollout.continues is not None:
            alive = torch.cumprod(rollout.continues, 1)
            reward = torch.cat([reward[:, :1], alive[:, :-1] * reward[:, 1:]], 1)
            last = last * alive[:, -1]
        if discount != 1:
            reward = reward * reward.new_tensor([discount**step for step in range(horizon)])
        score = reward.sum(1)
        if self.config.terminal_value and rollout.value is not None:
            score = score + last * rollout.value[:, -1]
        return _penalised(score, rollout, self.config.disagreement)


@dataclass(frozen=True)
class ProgressObjectiveConfig:
    """Settings of `ProgressObjective`.

    Attributes:
        mode: which imagined states count: "end" the last, "best" the one from which success is
            reached soonest, "mean" all of them.
        disagreement: penalty in control steps per unit of the rollout's mean disagreement; a
            negative one is a bonus, as in `ReturnObjectiveConfig`.
        reward: control steps per unit of the rollout's mean predicted reward; gives a slope where
            steps to go has none.
        cumulative: whether each step counts by the sum of the rewards up to it, as fits a reward
            that is the change of a potential, such as LIBERO's "progress"; without, by its own
            reward, as fits one that says how good a state is, such as LIBERO's "dense".
        end_reward: reward per step that counts once the episode has ended.  A dense reward pays
            for holding an object over its target as much as for letting go; where an episode ends
            in success alone, as in LIBERO, this makes ending it pay.
        discount: turns a value into steps to go for a model without such a head.
    """

    mode: str = "end"
    disagreement: float = 4.0
    reward: float = 0.0
    cumulative: bool = False
    end_reward: float = 0.0
    discount: float = 0.99

    def __post_init__(self) -> None:
        if self.mode not in ("end", "best", "mean"):
            raise ValueError(f"mode must be 'end', 'best' or 'mean', got {self.mode!r}")


class ProgressObjective:
    """Minus the control steps until success, counted from now, minus a penalty for disagreement.

    A discounted value rises by 10 % in ten steps, about as much as its own error; the steps to go
    behind it fall by ten.

    Raises:
        ValueError: when a rollout has neither steps to go nor a value.
    """

    def __init__(self, config: ProgressObjectiveConfig | None = None) -> None:
        self.config = config or ProgressObjectiveConfig()

    def reads_value(self, *, steps_to_go: bool) -> bool:
        """Whether rollouts, with ``steps_to_go`` or without, need a value as well."""
        return not steps_to_go

    def score(self, rollout: Rollout) -> Tensor:
        to_go = rollout.steps_to_go
        if to_go is None:
            if rollout.value is None:
                raise ValueError(
                    "the progress objective needs a model with steps to go or a value; "
                    "take objective 'return' for this one"
                )
            to_go = rollout.value.clamp_min(1e-8).log() / math.log(self.config.discount)
        horizon = to_go.shape[1]
        total = to_go + torch.arange(1, horizon + 1, device=to_go.device)
        if self.config.mode == "end":
            score = -total[:, -1]
        elif self.config.mode == "best":
            score = -total.amin(1)
        else:
            score = -total.mean(1)
        if self.config.reward:
            # Rounded: a per cent of doubt at every step would add up to an end that pays.
            reward = rollout.reward
            if rollout.continues is not None:
                running = _running((rollout.continues > 0.5).float())
                reward = running * reward + (1 - running) * self.config.end_reward
            if self.config.cumulative:
                reward = reward.cumsum(1)
            score = score + self.config.reward * reward.mean(1)
        return _penalised(score, rollout, self.config.disagreement)


def _penalised(score: Tensor, rollout: Rollout, weight: float) -> Tensor:
    if weight and rollout.disagreement is not None:
        return score - weight * rollout.disagreement.mean(1)
    return score


def _running(continues: Tensor) -> Tensor:
    """``(B, H)`` probability that the episode still runs when each step is taken."""
    alive = torch.cumprod(continues, 1)
    return torch.cat([torch.ones_like(alive[:, :1]), alive[:, :-1]], 1)
