"""The recurrent state-space model with categorical latents."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mbrl_agents.algorithms.dreamer_v2.config import DreamerV2Config
from mbrl_agents.nn.categorical import kl_divergence, one_hot_sample
from mbrl_agents.nn.dense import dense_head, dense_layers, glorot
from mbrl_agents.nn.masked import weighted_mean

State = dict[str, Tensor]
"""``deter`` ``(B, D)``: the recurrent state ``h``; ``stoch`` ``(B, G, n)``: one-hot ``z``."""

UPDATE_BIAS = -1.0
"""Added to the update gate, so that a fresh model remembers rather than overwrites."""

NORM_EPS = 1e-3


class GRUCell(nn.Module):
    """A gated recurrent unit: one product, one layer norm, three gates.

    Args:
        inputs, size: of the input and of the recurrent state.
        generator: source of the initial weights.
    """

    def __init__(self, inputs: int, size: int, *, generator: torch.Generator) -> None:
        super().__init__()
        self.linear = glorot(nn.Linear, inputs + size, 3 * size, generator=generator)
        self.norm = nn.LayerNorm(3 * size, eps=NORM_EPS)

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        """The next state ``(B, D)`` from an input ``(B, inputs)`` and the state before."""
        gates = self.norm(self.linear(torch.cat([x, state], -1)))
        reset, candidate, update = gates.chunk(3, -1)
        candidate = torch.tanh(torch.sigmoid(reset) * candidate)
        return torch.lerp(state, candidate, torch.sigmoid(update + UPDATE_BIAS))


class RSSM(nn.Module):
    """``h' = f(h, z, a)``, prior ``p(z' | h')`` and posterior ``q(z' | h', tokens)``.

    Equation 1 of arXiv:2010.02193.  Actions beyond [-1, 1] count as at the bound.

    Args:
        config: sizes.
        action_size: ``A``.
        token_size: of the encoder's output.
        generator: source of the initial weights.
    """

    def __init__(
        self,
        config: DreamerV2Config,
        action_size: int,
        token_size: int,
        *,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.deter, self.stoch, self.classes = config.deter, config.stoch, config.classes
        hidden, latent = config.hidden, config.stoch * config.classes
        activation = config.activation
        self.inputs = dense_layers(latent + action_size, hidden, 1, activation, generator)
        self.cell = GRUCell(hidden, config.deter, generator=generator)
        self.prior = dense_head(config.deter, latent, hidden, 1, activation, generator)
        self.posterior = dense_head(
            config.deter + token_size, latent, hidden, 1, activation, generator
        )

    @property
    def feature_size(self) -> int:
        """``F = G n + D``."""
        return self.stoch * self.classes + self.deter

    def initial(self, batch: int, device: torch.device | str) -> State:
        """Zeros: also what a reset gives."""
        return {
            "deter": torch.zeros(batch, self.deter, device=device),
            "stoch": torch.zeros(batch, self.stoch, self.classes, device=device),
        }

    def features(self, state: State) -> Tensor:
        """``(..., F)``: ``z`` and ``h`` side by side."""
        return torch.cat([state["stoch"].flatten(-2), state["deter"]], -1)

    def log_probs(self, logits: Tensor) -> Tensor:
        """Logits ``(..., G n)`` to log-probabilities ``(..., G, n)``."""
        return logits.float().unflatten(-1, (self.stoch, self.classes)).log_softmax(-1)

    def prior_log_probs(self, deter: Tensor) -> Tensor:
        """``log p(z | h)``, ``(..., G, n)``."""
        return self.log_probs(self.prior(deter))

    def advance(self, state: State, action: Tensor) -> Tensor:
        """The next ``h`` ``(B, D)`` after ``action`` ``(B, A)``."""
        inputs = torch.cat([state["stoch"].flatten(-2), action.clamp(-1.0, 1.0)], -1)
        return self.cell(self.inputs(inputs), state["deter"])

    def imagine_step(self, state: State, action: Tensor, noise: Tensor | None = None) -> State:
        """The imagined state after ``action`` ``(B, A)``.

        Args:
            noise: Gumbel noise ``(B, G, n)`` of the draw; None takes the most likely classes.
        """
        deter = self.advance(state, action)
        return {"deter": deter, "stoch": one_hot_sample(self.prior_log_probs(deter), noise)}

    def observe(
        self,
        state: State,
        tokens: Tensor,
        prev_action: Tensor,
        is_first: Tensor,
        noise: Tensor | None = None,
    ) -> tuple[State, Tensor]:
        """Filter sequences.

        Args:
            state: before the first step, leaves ``(B, ...)``.
            tokens: ``(B, T, E)`` encoded observations.
            prev_action: ``(B, T, A)`` the action that led to each.
            is_first: ``(B, T)``; state and action before such a step count as zeros.
            noise: Gumbel noise ``(B, T, G, n)``; None takes the most likely classes.

        Returns:
            States ``(B, T, ...)`` and the posterior's log-probabilities ``(B, T, G, n)``.
        """
        keep = (~is_first).to(tokens.dtype)[..., None]  # (B, T, 1)
        prev_action = prev_action * keep
        # The tokens' share of the posterior's first layer, of all steps at once: only what
        # depends on the recurrent state has to wait its turn.
        first, rest = self.posterior[0], self.posterior[1:]
        assert isinstance(first, nn.Linear)
        assert isinstance(rest, nn.Sequential)
        from_tokens = F.linear(tokens, first.weight[:, self.deter :], first.bias)
        from_deter = first.weight[:, : self.deter]
        deters, stochs, posteriors = [], [], []
        for step in range(tokens.shape[1]):
            kept = keep[:, step]
            state = {"deter": state["deter"] * kept, "stoch": state["stoch"] * kept[..., None]}
            deter = self.advance(state, prev_action[:, step])
            hidden = F.linear(deter, from_deter) + from_tokens[:, step]
            log_probs = self.log_probs(rest(hidden))
            stoch = one_hot_sample(log_probs, None if noise is None else noise[:, step])
            state = {"deter": deter, "stoch": stoch}
            deters.append(deter)
            stochs.append(stoch)
            posteriors.append(log_probs)
        states = {"deter": torch.stack(deters, 1), "stoch": torch.stack(stochs, 1)}
        return states, torch.stack(posteriors, 1)


def balanced_kl(
    posterior: Tensor, prior: Tensor, weight: Tensor, *, balance: float, free_nats: float
) -> tuple[Tensor, Tensor]:
    """The KL loss that trains prior and posterior at different rates.

    ``balance KL(stop(q) || p) + (1 - balance) KL(q || stop(p))`` (arXiv:2010.02193, algorithm 2),
    where either mean over the batch counts at least ``free_nats``: below, it is a constant.

    Args:
        posterior, prior: log-probabilities ``(..., G, n)``.
        weight: ``(...)`` of each entry in the mean.
        balance: share that trains the prior.
        free_nats: non-negative.

    Returns:
        The loss, and the mean KL in nats without its gradient.
    """
    to_prior = weighted_mean(kl_divergence(posterior.detach(), prior), weight)
    to_posterior = weighted_mean(kl_divergence(posterior, prior.detach()), weight)
    loss = balance * to_prior.clamp_min(free_nats)
    loss = loss + (1.0 - balance) * to_posterior.clamp_min(free_nats)
    return loss, to_prior.detach()


__all__ = ["RSSM", "GRUCell", "State", "balanced_kl"]
