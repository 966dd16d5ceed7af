"""Torch's global generator, lent to a generator of ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


@contextmanager
def drawing_from(generator: torch.Generator) -> Iterator[None]:
    """A context in which torch's global generator is ``generator``; afterwards it is as before.

    What draws globally, such as dropout and the initial weights of torch's layers, then draws from
    a generator of ours, which goes on from there.
    """
    device = generator.device

    def get() -> Tensor:
        on_gpu = device.type == "cuda"
        return torch.cuda.get_rng_state(device) if on_gpu else torch.get_rng_state()

    def put(state: Tensor) -> None:
        if device.type == "cuda":
            torch.cuda.set_rng_state(state, device)
        else:
            torch.set_rng_state(state)

    before = get()
    put(generator.get_state())
    try:
        yield
    finally:
        generator.set_state(get())
        put(before)


__all__ = ["drawing_from"]
