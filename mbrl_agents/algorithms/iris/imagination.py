"""Imagining in tokens, one after another, with a cache of keys and values."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mbrl_agents.algorithms.iris.dynamics import Dynamics
from mbrl_agents.nn.categorical import gumbel

State = dict[str, Tensor]
"""The last blocks, right-aligned, the newest last: ``tokens`` ``(B, N, K)``, ``actions``
``(B, N, A)`` after each (zeros after the last, which has none yet), and ``length`` ``(B,)``, how
many of the ``N`` there are."""


@dataclass(frozen=True)
class Outcome:
    """What the transformer says of an action.

    Attributes:
        reward: ``(B, 3)`` logits of its sign.
        end: ``(B, 2)`` logits of whether the episode goes on or ends.
        tokens: ``(B, K)`` of the next observation; None where it was not asked for.
    """

    reward: Tensor
    end: Tensor
    tokens: Tensor | None


class Imagination:
    """A number of imagined trajectories, stepped together.

    Only the newest tokens go through the transformer: keys and values of earlier ones are kept
    (arXiv:2209.00588, section 2.2).  Where a trajectory has filled the transformer's context, its
    next observation is imagined from the last one and its action alone, and so on from there.
    Tokens are discrete, so no gradient goes through any of this.

    Args:
        dynamics: predicts.
        state: where to begin, leaves ``(B, ...)``; it is not changed.

    Attributes:
        state: where the trajectories are.
    """

    def __init__(self, dynamics: Dynamics, state: State) -> None:
        self.dynamics = dynamics
        # A state before the first observation counts as one that has seen the first code alone.
        self.state: State = {**state, "length": state["length"].clamp_min(1)}
        with torch.no_grad():
            # The last token waits for the action after it: two go through the transformer at once.
            self._read(leave=2)

    @torch.no_grad()
    def step(
        self, action: Tensor, *, generator: torch.Generator | None = None, observe: bool = True
    ) -> Outcome:
        """What comes of ``action`` ``(B, A)``.

        Args:
            generator: source of tokens; None takes the likeliest.
            observe: whether to imagine the next observation; without, this is the last step.
        """
        model, state = self.dynamics, self.state
        count, block = model.tokens, state["length"] - 1
        seen = torch.stack(
            [model.token(state["tokens"][:, -1, -1]), model.action(action.clamp(-1.0, 1.0))], 1
        )
        seen = seen + model.positions(block, count - 1, count + 1)
        found = model.transformer(seen, cache=self.cache)[:, -1]
        reward, end = model.reward(found), model.end(found)
        if not observe:
            return Outcome(reward, end, None)
        state = self.state = {**state, "actions": torch.cat(
            [state["actions"][:, :-1], action[:, None]], 1)}  # fmt: skip
        full = state["length"] >= model.window
        if bool(full.any()):
            state["length"] = torch.where(full, 1, state["length"])
            found = self._read(leave=0)
        block = state["length"]
        tokens = [self._drawn(found, generator)]
        for place in range(count - 1):
            x = model.token(tokens[-1])[:, None] + model.positions(block, place, place + 1)
            found = model.transformer(x, cache=self.cache)[:, -1]
            tokens.append(self._drawn(found, generator))
        drawn = torch.stack(tokens, 1)
        self.state = {
            "tokens": torch.cat([state["tokens"][:, 1:], drawn[:, None]], 1),
            "actions": torch.cat([state["actions"][:, 1:], torch.zeros_like(action)[:, None]], 1),
            "length": block + 1,
        }
        return Outcome(reward, end, drawn)

    def _read(self, *, leave: int) -> Tensor:
        """Fill the cache with all blocks but the last ``leave`` tokens; the last output."""
        model, state = self.dynamics, self.state
        size, most = state["tokens"].shape[:2]
        length = int(state["length"].max())
        number = torch.arange(length, device=state["length"].device) - length
        number = number + state["length"][:, None]  # negative for padding
        x = model.embed(
            state["tokens"][:, most - length :],
            state["actions"][:, most - length :],
            number.clamp_min(0),
        )
        x = x[:, : x.shape[1] - leave]
        hidden = None
        if bool((number < 0).any()):
            hidden = (number < 0).repeat_interleave(model.tokens + 1, 1)[:, : x.shape[1]]
        self.cache = model.transformer.cache(size, most * (model.tokens + 1), hidden)
        if not x.shape[1]:
            return x.new_zeros(size, model.transformer.width)
        found: Tensor = model.transformer(x, cache=self.cache)[:, -1]
        return found

    def _drawn(self, found: Tensor, generator: torch.Generator | None) -> Tensor:
        """The next token ``(B,)`` after an output ``(B, D)``."""
        logits: Tensor = self.dynamics.next_token(found)
        if generator is not None:
            logits = logits + gumbel(logits.shape, generator, logits.device)
        return logits.argmax(-1)


__all__ = ["Imagination", "Outcome", "State"]
