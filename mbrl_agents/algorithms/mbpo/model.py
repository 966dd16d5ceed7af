"""MBPO's world model: an ensemble of Gaussian networks over changes, and one over ends."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn
from torch.nn import functional as F

from mbrl_agents.algorithms.mbpo.config import MBPOModelConfig
from mbrl_agents.data.spaces import action_size, vector_layout
from mbrl_agents.data.transitions import Transitions
from mbrl_agents.nn.actions import ActionStatistics
from mbrl_agents.nn.mlp import MLP
from mbrl_agents.nn.normaliser import Normaliser
from mbrl_agents.protocols import Metrics, Observation, Rollout

State = dict[str, Tensor]
"""``obs`` ``(B, D)``: what is, or would be, observed."""

FLOOR = 1e-4
"""Least std that anything is divided by, in its own units."""

LOG_VARIANCES = (-10.0, 0.5)
"""Where the learned bounds of the log variances begin."""

BOUND_WEIGHT = 0.01
"""Of the loss that draws the bounds together."""


class MBPOModel(nn.Module):
    """``p(s' - s, r | s, a)`` by an ensemble of Gaussians, and ``p(end | s')`` by another.

    Chua et al. 2018 (arXiv:1805.12114) as Janner et al. 2019 (arXiv:1906.08253) use it.  Inputs
    and targets are normalised.  The end is learned: MBPO is told when each of its tasks ends.
    Each step is imagined by one of the elites, drawn anew; without a generator it is the mean of
    all of them.

    Args:
        config: settings.
        observation_space: a Box or a Dict of vectors.
        action_space: a Box or a Discrete.
        generator: source of the initial weights, seeded with 0 when None.

    Raises:
        ValueError: for spaces it cannot read.
    """

    elites: Tensor
    ending_seen: Tensor

    def __init__(
        self,
        config: MBPOModelConfig,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        generator = generator or torch.Generator().manual_seed(0)
        self.config, self.layout = config, vector_layout(observation_space)
        size = self.feature_size = sum(self.layout.vectors.values())
        self.shapes = _shapes(observation_space)
        self.action_size = action_size(action_space)
        discrete = isinstance(action_space, spaces.Discrete)
        self.actions = ActionStatistics(self.action_size, discrete=discrete)
        self.inputs = Normaliser(size, floor=FLOOR)
        self.changes = Normaliser(size + 1, floor=FLOOR)  # of the observation, and the reward
        shared: dict[str, Any] = {"members": config.members, "norm": False, "generator": generator}
        inputs, outputs = size + self.action_size, 2 * (size + 1)
        self.dynamics = MLP(inputs, outputs, config.hidden, **shared)
        self.end = MLP(size, 1, config.end_hidden, **shared)
        low, high = LOG_VARIANCES
        self.min_log_variance = nn.Parameter(torch.full((size + 1,), low))
        self.max_log_variance = nn.Parameter(torch.full((size + 1,), high))
        self.register_buffer("elites", torch.arange(config.elites))
        self.register_buffer("ending_seen", torch.tensor(False))

    # -- the protocol -------------------------------------------------------------------

    def initial(self, batch: int) -> State:
        return {"obs": torch.zeros(batch, self.feature_size, device=self.elites.device)}

    def observe(
        self,
        state: State,
        obs: Observation,
        prev_action: Tensor,
        is_first: Tensor,
        *,
        generator: torch.Generator | None = None,
    ) -> State:
        del state, prev_action, is_first, generator  # all there is to know is observed
        return {"obs": self.layout.stacked_vectors(obs)}

    def features(self, state: State) -> Tensor:
        return state["obs"]

    def imagine_step(
        self, state: State, action: Tensor, *, generator: torch.Generator | None = None
    ) -> State:
        return {"obs": self.step(state["obs"], action, generator)[0]}

    def imagine(
        self,
        state: State,
        actions: Tensor,
        *,
        generator: torch.Generator | None = None,
        keep_features: bool = False,
    ) -> Rollout:
        obs, found, rewards, ends, spreads = state["obs"], [], [], [], []
        bounds = partial(self._bounds, state["obs"], actions) if self.config.elites > 1 else None
        for step in range(actions.shape[1]):
            mean, _ = self.predict(obs, actions[:, step])
            if self.config.elites > 1:
                spreads.append((mean - mean.mean(0)).square().mean(0).sqrt().mean(-1))
            obs, reward = self.step(obs, actions[:, step], generator)
            found.append(obs)
            rewards.append(reward)
            ends.append(self.ending(obs))
        return Rollout(
            torch.stack(found, 1) if keep_features else None,
            torch.stack(rewards, 1),
            1.0 - torch.stack(ends, 1),
            disagreement=torch.stack(spreads, 1) if spreads else None,
            bounds=bounds,
        )

    def decode(self, state: State) -> Observation:
        return self._split(state["obs"])

    # -- prediction ---------------------------------------------------------------------

    def predict(self, obs: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """What the elites say, normalised: means and log variances ``(elites, B, D + 1)``.

        The last number is the reward's, the others those of the change of the observation.
        """
        out = self.dynamics(self._joined(obs, action)).index_select(0, self.elites)
        return self._bounded(out)

    def step(
        self, obs: Tensor, action: Tensor, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """Next observations ``(B, D)`` and rewards ``(B,)``.

        Args:
            obs: ``(B, D)`` in their own units.
            action: ``(B, A)``; beyond [-1, 1] they count as at the bound.
            generator: draws an elite for each row, and from its Gaussian; None takes the mean.
        """
        mean, log_variance = self.predict(obs, action)
        if generator is None:
            drawn = mean.mean(0)
        else:
            size, device = len(obs), generator.device
            chosen = torch.randint(len(mean), (size,), generator=generator, device=device)
            noise = torch.randn(mean.shape[1:], generator=generator, device=device)
            rows = torch.arange(size, device=obs.device)
            chosen = chosen.to(obs.device)
            spread = (0.5 * log_variance[chosen, rows]).exp()
            drawn = mean[chosen, rows] + spread * noise.to(obs.device)
        change = self.changes.inverse(drawn)
        return obs + change[..., :-1], change[..., -1]

    def ending(self, obs: Tensor) -> Tensor:
        """``(B,)`` probability that an episode that reaches ``obs`` ``(B, D)`` ends there.

        Zeros until an end was recorded: where rewards are negative, a policy would look for
        whatever chance of an end is left.
        """
        if not self.ending_seen:
            return torch.zeros(len(obs), device=obs.device)
        logits = self.end(self.inputs(obs)).index_select(0, self.elites)[..., 0]
        return torch.sigmoid(logits).mean(0)

    # -- training -----------------------------------------------------------------------

    @torch.no_grad()
    def fit_statistics(self, data: Transitions) -> None:
        """Set the normalisers from real transitions."""
        self.inputs.fit(data.obs)
        change = torch.cat([data.next_obs - data.obs, data.reward[:, None]], -1)
        self.changes.fit(change)
        self.actions.fit(data.action)
        self.ending_seen |= data.terminal.any()

    def compute_loss(
        self, data: Transitions, weight: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Metrics]:
        """Loss, each member's own part of it, and detached metrics.

        Args:
            data: ``(N, ...)``.
            weight: ``(E, N)`` of each transition for each member; equal ones when None.
        """
        config, size = self.config, self.feature_size
        if weight is None:
            weight = torch.ones(config.members, len(data), device=data.reward.device)
        weight = weight / weight.sum(1, keepdim=True).clamp_min(1.0)
        change = torch.cat([data.next_obs - data.obs, data.reward[:, None]], -1)
        target = self.changes(change)
        mean, log_variance = self._bounded(self.dynamics(self._joined(data.obs, data.action)))
        square = (mean - target).square()
        # Chua et al. 2018, equation 1, less constants; for each dimension by itself.
        nats = square * (-log_variance).exp() + log_variance
        if config.beta:
            nats = nats * (config.beta * log_variance.detach()).exp()
        logits = self.end(self.inputs(data.next_obs))[..., 0]
        ends = F.binary_cross_entropy_with_logits(
            logits,
            data.terminal.float().expand_as(logits),
            reduction="none",
            pos_weight=torch.tensor(config.end_weight, device=logits.device),
        )

        def weighed(each: Tensor) -> Tensor:
            """``(E, N)`` to ``(E,)``."""
            return (each * weight).sum(1)

        change_loss, reward_loss = weighed(nats[..., :size].mean(-1)), weighed(nats[..., size])
        end_loss = weighed(ends)
        bounds = (self.max_log_variance - self.min_log_variance).sum()
        total = (
            change_loss.sum()
            + config.reward_scale * reward_loss.sum()
            + config.end_scale * end_loss.sum()
            + BOUND_WEIGHT * bounds
        )
        error, ended = weighed(square.mean(-1)), end_loss
        metrics = {
            "loss": total,
            "change": change_loss.mean(),
            "reward": reward_loss.mean(),
            "end": end_loss.mean(),
            "squared_error": error.mean(),
        }
        # Members are compared by squared errors: likelihoods of what never varies have no bound.
        each = error + config.end_scale * ended
        return total, each.detach(), {name: x.detach() for name, x in metrics.items()}

    def decayed(self) -> list[dict[str, object]]:
        """Groups of parameters for an optimiser, each layer with its weight decay."""
        low, high = self.config.decay
        groups: list[dict[str, object]] = []
        for network in (self.dynamics, self.end):
            layers = network.linear
            for number, layer in enumerate(layers):
                share = number / max(1, len(layers) - 1)
                decay = low + share * (high - low)
                groups.append({"params": [layer.weight], "weight_decay": decay})
                groups.append({"params": [layer.bias], "weight_decay": 0.0})
        bounds = [self.min_log_variance, self.max_log_variance]
        return [*groups, {"params": bounds, "weight_decay": 0.0}]

    # -- inside -------------------------------------------------------------------------

    def _bounds(self, obs: Tensor, actions: Tensor) -> tuple[Observation, Observation]:
        """Lowest and highest of what each elite predicts from its own predictions."""
        each, low, high = obs.expand(self.config.members, *obs.shape), [], []
        for step in range(actions.shape[1]):
            action = actions[:, step].expand(self.config.members, *actions[:, step].shape)
            mean, _ = self._bounded(self.dynamics.each(self._joined(each, action)))
            each = each + self.changes.inverse(mean)[..., :-1]
            elite = each.index_select(0, self.elites)
            low.append(elite.amin(0))
            high.append(elite.amax(0))
        return self._split(torch.stack(low, 1)), self._split(torch.stack(high, 1))

    def _split(self, obs: Tensor) -> Observation:
        """``(..., D)`` by key, in the shapes of the observation space."""
        parts = obs.split(list(self.layout.vectors.values()), -1)
        return {
            key: part.reshape(*obs.shape[:-1], *self.shapes[key])
            for key, part in zip(self.layout.vectors, parts, strict=True)
        }

    def _joined(self, obs: Tensor, action: Tensor) -> Tensor:
        return torch.cat([self.inputs(obs), action.clamp(-1.0, 1.0)], -1)

    def _bounded(self, out: Tensor) -> tuple[Tensor, Tensor]:
        """Network outputs to means, and log variances within their learned, soft bounds."""
        mean, raw = out.chunk(2, -1)
        low, high = self.min_log_variance, self.max_log_variance
        raw = high - F.softplus(high - raw)
        return mean, low + F.softplus(raw - low)


def _shapes(space: spaces.Space) -> dict[str, tuple[int, ...]]:
    entries = space.spaces if isinstance(space, spaces.Dict) else {"obs": space}
    return {key: tuple(np.shape(np.empty(entry.shape or ()))) for key, entry in entries.items()}


__all__ = ["LOG_VARIANCES", "MBPOModel", "State"]
