"""Compiled pieces of a model, for the duration of a training step."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any

import torch
from torch import nn

BACKEND = "inductor"


class CompiledParts:
    """A context in which some methods of modules are compiled by ``torch.compile``.

    A recurrent model is a loop over small steps, most of whose time goes into starting kernels.
    Its steps are compiled rather than the loop, whose graph would grow with the sequence: one
    graph serves every step and every length.  Outside of the context the modules are as they were,
    so that acting, planning and checkpoints know nothing of it; weights and their names are the
    same in both.  What is random must be drawn outside of the methods.

    Args:
        modules: each with ``compiled``, the dotted names of its methods that are worth it; a
            module without that is left alone.
        enabled: False makes the context do nothing.
    """

    def __init__(self, modules: Iterable[nn.Module], *, enabled: bool = True) -> None:
        self._parts: list[tuple[nn.Module, str, Callable[..., Any]]] = []
        if not enabled:
            return
        for module in modules:
            for name in getattr(module, "compiled", ()):
                path, _, method = name.rpartition(".")
                owner = module.get_submodule(path)
                compiled = torch.compile(getattr(owner, method), backend=BACKEND)
                self._parts.append((owner, method, compiled))

    def __enter__(self) -> CompiledParts:
        for owner, method, compiled in self._parts:
            # An attribute of the instance hides the method of the class.
            owner.__dict__[method] = compiled
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for owner, method, _ in self._parts:
            owner.__dict__.pop(method, None)


__all__ = ["BACKEND", "CompiledParts"]
