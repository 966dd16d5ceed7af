"""The recurrent state-space model: a block GRU with categorical latents."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mbrl_agents.algorithms.dreamer_v3.config import DreamerV3Config
from mbrl_agents.nn.categorical import one_hot_sample, unimix_log_probs
from mbrl_agents.nn.normed import BlockLinear, Dense, Linear, RMSNorm, dense_stack

State = dict[str, Tensor]
"""``deter`` ``(B, D)``: the recurrent state ``h``; ``stoch`` ``(B, G, n)``: one-hot ``z``; and
``context`` ``(B, C)`` where there is any: what stays the same throughout an episode."""

Parts = tuple[Tensor, Tensor]
"""Weights of the first recurrent layer, see `BlockLinear.parts`."""


class RSSM(nn.Module):
    """``h' = f(h, z, a)``, prior ``p(z' | h')`` and posterior ``q(z' | h', tokens)``.

    Equation 3 of arXiv:2301.04104, with the recurrent weights in blocks: each block of ``h``
    reads itself and the embedded inputs, not the other blocks.

    Where there is a context ``c``, it is read with every action: ``h' = f(h, z, a, c)``.

    Args:
        config: sizes.
        action_size: ``A``.
        token_size: of the encoder's output.
        context_size: ``C``, 0 for none.
        generator: source of the initial weights.
    """

    def __init__(
        self,
        config: DreamerV3Config,
        action_size: int,
        token_size: int,
        context_size: int = 0,
        *,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.context_size = context_size
        self.deter, hidden = config.width("deter"), config.width("hidden")
        self.stoch, self.classes = config.stoch, config.width("classes")
        self.blocks, self.unimix = config.blocks, config.unimix
        self.expected = config.expected
        latent = self.stoch * self.classes
        self.from_deter = Dense(self.deter, hidden, generator=generator)
        self.from_stoch = Dense(latent, hidden, generator=generator)
        self.from_action = Dense(action_size + context_size, hidden, generator=generator)
        self.dynamics = nn.ModuleList(
            BlockLinear(
                self.deter,
                self.deter,
                config.blocks,
                shared=0 if layer else 3 * hidden,
                generator=generator,
            )
            for layer in range(config.dynamics_layers)
        )
        self.dynamics_norms = nn.ModuleList(RMSNorm(self.deter) for _ in self.dynamics)
        self.gates = BlockLinear(self.deter, 3 * self.deter, config.blocks, generator=generator)
        self.prior = nn.Sequential(
            dense_stack(self.deter, hidden, config.prior_layers, generator=generator),
            Linear(hidden, latent, generator=generator),
        )
        self.posterior = nn.Sequential(
            dense_stack(
                self.deter + token_size, hidden, config.posterior_layers, generator=generator
            ),
            Linear(hidden, latent, generator=generator),
        )

    @property
    def feature_size(self) -> int:
        """``F = D + G n``."""
        return self.deter + self.stoch * self.classes

    def initial(self, batch: int, device: torch.device | str) -> State:
        """Zeros: also what a reset gives."""
        state = {
            "deter": torch.zeros(batch, self.deter, device=device),
            "stoch": torch.zeros(batch, self.stoch, self.classes, device=device),
        }
        if self.context_size:
            state["context"] = torch.zeros(batch, self.context_size, device=device)
        return state

    def features(self, state: State) -> Tensor:
        """``(..., F)``: ``h`` and ``z`` side by side."""
        return torch.cat([state["deter"], state["stoch"].flatten(-2)], -1)

    def embed_action(self, action: Tensor, context: Tensor | None = None) -> Tensor:
        """``(..., A)`` to ``(..., hidden)``; actions beyond [-1, 1] count as at the bound.

        Args:
            context: ``(..., C)``, that of the state, where there is any.
        """
        bounded = action / action.detach().abs().clamp_min(1.0)
        return self.from_action(bounded if context is None else torch.cat([bounded, context], -1))

    def recurrent_parts(self) -> Parts:
        """Weights of the recurrent part as `advance` multiplies them, to be taken once a loop."""
        first = self.dynamics[0]
        assert isinstance(first, BlockLinear)
        return first.parts()

    def advance(
        self, deter: Tensor, stoch: Tensor, action: Tensor, parts: Parts | None = None
    ) -> Tensor:
        """The next ``h`` ``(B, D)`` from ``h``, flat ``z`` ``(B, G n)`` and an embedded action.

        Args:
            parts: see `recurrent_parts`.
        """
        inputs = torch.cat([self.from_deter(deter), self.from_stoch(stoch), action], -1)
        x = deter
        for layer, (linear, norm) in enumerate(
            zip(self.dynamics, self.dynamics_norms, strict=True)
        ):
            x = F.silu(norm(linear(x, inputs, parts) if layer == 0 else linear(x)))
        gates = self.gates(x).reshape(len(deter), self.blocks, 3, -1)
        reset, candidate, update = gates.unbind(2)  # (B, blocks, D / blocks) each
        candidate = _tanh(torch.sigmoid(reset) * candidate).reshape_as(deter)
        # The -1 makes a fresh model remember rather than overwrite.
        update = torch.sigmoid(update - 1.0).reshape_as(deter)
        return torch.lerp(deter, candidate.to(deter.dtype), update.to(deter.dtype))

    def log_probs(self, logits: Tensor) -> Tensor:
        """Raw logits ``(..., G n)`` to mixed log-probabilities ``(..., G, n)``."""
        return unimix_log_probs(logits.unflatten(-1, (self.stoch, self.classes)), self.unimix)

    def prior_log_probs(self, deter: Tensor) -> Tensor:
        """``log p(z | h)``, ``(..., G, n)``."""
        return self.log_probs(self.prior(deter))

    def imagine_step(self, state: State, action: Tensor, noise: Tensor | None = None) -> State:
        """The imagined state after ``action`` ``(B, A)``.

        Args:
            noise: Gumbel noise ``(B, G, n)`` of the draw; None: see `imagined`.
        """
        return self.imagine_embedded(state, self.embed_action(action, state.get("context")), noise)

    def imagine_embedded(
        self,
        state: State,
        action: Tensor,
        noise: Tensor | None = None,
        parts: Parts | None = None,
    ) -> State:
        """`imagine_step` after an embedded action; ``parts``: see `recurrent_parts`."""
        deter = self.advance(state["deter"], state["stoch"].flatten(1), action, parts)
        logits = self.prior(deter)
        same = {name: value for name, value in state.items() if name == "context"}
        if noise is None and not logits.requires_grad and not self.expected:
            # The most likely class is that of the raw logits: nothing else is asked of them.
            logits = logits.unflatten(-1, (self.stoch, self.classes)).float()
            return {"deter": deter, "stoch": one_hot_sample(logits, None), **same}
        return {"deter": deter, "stoch": self.imagined(self.log_probs(logits), noise), **same}

    def imagined(self, log_probs: Tensor, noise: Tensor | None = None) -> Tensor:
        """``z`` ``(..., G, n)`` that imagination goes on from.

        Args:
            log_probs: of the prior, ``(..., G, n)``.
            noise: Gumbel noise of the draw; None takes what ``config.expected`` says.
        """
        if noise is None and self.expected:
            return log_probs.exp()
        return one_hot_sample(log_probs, noise)

    def observe(
        self,
        state: State,
        tokens: Tensor,
        prev_action: Tensor,
        is_first: Tensor,
        noise: Tensor | None = None,
        context: Tensor | None = None,
    ) -> tuple[State, Tensor]:
        """Filter sequences.

        Args:
            state: before the first step, leaves ``(B, ...)``.
            tokens: ``(B, T, E)`` encoded observations.
            prev_action: ``(B, T, A)`` the action that led to each.
            is_first: ``(B, T)``; state and action before such a step do not count.
            noise: Gumbel noise ``(B, T, G, n)``; None takes the most likely classes.
            context: ``(B, T, C)`` of each step's episode, where there is any.

        Returns:
            States ``(B, T, ...)`` and the posterior's log-probabilities ``(B, T, G, n)``.
        """
        keep = (~is_first).to(tokens.dtype)[..., None]  # (B, T, 1)
        actions = self.embed_action(prev_action * keep, context)
        # All steps' share of the first layer at once: only the recurrent part waits its turn.
        first = self._first_of_posterior()
        tokens = F.linear(tokens, first.linear.weight[:, self.deter :], first.linear.bias)
        weight = first.linear.weight[:, : self.deter]
        parts = self.recurrent_parts()
        deter, stoch = state["deter"], state["stoch"].flatten(1)
        deters, stochs, posteriors = [], [], []
        for step in range(tokens.shape[1]):
            deter, drawn, log_probs = self.filter_step(
                deter,
                stoch,
                actions[:, step],
                tokens[:, step],
                keep[:, step],
                weight,
                None if noise is None else noise[:, step],
                parts,
            )
            stoch = drawn.flatten(1)
            deters.append(deter)
            stochs.append(drawn)
            posteriors.append(log_probs)
        states = {"deter": torch.stack(deters, 1), "stoch": torch.stack(stochs, 1)}
        if context is not None:
            states["context"] = context
        return states, torch.stack(posteriors, 1)

    def filter_step(
        self,
        deter: Tensor,
        stoch: Tensor,
        action: Tensor,
        token: Tensor,
        keep: Tensor,
        weight: Tensor,
        noise: Tensor | None,
        parts: Parts | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One step of `observe`: the next ``h``, ``z`` and the posterior's log-probabilities.

        Args:
            deter, stoch: ``h`` ``(B, D)`` and flat ``z`` ``(B, G n)`` before it.
            action: ``(B, hidden)`` embedded.
            token: ``(B, hidden)`` the observation's share of the posterior's first layer.
            keep: ``(B, 1)`` 0 where an episode begins.
            weight: ``(hidden, D)`` that layer's weight on ``h``.
            noise: Gumbel noise ``(B, G, n)``, or None.
            parts: see `recurrent_parts`.
        """
        deter = self.advance(deter * keep, stoch * keep, action, parts)
        stack = self.posterior[0]
        assert isinstance(stack, nn.Sequential)
        x = F.silu(self._first_of_posterior().norm(F.linear(deter, weight) + token))
        for layer in list(stack)[1:]:
            x = layer(x)
        log_probs = self.log_probs(self.posterior[1](x))
        return deter, one_hot_sample(log_probs, noise), log_probs

    def _first_of_posterior(self) -> Dense:
        stack = self.posterior[0]
        assert isinstance(stack, nn.Sequential)
        first = stack[0]
        assert isinstance(first, Dense)
        return first


def _tanh(x: Tensor) -> Tensor:
    """Hyperbolic tangent; where no gradient is wanted by the logistic function, which takes a CPU
    half of the time."""
    if x.requires_grad or x.device.type != "cpu" or x.dtype != torch.float32:
        return torch.tanh(x)
    return torch.sigmoid(2.0 * x).mul_(2.0).sub_(1.0)
