"""Training by several processes: one batch shared out among them, as if one process had it all.

Every process (`torchrun` starts them) has the same weights, the same data and the same generators,
so all draw the same batch.  Inside of `sharing` each takes rows of its own (`mine`); sums that a
mean is divided by are taken over all processes (`counted`), noise is drawn for the whole batch
(`whole_shape`), and gradients are averaged (`average_gradients`).  A loss that is a mean over rows
then has the value and the gradient that one process with the whole batch would find, up to
rounding.  What never enters `sharing` every process computes in full, with the same result.

Without several processes all of this does nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch import distributed as dist

Rows = TypeVar("Rows")

PATIENCE = timedelta(hours=2)
"""How long a process waits for the others, which may be reading episodes or writing files."""

_sharing: ContextVar[bool] = ContextVar("sharing", default=False)


def processes() -> int:
    """How many train together; 1 without `joined`."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """The number of this process among them, from 0."""
    return dist.get_rank() if processes() > 1 else 0


@contextmanager
def joined() -> Iterator[int]:
    """A context in which processes that `torchrun` started train together; gives their number.

    They talk by NCCL where each has a GPU, which then is torch's current one, by gloo otherwise.
    In a process that `torchrun` did not start, or that is the only one, it does nothing.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or processes() > 1:
        yield processes()
        return
    gpu = torch.cuda.is_available()
    if gpu:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    dist.init_process_group("nccl" if gpu else "gloo", timeout=PATIENCE)
    try:
        yield processes()
    finally:
        dist.destroy_process_group()


def wait_for_all() -> None:
    """Return when every process got here."""
    if processes() > 1:
        dist.barrier()


@contextmanager
def sharing() -> Iterator[None]:
    """A context in which the processes work on rows of their own of one batch."""
    token = _sharing.set(processes() > 1)
    try:
        yield
    finally:
        _sharing.reset(token)


def mine(rows: Rows, parts: int = 1) -> Rows:
    """This process' rows of a batch that all have drawn; all of them outside of `sharing`.

    Args:
        rows: of the whole batch, first dimension: a tensor, an array or a `Batch`.
        parts: that the rows fall into, one after another, such as those of an ensemble's members.
            Each is shared out by itself; what does not come out even is left out.

    Raises:
        ValueError: when rows of a single part do not come out even.
    """
    if not _sharing.get():
        return rows
    found: Any = rows
    count, several = len(found) // parts, processes()
    if parts == 1 and count % several:
        raise ValueError(
            f"a batch of {count} rows cannot be shared out evenly among {several} processes: "
            f"take a batch size that is a multiple of {several}"
        )
    share = count // several
    if share == 0:
        raise ValueError(f"{len(found)} rows in {parts} parts are too few for {several} processes")
    first = rank() * share
    index = torch.arange(parts)[:, None] * count + torch.arange(first, first + share)
    if parts == 1:
        return found[first : first + share]
    return found[index.flatten()]


def whole_shape(shape: Iterable[int]) -> tuple[int, ...]:
    """The shape over all processes of what is ``shape`` in each, first dimension rows."""
    first, *others = shape
    return (first * (processes() if _sharing.get() else 1), *others)


def whole(rows: Tensor) -> Tensor:
    """The rows of all processes, in the order in which `mine` shares them out; no gradient."""
    if not _sharing.get():
        return rows
    found = [torch.empty_like(rows) for _ in range(processes())]
    dist.all_gather(found, rows.detach().contiguous())
    return torch.cat(found)


def counted(weight: Tensor) -> Tensor:
    """The sum of weights that a mean over the batch is divided by, at least 1 over the whole batch.

    Inside of `sharing` it is the sum over all processes divided by their number: dividing by it and
    then averaging gradients over the processes divides by the sum.
    """
    total = weight.sum().detach()
    if not _sharing.get():
        return total.clamp_min(1)
    total = total.float()
    dist.all_reduce(total)
    return total.clamp_min(1.0) / processes()


def average_gradients(parameters: Iterable[Tensor]) -> None:
    """Give every process the mean over all of the gradients, in place."""
    if processes() == 1:
        return
    found = [p.grad for p in parameters if p.grad is not None]
    if not found:
        return
    # One message for each kind of number, in place of one for each parameter.
    for kind in dict.fromkeys(gradient.dtype for gradient in found):
        same = [gradient for gradient in found if gradient.dtype == kind]
        flat = torch.cat([gradient.flatten() for gradient in same])
        dist.all_reduce(flat)
        flat /= processes()
        for gradient, part in zip(same, flat.split([g.numel() for g in same]), strict=True):
            gradient.copy_(part.view_as(gradient))


def averaged(metrics: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The means of scalars over all processes."""
    if processes() == 1 or not metrics:
        return dict(metrics)
    values = torch.stack([value.float().reshape(()) for value in metrics.values()])
    dist.all_reduce(values)
    return dict(zip(metrics, (values / processes()).unbind(), strict=True))


__all__ = [
    "average_gradients",
    "averaged",
    "counted",
    "joined",
    "mine",
    "processes",
    "rank",
    "sharing",
    "wait_for_all",
    "whole",
    "whole_shape",
]
