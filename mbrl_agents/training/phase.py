"""What phases of training share: modules, optimisers and generators, saved and restored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mbrl_agents.nn.sharing import average_gradients
from mbrl_agents.protocols import Metrics, Schedule
from mbrl_agents.training.checkpoints import pack_optimizer, under, unpack_optimizer

if TYPE_CHECKING:
    from mbrl_agents.data.buffer import SequenceBuffer


class ModulePhase:
    """A phase whose updates are gradient steps (see `mbrl_agents.protocols.Phase`).

    A subclass writes `update`, and sets ``optimizers`` in its constructor or in `begin`.

    Args:
        name: of logs and checkpoints.
        schedule: when it is due.
        modules: that it reads or trains, by name; the algorithm saves them.
        seed: of batches and of what is drawn.
        length: observations of a training sequence.
    """

    needs_labels = False

    def __init__(
        self,
        name: str,
        schedule: Schedule,
        modules: Mapping[str, nn.Module],
        *,
        seed: int,
        length: int = 1,
    ) -> None:
        self.name, self.schedule, self.modules = name, schedule, dict(modules)
        self.length = length
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        self.updates = 0
        # Batches are drawn on the CPU, where the data are; noise where it is used.
        self.batches = torch.Generator().manual_seed(seed)
        self.draws = torch.Generator().manual_seed(seed)

    @property
    def device(self) -> torch.device:
        """Where the modules are."""
        return next(p for m in self.modules.values() for p in m.parameters()).device

    def ready(self, buffer: SequenceBuffer) -> bool:
        return buffer.ready(self.length)

    def begin(self, buffer: SequenceBuffer, updates: int, *, seed: int, refit: bool) -> None:
        """Nothing has to be prepared."""

    def update(self, buffer: SequenceBuffer) -> Metrics:
        raise NotImplementedError(f"{type(self).__name__} has no update")

    def evaluate(self, buffer: SequenceBuffer) -> dict[str, float]:
        return {}

    def end(self, buffer: SequenceBuffer) -> dict[str, float]:
        return {}

    def drawing(self) -> torch.Generator:
        """The generator of what is drawn in an update, on the modules' device."""
        if self.draws.device != self.device:
            self.draws = torch.Generator(self.device).manual_seed(self.draws.initial_seed())
        return self.draws

    def step(
        self, optimizer: str, loss: Tensor, parameters: Iterable[Tensor], clip: float
    ) -> Tensor:
        """One step of an optimiser down ``loss``; returns the norm of the gradient.

        Where several processes train together, the gradient is their mean.

        Args:
            optimizer: its name in ``optimizers``.
            parameters: those the gradient's norm is taken over and, beyond ``clip``, scaled.

        Raises:
            FloatingPointError: when the gradient is not finite.
        """
        trained = list(parameters)
        chosen = self.optimizers[optimizer]
        chosen.zero_grad(set_to_none=True)
        loss.backward()
        average_gradients(p for group in chosen.param_groups for p in group["params"])
        norm = nn.utils.clip_grad_norm_(trained, clip)
        if not torch.isfinite(norm):
            raise FloatingPointError(
                f"{self.name}: the gradient of {optimizer} is not finite at update {self.updates}"
            )
        chosen.step()
        return norm.detach()

    def tensors(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors = {"batches": self.batches.get_state(), "draws": self.draws.get_state()}
        groups: dict[str, Any] = {}
        for name, optimizer in self.optimizers.items():
            moments, groups[name] = pack_optimizer(optimizer)
            tensors |= {f"{name}/{key}": value for key, value in moments.items()}
        return tensors, {"optimizers": groups, "updates": self.updates}

    def restore(self, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
        for name, optimizer in self.optimizers.items():
            unpack_optimizer(optimizer, under(tensors, f"{name}/"), meta["optimizers"][name])
        self.batches.set_state(tensors["batches"])
        self.drawing().set_state(tensors["draws"])
        self.updates = int(meta["updates"])


__all__ = ["ModulePhase"]
