"""LaProp with adaptive gradient clipping: one optimiser for a whole agent."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class LaProp(torch.optim.Optimizer):
    """Gradients are clipped, divided by their RMS, and only then averaged.

    LaProp (Ziyin et al. 2020, arXiv:2002.04839) takes Adam's momentum of the normalised gradient
    rather than normalising the momentum, so a small epsilon is safe.  Clipping is adaptive (Brock
    et al. 2021, arXiv:2102.06171), per tensor: the gradient's norm is bounded by ``agc`` times the
    weight's.

    Args:
        params: parameters or groups of them.
        lr: learning rate.
        betas: of the momentum and of the mean square; both are corrected for their start at 0.
        eps: added to the RMS.
        agc: bound on the gradient's norm relative to the weight's; 0 for none.
        floor: least norm a weight counts with, so that what starts at zero can leave it.
        warmup: steps over which the learning rate rises linearly; the very first is at 0.

    Raises:
        ValueError: for a negative learning rate, clipping or warm-up, or betas outside [0, 1).
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 4e-5,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-20,
        agc: float = 0.3,
        floor: float = 1e-3,
        warmup: int = 0,
    ) -> None:
        if min(lr, agc, warmup) < 0:
            raise ValueError(f"lr, agc and warmup must not be negative: {lr}, {agc}, {warmup}")
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"betas must lie in [0, 1), got {betas}")
        defaults = {
            "lr": lr, "betas": tuple(betas), "eps": eps, "agc": agc, "floor": floor,
            "warmup": warmup,
        }  # fmt: skip
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if params:
                self._update(group, params)
        return loss

    def _update(self, group: dict[str, Any], params: list[Tensor]) -> None:
        for p in params:
            if not self.state[p]:
                self.state[p]["step"] = torch.zeros(())
                self.state[p]["square"] = torch.zeros_like(p)
                self.state[p]["momentum"] = torch.zeros_like(p)
        squares = [self.state[p]["square"] for p in params]
        momenta = [self.state[p]["momentum"] for p in params]
        counts = []
        for p in params:
            self.state[p]["step"] += 1
            counts.append(int(self.state[p]["step"]))
        beta1, beta2 = group["betas"]
        grads = _clipped(params, group["agc"], group["floor"])

        torch._foreach_mul_(squares, beta2)
        torch._foreach_addcmul_(squares, grads, grads, 1.0 - beta2)
        rms = torch._foreach_div(squares, [1.0 - beta2**t for t in counts])
        torch._foreach_sqrt_(rms)
        torch._foreach_add_(rms, group["eps"])
        torch._foreach_div_(grads, rms)
        torch._foreach_lerp_(momenta, grads, 1.0 - beta1)

        warmup, rates = group["warmup"], []
        for t in counts:
            rate = group["lr"] * (min(1.0, (t - 1) / warmup) if warmup else 1.0)
            rates.append(-rate / (1.0 - beta1**t))
        torch._foreach_add_(params, torch._foreach_mul(momenta, rates))


def _clipped(params: list[Tensor], agc: float, floor: float) -> list[Tensor]:
    """The gradients, each bounded in norm by ``agc`` times its weight's; the originals stay."""
    grads = [p.grad for p in params if p.grad is not None]
    if not agc:
        return [grad.clone() for grad in grads]
    bounds = torch._foreach_norm(params)
    torch._foreach_clamp_min_(bounds, floor)
    torch._foreach_mul_(bounds, agc)
    factors = torch._foreach_div(torch._foreach_norm(grads), bounds)
    torch._foreach_clamp_min_(factors, 1.0)
    return list(torch._foreach_div(grads, factors))


__all__ = ["LaProp"]
