"""Plain perceptrons whose weights start as TensorFlow's Keras starts them."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import nn

M = TypeVar("M", nn.Linear, nn.Conv2d, nn.ConvTranspose2d)

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "elu": nn.ELU,
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}


def activation_layer(name: str) -> nn.Module:
    """The layer of that name.

    Raises:
        ValueError: for an unknown one.
    """
    if name not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {sorted(ACTIVATIONS)}, got {name!r}")
    return ACTIVATIONS[name]()


def glorot(kind: type[M], *args: Any, generator: torch.Generator, **kwargs: Any) -> M:
    """A layer whose weights are uniform after Glorot and Bengio (2010) and whose bias is zero.

    Those are the defaults of TensorFlow's Keras, with which the papers' results were obtained;
    torch's own are smaller.  The global random state is left alone.

    Args:
        kind: class of the layer.
        *args, **kwargs: of its constructor.
        generator: source of the weights.
    """
    layer = nn.utils.skip_init(kind, *args, **kwargs)
    nn.init.xavier_uniform_(layer.weight, generator=generator)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def dense_layers(
    inputs: int, units: int, layers: int, activation: str, generator: torch.Generator
) -> nn.Sequential:
    """Hidden layers alone: ``(..., inputs)`` to ``(..., units)``; the identity without layers."""
    sizes = [inputs] + [units] * layers
    parts: list[nn.Module] = []
    for before, after in zip(sizes[:-1], sizes[1:], strict=True):
        parts.append(glorot(nn.Linear, before, after, generator=generator))
        parts.append(activation_layer(activation))
    return nn.Sequential(*parts)


def dense_head(
    inputs: int,
    outputs: int,
    units: int,
    layers: int,
    activation: str,
    generator: torch.Generator,
) -> nn.Sequential:
    """A perceptron with a linear output: ``(..., inputs)`` to ``(..., outputs)``.

    Args:
        inputs, outputs: sizes.
        units: width of the hidden layers.
        layers: number of hidden layers; 0 leaves the linear output alone.
        activation: "elu", "relu", "silu" or "tanh", after every hidden layer.
        generator: source of the initial weights, see `glorot`.

    Raises:
        ValueError: for an unknown activation.
    """
    hidden = dense_layers(inputs, units, layers, activation, generator)
    last = glorot(nn.Linear, units if layers else inputs, outputs, generator=generator)
    return nn.Sequential(*hidden, last)


__all__ = ["ACTIVATIONS", "activation_layer", "dense_head", "dense_layers", "glorot"]
