"""Layers of the Dreamer family: truncated-normal weights, RMS norms, block-diagonal products.

Hafner et al. 2023 (arXiv:2301.04104), appendix on the network architecture; sizes and constants
as the authors ship them.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

NORM_EPS = 1e-4
# The std of a standard normal cut off at two sigma is 0.8796; this undoes it.
TRUNCATION = 1.1368


def truncated_normal_(
    weight: Tensor, fan_in: int, scale: float, generator: torch.Generator
) -> Tensor:
    """Fill with a normal cut off at two sigma, of variance ``scale^2 / fan_in``."""
    with torch.no_grad():
        nn.init.trunc_normal_(weight, 0.0, 1.0, -2.0, 2.0, generator=generator)
        return weight.mul_(scale * TRUNCATION / math.sqrt(fan_in))


class RMSNorm(nn.Module):
    """``x / sqrt(mean(x^2) + eps) * scale`` over one dimension, computed in float32.

    Args:
        size: of the normalised dimension.
        dim: which one that is; -1, or 1 for channels-first images.
    """

    def __init__(self, size: int, dim: int = -1) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(size))
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        plain = x.dtype != torch.float32 or not torch.is_grad_enabled()
        if not plain and not torch.compiler.is_compiling():
            # Images with their channels last, where the layout in memory may be so as well.
            last = x if self.dim == -1 else x.movedim(1, -1)
            normed = _Normed.apply(last, self.scale)
            return normed if self.dim == -1 else normed.movedim(-1, 1)
        scale = self.scale if self.dim == -1 else self.scale[:, None, None]
        wide = x.float()
        mean = wide.square().mean(self.dim, keepdim=True)
        return (wide * torch.rsqrt(mean + NORM_EPS) * scale).to(x.dtype)


class _Normed(torch.autograd.Function):
    """`RMSNorm` over the last dimension, with a gradient in half the passes of autograd's own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor) -> Tensor:
        rate = x.square().mean(-1, keepdim=True).add_(NORM_EPS).rsqrt_()
        ctx.save_for_backward(x, rate, scale)
        return (x * rate).mul_(scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        x, rate, scale = ctx.saved_tensors
        unit = x * rate
        product = grad * unit
        along = (product @ scale)[..., None] / x.shape[-1]
        inner = (grad * scale).addcmul_(unit, along, value=-1.0).mul_(rate)
        return inner, product.sum(tuple(range(x.ndim - 1)))


class Linear(nn.Linear):
    """A linear layer with truncated-normal weights and zero bias.

    Args:
        inputs, outputs: sizes.
        scale: factor on the initial weights; 0 makes the layer start at zero.
        generator: source of the initial weights.
    """

    def __init__(
        self, inputs: int, outputs: int, *, scale: float = 1.0, generator: torch.Generator
    ) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = inputs, outputs
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(outputs))
        truncated_normal_(self.weight, inputs, scale, generator)


class Dense(nn.Module):
    """Linear, RMS norm, SiLU."""

    def __init__(self, inputs: int, outputs: int, *, generator: torch.Generator) -> None:
        super().__init__()
        self.linear = Linear(inputs, outputs, generator=generator)
        self.norm = RMSNorm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(self.norm(self.linear(x)))


def dense_stack(
    inputs: int, units: int, layers: int, *, generator: torch.Generator
) -> nn.Sequential:
    """``layers`` times `Dense`, each ``units`` wide."""
    sizes = [inputs] + [units] * layers
    return nn.Sequential(
        *(Dense(a, b, generator=generator) for a, b in zip(sizes[:-1], sizes[1:], strict=True))
    )


class BlockLinear(nn.Module):
    """``G`` linear layers side by side, each on its own part of the input.

    A block's inputs are its own slice of ``own`` and all of ``shared``, as if ``shared`` had been
    repeated for every block; it is multiplied once, with the blocks' weights side by side.

    Args:
        own: size of the input that is divided among the blocks.
        outputs: size of the output, divided likewise.
        blocks: ``G``.
        shared: size of the input that every block sees.
        generator: source of the initial weights; their fan-in counts the input of all blocks.
    """

    def __init__(
        self,
        own: int,
        outputs: int,
        blocks: int,
        *,
        shared: int = 0,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        if own % blocks or outputs % blocks:
            raise ValueError(f"{blocks} blocks divide neither {own} inputs nor {outputs} outputs")
        self.blocks, self.own, self.shared = blocks, own // blocks, shared
        inputs = self.own + shared
        self.weight = nn.Parameter(torch.empty(blocks, inputs, outputs // blocks))
        self.bias = nn.Parameter(torch.zeros(outputs))
        truncated_normal_(self.weight, blocks * inputs, 1.0, generator)

    def parts(self) -> tuple[Tensor, Tensor]:
        """Weights on ``own`` ``(G, own / G, outputs / G)`` and on ``shared`` ``(shared, outputs)``.

        The second is a copy: whoever multiplies many times takes it once.
        """
        flat = self.weight[:, self.own :].permute(1, 0, 2).reshape(self.shared, -1)
        return self.weight[:, : self.own], flat

    def forward(
        self,
        own: Tensor,
        shared: Tensor | None = None,
        parts: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """``own`` ``(N, own)`` and ``shared`` ``(N, shared)`` to ``(N, outputs)``.

        Args:
            parts: what `parts` gave, where it is at hand.
        """
        rows = len(own)
        grouped = own.reshape(rows, self.blocks, self.own).transpose(0, 1)  # (G, N, own / G)
        if shared is None:
            return torch.bmm(grouped, self.weight).transpose(0, 1).reshape(rows, -1) + self.bias
        weight, flat = self.parts() if parts is None else parts
        out = torch.bmm(grouped, weight).transpose(0, 1)
        return out.reshape(rows, -1) + self.bias + shared @ flat


class Conv(nn.Module):
    """A convolution with truncated-normal weights: ``(N, C, H, W)`` to ``(N, outputs, ...)``.

    Height and width are divided by ``stride``, rounded up.

    Args:
        inputs, outputs: channels.
        kernel: odd width of the kernel.
        stride: pixels from one output to the next.
        generator: source of the initial weights.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        *,
        stride: int = 1,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.padding, self.stride = kernel // 2, stride
        truncated_normal_(self.weight, inputs * kernel**2, 1.0, generator)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, self.bias, stride=self.stride, padding=self.padding)


__all__ = [
    "NORM_EPS",
    "BlockLinear",
    "Conv",
    "Dense",
    "Linear",
    "RMSNorm",
    "dense_stack",
    "truncated_normal_",
]
