"""Multi-layer perceptrons whose ensemble members share one batched matrix product."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ACTIVATIONS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "silu": (F.silu, partial(F.silu, inplace=True)),
    "relu": (torch.relu, torch.relu_),
    "elu": (F.elu, partial(F.elu, inplace=True)),
    "tanh": (torch.tanh, torch.tanh_),
}
"""Each with its twin that overwrites its argument."""

COLUMNS = 16
"""A CPU's matrix products want a multiple of as many output columns: 23 take longer than 32."""


CACHED = 2**17
"""Numbers of a hidden layer's output that a CPU computes at once: what its caches keep."""


class EnsembleLinear(nn.Module):
    """``E`` independent linear layers, ``(E, N, in) -> (E, N, out)``.

    Args:
        inputs, outputs: sizes.
        members: ``E``.
        scale: factor on the initial weights; 0 makes the layer start at zero.
        generator: source of the initial weights; a generator seeded with 0 when None, so that
            building a model never touches the global random state.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        members: int = 1,
        *,
        scale: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        generator = generator or torch.Generator().manual_seed(0)
        bound = scale / math.sqrt(inputs)
        weight = torch.empty(members, inputs, outputs).uniform_(-1, 1, generator=generator)
        weight *= bound * math.sqrt(3.0)
        # The inputs of an output lie side by side: a CPU then multiplies by few columns up to
        # four times as fast.
        self.weight = nn.Parameter(weight.transpose(1, 2).contiguous())
        self.bias = nn.Parameter(torch.zeros(members, 1, outputs))

    def forward(self, x: Tensor) -> Tensor:
        outputs = self.weight.shape[1]
        if x.device.type == "cpu" and outputs == 1:
            each = zip(x.unbind(), self.weight[:, 0].unbind(), strict=True)
            return torch.stack([member.mv(row) for member, row in each])[..., None] + self.bias
        weight, bias = self.laid_out()
        return torch.baddbmm(bias, x, weight)[..., :outputs]

    def laid_out(self) -> tuple[Tensor, Tensor]:
        """Weight ``(E, in, out')`` and bias ``(E, 1, out')`` as they are multiplied.

        On a CPU ``out'`` may be ``out`` rounded up to a multiple of `COLUMNS`.
        """
        weight: Tensor = self.weight
        bias: Tensor = self.bias
        outputs = weight.shape[1]
        if outputs > COLUMNS and outputs % COLUMNS and weight.device.type == "cpu":
            missing = -outputs % COLUMNS
            weight, bias = F.pad(weight, (0, 0, 0, missing)), F.pad(bias, (0, missing))
        return weight.transpose(1, 2), bias


class MLP(nn.Module):
    """An ensemble of perceptrons: hidden layers with activation, then a linear output.

    Layer normalisation, where asked for, has no affine part of its own (the next layer's weights
    absorb it), which saves two passes over the activations at every imagined step.

    Args:
        inputs, outputs: sizes.
        hidden: width of each hidden layer.
        members: ``E``; one call computes all of them.
        norm: layer normalisation before each activation.
        activation: "silu", "relu", "elu" or "tanh".
        output_scale: factor on the output layer's initial weights.
        generator: see `EnsembleLinear`.

    Raises:
        ValueError: for an unknown activation or no members.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        hidden: Sequence[int],
        *,
        members: int = 1,
        norm: bool = True,
        activation: str = "silu",
        output_scale: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {sorted(ACTIVATIONS)}, got {activation!r}")
        if members < 1:
            raise ValueError(f"an ensemble needs at least one member, got {members}")
        generator = generator or torch.Generator().manual_seed(0)
        sizes = [inputs, *hidden]
        self.layers = nn.ModuleList(
            EnsembleLinear(a, b, members, generator=generator)
            for a, b in zip(sizes[:-1], sizes[1:], strict=True)
        )
        self.output = EnsembleLinear(
            sizes[-1], outputs, members, scale=output_scale, generator=generator
        )
        self.members = members
        self.norm = norm
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """``(..., in)`` to every member: ``(E, ..., out)``, float32 whatever the weights are."""
        flat = x.reshape(1, -1, x.shape[-1]).expand(self.members, -1, -1)
        rows = max(1, CACHED // max(layer.bias.numel() for layer in self.linear))
        if x.device.type != "cpu" or flat.shape[1] <= rows or torch.is_grad_enabled():
            out = self._run(flat)
        else:
            out = torch.cat([self._run(part) for part in flat.split(rows, 1)], 1)
        return out.reshape(self.members, *x.shape[:-1], -1)

    def each(self, x: Tensor) -> Tensor:
        """``(E, ..., in)``, an input of its own for each member, to ``(E, ..., out)``."""
        return self._run(x.reshape(self.members, -1, x.shape[-1])).reshape(*x.shape[:-1], -1)

    @property
    def linear(self) -> list[EnsembleLinear]:
        """All linear layers, the output's last."""
        return [*self.layers, self.output]

    def _run(self, x: Tensor) -> Tensor:
        x = x.to(self.output.weight.dtype)
        for layer in self.layers:
            x = self.activated(layer(x))
        return self.output(x).float()

    def activated(self, x: Tensor) -> Tensor:
        """What a hidden layer does after its product; may overwrite ``x``."""
        if self.norm:
            x = F.layer_norm(x, x.shape[-1:])
        return ACTIVATIONS[self.activation][not x.requires_grad](x)
