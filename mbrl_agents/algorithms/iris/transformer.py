"""A causal transformer with a cache of keys and values."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Cache:
    """Keys and values of the tokens that a transformer has read, one after another.

    Args:
        layers, batch, heads, size: of the transformer and its rows; ``size`` of a head.
        capacity: tokens it has room for.
        like: a tensor of the wanted device and dtype.
        hidden: ``(B, T)`` which of the first ``T`` tokens are padding, or None for none.

    Attributes:
        length: tokens read.
    """

    def __init__(
        self,
        layers: int,
        batch: int,
        heads: int,
        size: int,
        capacity: int,
        like: Tensor,
        hidden: Tensor | None = None,
    ) -> None:
        self.store = like.new_empty(layers, 2, batch, heads, capacity, size)
        self.length = 0
        self.seen: Tensor | None = None
        if hidden is not None:
            self.seen = torch.ones(batch, capacity, dtype=torch.bool, device=like.device)
            self.seen[:, : hidden.shape[1]] = ~hidden

    def append(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Store ``(B, heads, T, size)`` of a layer; returns those of all tokens so far."""
        store, end = self.store[layer], self.length + key.shape[2]
        store[0, :, :, self.length : end] = key
        store[1, :, :, self.length : end] = value
        return store[0, :, :, :end], store[1, :, :, :end]

    def mask(self, count: int) -> Tensor | None:
        """``(B or 1, 1, count, T)`` what the next ``count`` tokens may look at; None for all."""
        end = self.length + count
        device = self.store.device
        if count == 1 and self.seen is None:
            return None
        rows = torch.arange(self.length, end, device=device)[:, None]
        columns = torch.arange(end, device=device)
        mask = (columns <= rows)[None, None]
        if self.seen is not None:
            # Padding looks at itself, for an empty softmax is no number.
            mask = mask & (self.seen[:, None, None, :end] | (columns == rows))
        return mask


class Block(nn.Module):
    """Self-attention, then a perceptron, each added to what it read after a layer norm."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.projections = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.inner = nn.Linear(width, 4 * width)
        self.outer = nn.Linear(4 * width, width)

    def forward(
        self, x: Tensor, mask: Tensor | None, causal: bool, cache: Cache | None, layer: int
    ) -> Tensor:
        parts = self.projections(self.norm1(x)).unflatten(-1, (3, self.heads, -1))
        query, key, value = parts.permute(2, 0, 3, 1, 4)  # (B, heads, T, size) each
        if cache is not None:
            key, value = cache.append(layer, key, value)
        left_out = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, is_causal=causal, dropout_p=left_out
        )
        x = x + F.dropout(self.out(mixed.transpose(1, 2).flatten(2)), left_out, self.training)
        found = self.outer(F.gelu(self.inner(self.norm2(x))))
        return x + F.dropout(found, left_out, self.training)


class Transformer(nn.Module):
    """Vectors ``(B, T, D)`` to vectors ``(B, T, D)``, each of which has seen those before it.

    GPT-2's layers (Radford et al. 2019): norms before attention and perceptron, and one at the end.

    Args:
        width, layers, heads: sizes.
        dropout: in training.
    """

    def __init__(self, width: int, layers: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.width, self.heads, self.dropout = width, heads, dropout
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def cache(self, batch: int, capacity: int, hidden: Tensor | None = None) -> Cache:
        """Room for the keys and values of ``capacity`` tokens; see `Cache`."""
        size = self.width // self.heads
        like = self.norm.weight.detach()
        return Cache(len(self.blocks), batch, self.heads, size, capacity, like, hidden)

    def forward(self, x: Tensor, mask: Tensor | None = None, cache: Cache | None = None) -> Tensor:
        """The outputs of ``T`` more tokens.

        Args:
            x: ``(B, T, D)`` embedded tokens.
            mask: ``(B, 1, T, T)`` what each token may look at, without a cache; None lets it look
                at itself and all before it.
            cache: of the tokens before these; it is extended.
        """
        if cache is not None:
            mask = cache.mask(x.shape[1])
        x = F.dropout(x, self.dropout, self.training)
        for layer, block in enumerate(self.blocks):
            x = block(x, mask, cache is None and mask is None, cache, layer)
        if cache is not None:
            cache.length += x.shape[1]
        normed: Tensor = self.norm(x)
        return normed


__all__ = ["Block", "Cache", "Transformer"]
