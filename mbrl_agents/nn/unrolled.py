"""A multi-layer perceptron as a loop over time calls it."""

from __future__ import annotations

import torch
from torch import Tensor

from mbrl_agents.nn.mlp import MLP


class Unrolled:
    """An `MLP` whose output at one step becomes its input at the next.

    Weights are laid out once, and every step works in the same memory, which stays in the
    processor's cache.  Where gradients are recorded it calls the perceptron itself.

    Args:
        mlp: its first inputs come from the loop, its last ones are known beforehand.
        known: ``(N, T, K)`` the last inputs of every step, such as a plan's actions.
    """

    def __init__(self, mlp: MLP, known: Tensor) -> None:
        self._mlp, self._known = mlp, known
        self._recorded = torch.is_grad_enabled()
        if self._recorded:
            return
        rows, steps, size = known.shape
        laid_out = [(layer.weight.transpose(1, 2), layer.bias) for layer in mlp.linear[:-1]]
        weights, biases = zip(*laid_out, mlp.output.laid_out(), strict=True)
        self._outputs = mlp.output.weight.shape[1]
        # Time comes first: the inputs of a step lie side by side.
        inputs = weights[0].new_empty(steps, rows, weights[0].shape[1])
        inputs[..., -size:] = known.transpose(0, 1)
        self._inputs, self._own = inputs.unbind(), inputs[..., :-size].unbind()
        # Of hidden layers: what comes out of the last belongs to the caller.
        memory = [w.new_empty(mlp.members, rows, w.shape[-1]) for w in weights[:-1]]
        # Plain matrices where there is one member, which are quicker than batches of one.
        self._alone = mlp.members == 1
        self._multiply = torch.addmm if self._alone else torch.baddbmm
        layers = list(zip(biases, weights, strict=True))
        if self._alone:
            layers = [(bias[0, 0], weight[0]) for bias, weight in layers]
            memory = [x[0] for x in memory]
        self._hidden = [
            (bias, weight, into) for (bias, weight), into in zip(layers[:-1], memory, strict=True)
        ]
        self._last = layers[-1]
        self._cut = layers[-1][1].shape[-1] != self._outputs

    def __call__(self, step: int, x: Tensor) -> Tensor:
        """``(E, N, out)`` float32 at ``step``, given its first inputs ``(N, in - K)``."""
        if self._recorded:
            return self._mlp(torch.cat([x, self._known[:, step]], -1))
        self._own[step].copy_(x)
        x, multiply, activated = self._inputs[step], self._multiply, self._mlp.activated
        if not self._alone:
            x = x.expand(self._mlp.members, -1, -1)
        for bias, weight, into in self._hidden:
            x = activated(multiply(bias, x, weight, out=into))
        x = multiply(self._last[0], x, self._last[1])
        if self._alone:
            x = x[None]
        if self._cut:
            x = x[..., : self._outputs]
        return x.float()


__all__ = ["Unrolled"]
