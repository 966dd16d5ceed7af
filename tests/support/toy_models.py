"""World models and objectives with known answers, for planner tests."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Normal

from mbrl_agents.protocols import Rollout


class KnownModel:
    """The state is a target ``(B, A)``; the reward of an action is minus its squared distance.

    ``calls`` counts imaginations, ``seen`` keeps the actions of the last one.
    """

    def __init__(self, action_size: int = 3) -> None:
        self.action_size = action_size
        self.feature_size = action_size
        self.calls = 0
        self.seen: Tensor | None = None

    def initial(self, batch: int):
        return {"target": torch.zeros(batch, self.action_size)}

    def observe(self, state, obs, prev_action, is_first):
        return {"target": obs["obs"]}

    def features(self, state):
        return state["target"]

    def imagine_step(self, state, action):
        return state

    def imagine(self, state, actions, *, keep_features=False) -> Rollout:
        self.calls += 1
        self.seen = actions
        target = state["target"][:, None]
        reward = -((actions - target) ** 2).sum(-1)
        features = target.expand(-1, actions.shape[1], -1)
        return Rollout(features, reward, torch.ones_like(reward))

    def loss(self, batch, *, generator=None):
        raise NotImplementedError


class SumOfRewards:
    """Score: the undiscounted sum of rewards, plus a constant."""

    def __init__(self, shift: float = 0.0) -> None:
        self.shift = shift

    def score(self, rollout: Rollout) -> Tensor:
        return rollout.reward.sum(1) + self.shift


class NaNBeyond(SumOfRewards):
    """NaN wherever the model's first action has a first component above 0.3."""

    def __init__(self, model: KnownModel) -> None:
        super().__init__(-100.0)
        self.model = model

    def score(self, rollout: Rollout) -> Tensor:
        score = super().score(rollout)
        return torch.where(self.model.seen[:, 0, 0] > 0.3, torch.nan, score)


class FixedPrior:
    """Proposes the same action everywhere."""

    def __init__(self, mean: float = 0.5, std: float = 0.1) -> None:
        self.mean, self.std = mean, std

    def propose(self, model, state, horizon: int) -> Normal:
        mean = model.features(state).new_full((), self.mean)
        shape = (len(model.features(state)), horizon, model.action_size)
        return Normal(mean.expand(shape), torch.full(shape, self.std))
