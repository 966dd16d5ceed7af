"""The recurrent state-space model of DreamerV1: a GRU beside a Gaussian stochastic state.

Hafner et al. 2019 (arXiv:1811.04551, section 3), in the form of Hafner et al. 2020
(arXiv:1912.01603, equation 1)::

    deterministic state   h_t = f(h_{t-1}, z_{t-1}, a_{t-1})
    prior                 p(z_t | h_t)
    posterior             q(z_t | h_t, o_t)
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mbrl_agents.algorithms.dreamer_v1.config import DreamerV1Config
from mbrl_agents.nn.dense import activation_layer, glorot
from mbrl_agents.nn.sharing import mine, whole_shape

State = dict[str, Tensor]
"""``{"deter": (..., D), "stoch": (..., S)}``."""


class Gaussian(NamedTuple):
    """A Normal with a diagonal covariance; both ``(..., S)``."""

    mean: Tensor
    std: Tensor

    def sample(self, noise: Tensor | None) -> Tensor:
        """The mean plus the std times standard-normal ``noise``; the mean without noise."""
        return self.mean if noise is None else self.mean + self.std * noise

    def entropy(self) -> Tensor:
        """In nats, ``(...)``."""
        constant = 0.5 * torch.log(torch.tensor(2 * torch.pi * torch.e))
        return (self.std.log() + constant).sum(-1)


def kl_divergence(left: Gaussian, right: Gaussian) -> Tensor:
    """``KL(left || right)`` in nats, summed over dimensions: ``(...)``."""
    ratio = left.std / right.std
    away = (left.mean - right.mean) / right.std
    return (0.5 * (ratio.square() + away.square() - 1.0) - ratio.log()).sum(-1)


def standard_normal(
    shape: tuple[int, ...] | torch.Size, generator: torch.Generator, device: torch.device
) -> Tensor:
    """Standard-normal noise on ``device``, wherever the generator is."""
    draws = torch.randn(whole_shape(shape), generator=generator, device=generator.device)
    return mine(draws).to(device)


class RSSM(nn.Module):
    """Dynamics, prior and posterior.

    Args:
        config: sizes.
        action_size: ``A``.
        token_size: ``E`` of an embedded observation.
        generator: source of the initial weights.
    """

    def __init__(
        self,
        config: DreamerV1Config,
        action_size: int,
        token_size: int,
        *,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.deter, self.stoch, self.min_std = config.deter, config.stoch, config.min_std
        self.feature_size = config.stoch + config.deter
        hidden = config.hidden

        def linear(inputs: int, outputs: int) -> nn.Linear:
            return glorot(nn.Linear, inputs, outputs, generator=generator)

        self.activation = activation_layer(config.activation)
        self.inputs = linear(config.stoch + action_size, hidden)
        self.cell = nn.utils.skip_init(nn.GRUCell, hidden, config.deter)
        nn.init.xavier_uniform_(self.cell.weight_ih, generator=generator)
        nn.init.orthogonal_(self.cell.weight_hh, generator=generator)
        nn.init.zeros_(self.cell.bias_ih)
        nn.init.zeros_(self.cell.bias_hh)
        self.prior_layer = linear(config.deter, hidden)
        self.prior_output = linear(hidden, 2 * config.stoch)
        self.posterior_layer = linear(config.deter + token_size, hidden)
        self.posterior_output = linear(hidden, 2 * config.stoch)

    def initial(self, batch: int) -> State:
        """The zero state, ``(batch, ...)``."""
        weight = self.inputs.weight
        return {
            "deter": weight.new_zeros(batch, self.deter),
            "stoch": weight.new_zeros(batch, self.stoch),
        }

    def features(self, state: State) -> Tensor:
        """``(..., F)``: the stochastic state, then the deterministic one."""
        return torch.cat([state["stoch"], state["deter"]], -1)

    def prior(self, deter: Tensor) -> Gaussian:
        """What the stochastic state is expected to be, without looking."""
        return self._gaussian(self.prior_output(self.activation(self.prior_layer(deter))))

    def imagine_step(self, state: State, action: Tensor, noise: Tensor | None) -> State:
        """The next state from the prior.

        Args:
            state, action: of ``(B, ...)`` and ``(B, A)``.
            noise: ``(B, S)`` standard-normal; None takes the prior's mean.
        """
        joined = torch.cat([state["stoch"], action], -1)
        deter = self.cell(self.activation(self.inputs(joined)), state["deter"])
        return {"deter": deter, "stoch": self.prior(deter).sample(noise)}

    def observe(
        self,
        state: State,
        tokens: Tensor,
        prev_action: Tensor,
        is_first: Tensor,
        noise: Tensor | None,
    ) -> tuple[State, Gaussian]:
        """Filter sequences.

        What does not depend on the recurrence is multiplied for all steps at once.

        Args:
            state: ``(B, ...)`` before the sequences.
            tokens: ``(B, T, E)``.
            prev_action: ``(B, T, A)``.
            is_first: ``(B, T)`` bool; the state and action before such a step count as zeros.
            noise: ``(B, T, S)`` standard-normal; None takes the posterior's mean.

        Returns:
            States ``(B, T, ...)``, and the posterior their stochastic part was drawn from.
        """
        keep = (~is_first).unsqueeze(-1).to(tokens.dtype)
        stoch_weight, action_weight = self.inputs.weight.split(
            [self.stoch, prev_action.shape[-1]], 1
        )
        acted = F.linear(prev_action * keep, action_weight, self.inputs.bias)
        deter_weight, token_weight = self.posterior_layer.weight.split(
            [self.deter, tokens.shape[-1]], 1
        )
        seen = F.linear(tokens, token_weight, self.posterior_layer.bias)
        deter, stoch = state["deter"], state["stoch"]
        deters, stochs, means, stds = [], [], [], []
        for t in range(tokens.shape[1]):
            entered = acted[:, t] + F.linear(stoch * keep[:, t], stoch_weight)
            deter, posterior = self.filter_step(
                entered, deter * keep[:, t], seen[:, t], deter_weight
            )
            stoch = posterior.sample(None if noise is None else noise[:, t])
            deters.append(deter)
            stochs.append(stoch)
            means.append(posterior.mean)
            stds.append(posterior.std)
        states = {"deter": torch.stack(deters, 1), "stoch": torch.stack(stochs, 1)}
        return states, Gaussian(torch.stack(means, 1), torch.stack(stds, 1))

    def filter_step(
        self, entered: Tensor, deter: Tensor, seen: Tensor, deter_weight: Tensor
    ) -> tuple[Tensor, Gaussian]:
        """The next deterministic state ``(B, D)`` and the posterior beside it.

        Args:
            entered: ``(B, hidden)`` the input layer's output before its activation.
            deter: ``(B, D)`` the state before.
            seen: ``(B, hidden)`` the observation's part of the posterior's layer.
            deter_weight: ``(hidden, D)`` that layer's weight on the deterministic state.
        """
        deter = self.cell(self.activation(entered), deter)
        hidden = self.activation(seen + F.linear(deter, deter_weight))
        return deter, self._gaussian(self.posterior_output(hidden))

    def _gaussian(self, raw: Tensor) -> Gaussian:
        mean, spread = raw.chunk(2, -1)
        return Gaussian(mean, F.softplus(spread) + self.min_std)


__all__ = ["RSSM", "Gaussian", "State", "kl_divergence", "standard_normal"]
