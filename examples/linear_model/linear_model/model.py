"""A world model that is linear in observation and action, and its reward quadratic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from gymnasium import spaces
from torch import Tensor, nn

from mbrl_agents.algorithms.fitted import FittedModel
from mbrl_agents.data.spaces import action_size, observation_layout
from mbrl_agents.nn.actions import ActionStatistics
from mbrl_agents.nn.normaliser import Normaliser
from mbrl_agents.protocols import Batch, Metrics, Observation, Rollout

State = dict[str, Tensor]


@dataclass(frozen=True)
class LinearModelConfig:
    """Settings of `LinearModel`.

    Attributes:
        reward_weight: of the reward's squared error beside that of the observation.
    """

    reward_weight: float = 1.0


class LinearModel(nn.Module):
    """``x' = x + A x + B a + c`` and ``r = q(x')``, for vectors ``x``, normalised.

    Satisfies `mbrl_agents.protocols.WorldModel`; the state is ``{"x": (B, D)}``.

    Raises:
        ValueError: for images, or actions that are neither a Discrete nor a Box of vectors.
    """

    def __init__(
        self,
        config: LinearModelConfig,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        **_: Any,  # a generator of weights, which all begin at zero here
    ) -> None:
        super().__init__()
        layout = observation_layout(observation_space)
        if layout.images:
            raise ValueError(f"a linear model reads vectors only, not {', '.join(layout.images)}")
        self.config, self.sizes = config, layout.vectors
        self.action_size, self.feature_size = action_size(action_space), sum(self.sizes.values())
        discrete = isinstance(action_space, spaces.Discrete)
        self.actions = ActionStatistics(self.action_size, discrete=discrete)
        self.normaliser = Normaliser(self.feature_size, floor=1e-3)
        size = self.feature_size
        self.change = _zeros(size + self.action_size, size)
        self.reward = _zeros(size + size**2, 1)

    def initial(self, batch: int) -> State:
        return {"x": torch.zeros(batch, self.feature_size, device=self.change.weight.device)}

    # Nothing is drawn, so a generator, which every method is offered, goes unused.

    def observe(
        self, state: State, obs: Observation, prev_action: Tensor, is_first: Tensor, **_: Any
    ) -> State:
        return {"x": self._normalised(obs)}

    def features(self, state: State) -> Tensor:
        return state["x"]

    def imagine_step(self, state: State, action: Tensor, **_: Any) -> State:
        return {"x": state["x"] + self.change(torch.cat([state["x"], action], -1))}

    def imagine(self, state: State, actions: Tensor, **_: Any) -> Rollout:
        found = []
        for action in actions.unbind(1):
            state = self.imagine_step(state, action)
            found.append(state["x"])
        reached = torch.stack(found, 1)
        return Rollout(reached, self._reward(reached))

    def decode(self, state: State) -> Observation:
        parts = self.normaliser.inverse(state["x"]).split(list(self.sizes.values()), -1)
        return dict(zip(self.sizes, parts, strict=True))

    # -- training: see `mbrl_agents.training.fit.WindowModel` ----------------------------

    @torch.no_grad()
    def fit_statistics(self, batch: Batch) -> None:
        """Normalise, and begin with least squares; gradient steps go on from there."""
        self.normaliser.fit(self._flat(batch.obs)[batch.mask])
        self.actions.fit(batch.prev_action[batch.mask & ~batch.is_first])
        x, known = self._normalised(batch.obs), batch.mask[:, :-1] & batch.mask[:, 1:]
        before, after = x[:, :-1][known], x[:, 1:][known]
        taken = torch.cat([before, batch.prev_action[:, 1:][known]], -1)
        _least_squares(self.change, taken, after - before)
        _least_squares(self.reward, _with_products(after), batch.reward[:, 1:][known][:, None])

    def compute_loss(self, batch: Batch, **_: Any) -> tuple[Tensor, Metrics]:
        x = self._normalised(batch.obs)  # (B, T + 1, D)
        known = batch.mask[:, :-1] & batch.mask[:, 1:]
        after = self.imagine_step({"x": x[:, :-1]}, batch.prev_action[:, 1:])["x"]
        dynamics = (after - x[:, 1:])[known].square().mean()
        reward = (self._reward(x[:, 1:]) - batch.reward[:, 1:])[known].square().mean()
        total = dynamics + self.config.reward_weight * reward
        parts = {"loss": total, "dynamics": dynamics, "reward": reward}
        return total, {name: value.detach() for name, value in parts.items()}

    def _flat(self, obs: Observation) -> Tensor:
        return torch.cat([obs[key].float() for key in self.sizes], -1)

    def _normalised(self, obs: Observation) -> Tensor:
        return self.normaliser(self._flat(obs))

    def _reward(self, x: Tensor) -> Tensor:
        return self.reward(_with_products(x))[..., 0]


def _zeros(inputs: int, outputs: int) -> nn.Linear:
    layer: Any = nn.utils.skip_init(nn.Linear, inputs, outputs)  # draws nothing
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def _with_products(x: Tensor) -> Tensor:
    return torch.cat([x, (x[..., :, None] * x[..., None, :]).flatten(-2)], -1)


def _least_squares(layer: nn.Linear, inputs: Tensor, targets: Tensor) -> None:
    """Set a layer to the solution for ``(N, I)`` and ``(N, O)``, with a little ridge."""
    rows = torch.cat([inputs, torch.ones_like(inputs[:, :1])], -1).double()
    ridge = torch.eye(rows.shape[1], dtype=rows.dtype, device=rows.device)
    solution = torch.linalg.solve(rows.T @ rows + ridge, rows.T @ targets.double()).T
    layer.weight.copy_(solution[:, :-1])
    layer.bias.copy_(solution[:, -1])


class Linear(FittedModel):
    """A `LinearModel`, fitted to windows within episodes, that a planner searches in."""

    model_class: Any = LinearModel
