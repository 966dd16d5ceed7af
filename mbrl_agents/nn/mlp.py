"""Multi-layer perceptrons whose ensemble members share one batched matrix product."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": F.silu,
    "relu": F.relu,
    "elu": F.elu,
    "tanh": torch.tanh,
}


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
        self.weight = nn.Parameter(weight * (bound * math.sqrt(3.0)))
        self.bias = nn.Parameter(torch.zeros(members, 1, outputs))

    def forward(self, x: Tensor) -> Tensor:
        return torch.baddbmm(self.bias, x, self.weight)


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
        return self._run(flat).reshape(self.members, *x.shape[:-1], -1)

    def each(self, x: Tensor) -> Tensor:
        """``(E, ..., in)``, an input of its own for each member, to ``(E, ..., out)``."""
        return self._run(x.reshape(self.members, -1, x.shape[-1])).reshape(*x.shape[:-1], -1)

    def _run(self, x: Tensor) -> Tensor:
        activate = ACTIVATIONS[self.activation]
        x = x.to(self.output.weight.dtype)
        for layer in self.layers:
            x = layer(x)
            if self.norm:
                x = F.layer_norm(x, x.shape[-1:])
            x = activate(x)
        return self.output(x).float()
