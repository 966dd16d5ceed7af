"""The recurrent model rolled ahead without gradients, every step in the same memory.

The numbers of `RSSM.imagine_embedded` and of the heads on top, up to rounding, in two thirds of
the time on a CPU.  Nothing is allocated or laid out anew between steps, so that a plan's hundred
candidates stay in the cache; all first layers that read the same state are one product; and
states are only kept where somebody asks for them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mbrl_agents.nn.categorical import gumbel
from mbrl_agents.nn.normed import NORM_EPS, BlockLinear, Dense, RMSNorm

if TYPE_CHECKING:
    from mbrl_agents.algorithms.dreamer_v3.model import DreamerV3Model
    from mbrl_agents.algorithms.dreamer_v3.rssm import RSSM, State


CACHED_ROWS = 1024
"""Distributions over 255 bins that a CPU's cache keeps."""


class Rolling:
    """Imagined steps of ``N`` states.

    Args:
        rssm: the model, in float32.
        state: where to begin, ``deter`` ``(N, D)`` and ``stoch`` ``(N, G, n)``.
        steps: how many there will be at most.
        heads: networks that read the features of imagined states: a stack of `Dense` layers, at
            least one, and a last layer.
        features: output buffers for those of each step, ``(N, F)``, which are not kept without.
    """

    def __init__(
        self,
        rssm: RSSM,
        state: State,
        steps: int,
        heads: Mapping[str, nn.Sequential],
        features: Sequence[Tensor] | None = None,
    ) -> None:
        self._rssm, self._heads, self._features = rssm, heads, features
        rows, deter = state["deter"].shape
        hidden = rssm.from_deter.linear.out_features
        latent, new = rssm.feature_size - deter, rssm.gates.bias.new_empty
        self._deter, self._stoch = state["deter"].float(), state["stoch"].float().flatten(1)
        self._lay_out_weights()
        # What a step works in.
        self._inputs = new(rows, 3 * hidden)
        self._from_deter, self._from_stoch, self._from_action = self._inputs.split(hidden, 1)
        self._read_deter = new(rows, self._deter_weight.shape[1])
        self._read_stoch = new(rows, self._stoch_weight.shape[1])
        self._hidden = new(rows, hidden), new(rows, hidden)
        self._logits, self._drawn = new(rows, latent), new(rows, latent)
        self._blocked = new(rssm.blocks, rows, deter // rssm.blocks)
        self._x = new(rows, deter)
        self._gates = new(rssm.blocks, rows, 3 * deter // rssm.blocks)
        self._deters = new(rows, deter), new(rows, deter)  # read and written in turn
        # What it leaves behind: the heads' first layers before their norms.
        self._firsts = [new(steps, rows, width) for width in self._widths]
        shares = self._read_deter[:, 2 * hidden :], self._read_stoch[:, hidden:]
        parts = [x.split(self._widths, 1) if heads else () for x in shares]
        self._shares = list(zip(*parts, strict=True))
        self._read()

    def _lay_out_weights(self) -> None:
        rssm = self._rssm
        firsts = [_stack(head)[0] for head in self._heads.values()]
        self._widths = [first.linear.out_features for first in firsts]
        parts = [first.linear.weight.split([rssm.deter, first.linear.in_features - rssm.deter], 1)
                 for first in firsts]  # fmt: skip
        inner, prior = rssm.from_deter.linear, _stack(rssm.prior)[0].linear
        zeros = inner.bias.new_zeros(sum(self._widths))
        self._deter_weight = torch.cat([inner.weight, prior.weight, *(d for d, _ in parts)]).t()
        self._deter_bias = torch.cat([inner.bias, prior.bias, zeros])
        inner = rssm.from_stoch.linear
        self._stoch_weight = torch.cat([inner.weight, *(z for _, z in parts)]).t()
        self._stoch_bias = torch.cat([inner.bias, *(first.linear.bias for first in firsts)])
        self._own, self._shared = rssm.recurrent_parts()
        # The -1 of the update gate, see `RSSM.advance`.
        self._gate_bias = rssm.gates.bias.detach().reshape(rssm.blocks, 1, -1).clone()
        self._gate_bias[..., 2 * rssm.deter // rssm.blocks :] -= 1.0
        self._minus = self._gate_bias.new_full((), -1.0)

    def step(self, step: int, action: Tensor, noise: Tensor | None = None) -> None:
        """Imagine one step; to be called for 0, 1, ... in turn.

        Args:
            action: ``(N, hidden)`` embedded.
            noise: Gumbel noise ``(N, G, n)`` of the draw; None: see `RSSM.imagined`.
        """
        rssm, hidden = self._rssm, self._hidden[0].shape[1]
        for layer, product, room in (
            (rssm.from_deter, self._read_deter, self._from_deter),
            (rssm.from_stoch, self._read_stoch, self._from_stoch),
        ):
            _activated(layer.norm, product[:, :hidden], room)
        self._from_action.copy_(action)
        self._deter = self._advance(self._deters[step % 2])
        torch.addmm(self._deter_bias, self._deter, self._deter_weight, out=self._read_deter)
        self._stoch = self._draw(noise)
        torch.addmm(self._stoch_bias, self._stoch, self._stoch_weight, out=self._read_stoch)
        for first, shares in zip(self._firsts, self._shares, strict=True):
            torch.add(*shares, out=first[step])
        if self._features is not None:
            torch.cat([self._deter, self._stoch], -1, out=self._features[step])

    def outputs(self) -> Iterator[dict[str, Tensor]]:
        """What each head gives for the imagined states, ``(t, N, ...)`` for ``t`` steps at a time.

        On a CPU few steps at a time: what follows a head then finds its outputs in the cache.
        """
        steps, rows = self._firsts[0].shape[:2]
        together = steps if self._x.device.type != "cpu" else max(1, CACHED_ROWS // rows)
        for begin in range(0, steps, together):
            found = {}
            for (name, head), firsts in zip(self._heads.items(), self._firsts, strict=True):
                stack = _stack(head)
                x = _activated(stack[0].norm, firsts[begin : begin + together])
                for layer in stack[1:]:
                    x = layer(x)
                last = head[1]
                assert isinstance(last, nn.Linear)
                # The bias afterwards: torch is slow at spreading 255 numbers beforehand.
                found[name] = (x @ last.weight.t()).add_(last.bias)
            yield found

    def _read(self) -> None:
        """What the first step needs of the first layers that read the state where it begins."""
        for layer, x, product in (
            (self._rssm.from_deter.linear, self._deter, self._read_deter),
            (self._rssm.from_stoch.linear, self._stoch, self._read_stoch),
        ):
            product[:, : layer.out_features] = torch.addmm(layer.bias, x, layer.weight.t())

    def _advance(self, result: Tensor) -> Tensor:
        """The next ``h`` ``(N, D)`` in ``result``."""
        rssm, x = self._rssm, self._x
        first = rssm.dynamics[0]
        assert isinstance(first, BlockLinear)
        by_block = x.view(len(x), rssm.blocks, -1).transpose(0, 1)  # (G, N, D / G), a view
        own = self._deter.view(len(x), rssm.blocks, -1).transpose(0, 1)
        torch.addmm(first.bias, self._inputs, self._shared, out=x)
        by_block += torch.bmm(own, self._own, out=self._blocked)
        norms = [norm for norm in rssm.dynamics_norms if isinstance(norm, RMSNorm)]
        _activated(norms[0], x)
        for linear, norm in zip(list(rssm.dynamics)[1:], norms[1:], strict=True):
            assert isinstance(linear, BlockLinear)
            by_block.copy_(torch.bmm(by_block, linear.weight, out=self._blocked))
            _activated(norm, x.add_(linear.bias))
        torch.baddbmm(self._gate_bias, by_block, rssm.gates.weight, out=self._gates)
        reset, candidate, update = self._gates.chunk(3, -1)
        # The hyperbolic tangent by way of the logistic function: tanh(x) = 2 s(2 x) - 1.
        candidate.mul_(reset.sigmoid_()).mul_(2.0).sigmoid_()
        update.sigmoid_()
        # h + u (2 s - 1 - h)
        kept = torch.lerp(own, self._minus, update, out=self._blocked)
        kept.addcmul_(update, candidate, value=2.0)
        result.view(len(x), rssm.blocks, -1).transpose(0, 1).copy_(kept)
        return result

    def _draw(self, noise: Tensor | None) -> Tensor:
        """The next ``z``, flat ``(N, G n)``, see `RSSM.imagined`."""
        rssm, hidden = self._rssm, self._hidden[0].shape[1]
        stack, last = _stack(rssm.prior), rssm.prior[1]
        assert isinstance(last, nn.Linear)
        x = _activated(stack[0].norm, self._read_deter[:, hidden : 2 * hidden])
        for number, layer in enumerate(stack[1:]):
            room = self._hidden[number % 2]
            torch.addmm(layer.linear.bias, x, layer.linear.weight.t(), out=room)
            x = _activated(layer.norm, room)
        logits = torch.addmm(last.bias, x, last.weight.t(), out=self._logits)
        logits = logits.view(len(logits), rssm.stoch, rssm.classes)
        if noise is None and rssm.expected:
            return self._drawn.copy_(rssm.log_probs(self._logits).exp_().flatten(1))
        # Without noise the most likely class is that of the raw logits.
        if noise is not None:
            logits = rssm.log_probs(self._logits) + noise
        drawn = self._drawn.zero_()
        drawn.view_as(logits).scatter_(-1, logits.argmax(-1, keepdim=True), 1.0)
        return drawn


@torch.no_grad()
def stepper(
    model: DreamerV3Model, state: State, steps: int, generator: torch.Generator
) -> Callable[[int, Tensor], Tensor]:
    """A function from step (0, 1, ...) and action ``(N, A)`` to features ``(N, F)``.

    For whoever chooses an action after seeing where the last one led.  To be called in turn; no
    gradients are recorded, and latents are drawn.

    Args:
        state: where to begin.
        steps: how many there will be at most.
        generator: source of the draws.
    """
    rssm, rows, device = model.rssm, len(state["deter"]), state["deter"].device
    if device.type != "cpu" or not model.rolls:
        current = state

        @torch.no_grad()
        def general(step: int, action: Tensor) -> Tensor:
            nonlocal current
            current = model.imagine_step(current, action, generator=generator)
            return model.features(current)

        return general
    features = [state["deter"].new_empty(rows, model.feature_size) for _ in range(steps)]
    rolling = Rolling(rssm, state, steps, {}, features)

    @torch.no_grad()
    def rolled(step: int, action: Tensor) -> Tensor:
        noise = gumbel((rows, rssm.stoch, rssm.classes), generator, device)
        rolling.step(step, rssm.embed_action(action, state.get("context")), noise)
        return features[step]

    return rolled


def _stack(network: nn.Sequential) -> list[Dense]:
    """The hidden layers of a network that ends in a linear layer."""
    stack = network[0]
    assert isinstance(stack, nn.Sequential)
    return [layer for layer in stack if isinstance(layer, Dense)]


def _activated(norm: RMSNorm, x: Tensor, into: Tensor | None = None) -> Tensor:
    """RMS norm and SiLU, in ``into``, or in place."""
    size = x.shape[-1]
    # sum(x^2) + n eps in place of mean(x^2) + eps, made up for by the scale: two passes fewer.
    rate = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_().add_(size * NORM_EPS)
    scale = norm.scale * math.sqrt(size)
    return F.silu(torch.mul(x.mul_(rate.rsqrt_()), scale, out=x if into is None else into), True)


__all__ = ["Rolling", "stepper"]
