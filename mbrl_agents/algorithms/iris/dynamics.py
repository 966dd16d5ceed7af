"""The transformer over tokens: what is seen next, the sign of the reward, and the end."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mbrl_agents.algorithms.iris.config import IrisConfig
from mbrl_agents.algorithms.iris.transformer import Transformer
from mbrl_agents.protocols import Batch, Metrics

INITIAL_STD = 0.02
"""Of all matrices and embeddings."""

SIGNS = 3
"""Classes of a reward: negative, zero, positive."""


class Dynamics(nn.Module):
    """Blocks of tokens and an action to what follows (arXiv:2209.00588, section 2.2).

    A block is an observation's ``K`` tokens and the action after them.  The output at a token
    predicts the next token of the observation, the output at an action the next observation's
    first token, the sign of the reward and whether the episode ends.

    Weights are drawn from torch's global generator; see `mbrl_agents.nn.drawing.drawing_from`.

    Args:
        config: settings.
        tokens: ``K``.
        action_size: ``A``.
        discrete: whether actions are one-hot: each then has a vector of its own; continuous ones
            go through a linear layer.
    """

    def __init__(
        self, config: IrisConfig, tokens: int, action_size: int, *, discrete: bool
    ) -> None:
        super().__init__()
        width = config.width
        self.tokens, self.window = tokens, config.window
        self.position = nn.Embedding(config.window * (tokens + 1), width)
        self.token = nn.Embedding(config.codes, width)
        self.action = nn.Linear(action_size, width, bias=not discrete)
        self.transformer = Transformer(width, config.layers, config.heads, config.dropout)

        def head(outputs: int) -> nn.Sequential:
            return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, outputs))

        self.next_token, self.reward, self.end = head(config.codes), head(SIGNS), head(2)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=INITIAL_STD)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def decayed(self) -> list[nn.Parameter]:
        """The matrices that weight decay acts on: neither embeddings, norms nor biases."""
        found: list[nn.Parameter] = []
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear) and name != "action":
                assert isinstance(module.weight, nn.Parameter)
                found.append(module.weight)
        return found

    def embed(self, tokens: Tensor, actions: Tensor, block: Tensor) -> Tensor:
        """Blocks as vectors, ``(B, L (K + 1), D)``.

        Args:
            tokens: ``(B, L, K)``.
            actions: ``(B, L, A)`` after each observation; beyond [-1, 1] as at the bound.
            block: ``(B, L)`` the number of each block in its context, which positions follow from.
        """
        parts = [self.token(tokens), self.action(actions.clamp(-1.0, 1.0))[:, :, None]]
        found = torch.cat(parts, 2) + self.positions(block, 0, self.tokens + 1)
        return found.flatten(1, 2)

    def positions(self, block: Tensor, first: int, last: int) -> Tensor:
        """Vectors ``(..., last - first, D)`` of some places in blocks of numbers ``(...)``."""
        offsets = torch.arange(first, last, device=block.device)
        found: Tensor = self.position(block[..., None] * (self.tokens + 1) + offsets)
        return found

    def forward(self, tokens: Tensor, actions: Tensor, is_first: Tensor | None = None) -> Tensor:
        """Outputs ``(B, L, K + 1, D)`` at every place of ``L`` blocks.

        Args:
            tokens, actions: as `embed` takes them.
            is_first: ``(B, L)`` where an episode begins: what follows sees nothing of what was
                before, and its positions begin anew; None for nowhere but at the beginning.
        """
        size, length, _ = tokens.shape
        number = torch.arange(length, device=tokens.device).expand(size, length)
        mask = None
        if is_first is not None and bool(is_first[:, 1:].any()):
            begun = (number * is_first).cummax(1).values
            mask = self._within(begun)
            number = number - begun
        found = self.transformer(self.embed(tokens, actions, number), mask)
        return found.unflatten(1, (length, self.tokens + 1))

    def _within(self, episode: Tensor) -> Tensor:
        """``(B, 1, T, T)``: a token sees itself and those before it of the same episode."""
        each = episode.repeat_interleave(self.tokens + 1, 1)
        same = each[:, :, None] == each[:, None, :]
        return same.tril()[:, None]

    def losses(self, tokens: Tensor, batch: Batch) -> tuple[dict[str, Tensor], Metrics]:
        """Cross entropies in nats, averaged over what they are known for, and detached metrics.

        Equation 3 of arXiv:2209.00588; of rewards the sign is learned.

        Args:
            tokens: ``(B, L, K)`` of the first ``L`` observations.
            batch: ``(B, L + 1)``; the last observation only says what the last action led to.
        """
        length = tokens.shape[1]
        actions, begins = batch.prev_action[:, 1:], batch.is_first[:, :length]
        goes_on = (batch.mask & ~batch.is_first)[:, 1:]  # (B, L) whether an action led to the next
        found = self(tokens, actions, begins)
        known = batch.mask[:, :length]
        here = self.next_token(found[:, :, : self.tokens - 1][known])
        there = self.next_token(found[:, :-1, self.tokens][goes_on[:, :-1]])
        logits = torch.cat([here.flatten(0, 1), there])
        wanted = torch.cat([tokens[:, :, 1:][known].flatten(), tokens[:, 1:, 0][goes_on[:, :-1]]])
        acted = found[:, :, self.tokens][goes_on]
        signs = (batch.reward[:, 1:].sign() + 1.0).long()[goes_on]
        ends = batch.terminal[:, 1:].long()[goes_on]
        reward, end = self.reward(acted), self.end(acted)
        losses = {
            "tokens": _cross_entropy(logits, wanted),
            "reward": _cross_entropy(reward, signs),
            "end": _cross_entropy(end, ends),
        }
        with torch.no_grad():
            metrics = {
                "tokens_right": _share(logits, wanted),
                "first_tokens_right": _share(there, tokens[:, 1:, 0][goes_on[:, :-1]]),
                "rewards_right": _share(reward, signs),
                "ends_right": _share(end, ends),
            }
        return losses, metrics


def _cross_entropy(logits: Tensor, wanted: Tensor) -> Tensor:
    """Mean in nats; 0 where nothing is known."""
    return F.cross_entropy(logits, wanted, reduction="sum") / max(1, len(wanted))


def _share(logits: Tensor, wanted: Tensor) -> Tensor:
    """Share of the likeliest classes that are right."""
    return (logits.argmax(-1) == wanted).float().sum() / max(1, len(wanted))


__all__ = ["SIGNS", "Dynamics"]
