"""World models, objectives and priors with known answers, for planner and policy tests."""

from __future__ import annotations

import torch
from torch import Tensor

from mbrl_agents.nn.actions import ActionStatistics
from mbrl_agents.protocols import Proposal, Rollout


class KnownModel:
    """The state is a target ``(B, A)``; the reward of an action is minus its squared distance.

    ``calls`` counts imaginations, ``seen`` keeps the actions of the last one.
    """

    def __init__(self, action_size: int = 3) -> None:
        self.action_size = action_size
        self.feature_size = action_size
        self.actions = ActionStatistics(action_size)
        self.calls = 0
        self.seen: Tensor | None = None

    def initial(self, batch: int):
        return {"target": torch.zeros(batch, self.action_size)}

    def observe(self, state, obs, prev_action, is_first, *, generator=None):
        return {"target": obs["obs"]}

    def features(self, state):
        return state["target"]

    def imagine_step(self, state, action, *, generator=None):
        return state

    def imagine(self, state, actions, *, generator=None, keep_features=False) -> Rollout:
        self.calls += 1
        self.seen = actions
        target = state["target"][:, None]
        reward = -((actions - target) ** 2).sum(-1)
        features = target.expand(-1, actions.shape[1], -1)
        return Rollout(features, reward, torch.ones_like(reward))

    def decode(self, state):
        return {"obs": state["target"]}


class ChainModel:
    """A chain of discrete actions, of which each environment has one sequence that pays.

    The state has the sequence, ``"right"`` ``(B, L)``, and how far along it the environment is,
    ``"place"`` ``(B,)``; a wrong action leads off it for good, to place ``L``.  The features are
    the right action, one-hot, zeros off the chain.

    Args:
        action_size: ``A``.
        length: ``L`` of `initial`'s sequences, which are all zeros.
        sparse: whether only the last action of the sequence pays; otherwise each right one does.

    ``calls`` counts imaginations, ``seen`` keeps the actions of the last one.
    """

    def __init__(self, action_size: int = 4, length: int = 5, *, sparse: bool = False) -> None:
        self.action_size = action_size
        self.feature_size = action_size
        self.actions = ActionStatistics(action_size, discrete=True)
        self.length = length
        self.sparse = sparse
        self.calls = 0
        self.seen: Tensor | None = None

    def start(self, sequences, place: int = 0) -> dict[str, Tensor]:
        """The state of environments with these sequences, at ``place`` of each."""
        right = torch.as_tensor(sequences)
        return {"right": right, "place": torch.full((len(right),), place)}

    def initial(self, batch: int):
        return self.start(torch.zeros(batch, self.length, dtype=torch.long))

    def observe(self, state, obs, prev_action, is_first, *, generator=None):
        after = self.imagine_step(state, prev_action)
        return {"right": state["right"], "place": after["place"].masked_fill(is_first, 0)}

    def _right(self, state) -> Tensor:
        """The right action, ``A`` (none) off the chain."""
        beyond = torch.full_like(state["right"][:, :1], self.action_size)
        return torch.cat([state["right"], beyond], 1).gather(1, state["place"][:, None])[:, 0]

    def features(self, state):
        return torch.eye(self.action_size + 1)[self._right(state)][:, : self.action_size]

    def imagine_step(self, state, action, *, generator=None):
        assert ((action == 0) | (action == 1)).all(), "not one-hot"
        assert (action.sum(-1) == 1).all(), "not one-hot"
        good = action.argmax(-1) == self._right(state)
        place = torch.where(good, state["place"] + 1, state["right"].shape[1])
        return {"right": state["right"], "place": place}

    def imagine(self, state, actions, *, generator=None, keep_features=False) -> Rollout:
        self.calls += 1
        self.seen = actions
        rewards = []
        for step in range(actions.shape[1]):
            good = actions[:, step].argmax(-1) == self._right(state)
            if self.sparse:
                good = good & (state["place"] == state["right"].shape[1] - 1)
            rewards.append(good.float())
            state = self.imagine_step(state, actions[:, step])
        return Rollout(None, torch.stack(rewards, 1))

    def decode(self, state):
        return {"obs": self.features(state)}


class SumOfRewards:
    """Score: the undiscounted sum of rewards, plus a constant."""

    def __init__(self, shift: float = 0.0) -> None:
        self.shift = shift

    def score(self, rollout: Rollout) -> Tensor:
        return rollout.reward.sum(1) + self.shift


class NaNBeyond(SumOfRewards):
    """NaN wherever the model's first action has a first component above 0.3."""

    def __init__(self, model: KnownModel | ChainModel) -> None:
        super().__init__(-100.0)
        self.model = model

    def score(self, rollout: Rollout) -> Tensor:
        score = super().score(rollout)
        return torch.where(self.model.seen[:, 0, 0] > 0.3, torch.nan, score)


class FixedPrior:
    """Proposes the same action everywhere."""

    def __init__(self, mean: float = 0.5, std: float = 0.1) -> None:
        self.mean, self.std = mean, std

    def propose(self, model, state, horizon: int) -> Proposal:
        mean = model.features(state).new_full((), self.mean)
        shape = (len(model.features(state)), horizon, model.action_size)
        return Proposal(mean.expand(shape), torch.full(shape, self.std))


class ChainPrior:
    """Gives the right action of a `ChainModel` some probability, and the rest to the others.

    Beyond the chain's end it goes on with the last.
    """

    def __init__(self, probability: float = 0.6) -> None:
        self.probability = probability

    def propose(self, model: ChainModel, state, horizon: int) -> Proposal:
        place = state["place"][:, None] + torch.arange(horizon)
        index = state["right"].gather(1, place.clamp_max(state["right"].shape[1] - 1))
        right = torch.eye(model.action_size)[index]
        rest = (1 - self.probability) / (model.action_size - 1)
        mean = rest + (self.probability - rest) * right
        return Proposal(mean, torch.zeros_like(mean))
