"""The simulations and renderers of one environment, one of each task, built on first use."""

from __future__ import annotations

from pathlib import Path

from .disturbances import Disturber
from .randomisation import Randomiser
from .rendering import SceneRenderer
from .simulation import Simulation
from .suites import Suite


class Scenes:
    """Simulations by task and renderers by task and size.

    Args:
        suite: whose tasks they are.
        assets: folder of models.
        fixtures, contact_rule: see `Simulation`.
        rendering: see `SceneRenderer`.
        disturber, randomiser: prepare each simulation once.
    """

    def __init__(
        self,
        suite: Suite,
        assets: Path,
        *,
        fixtures: str,
        contact_rule: str,
        rendering: str,
        disturber: Disturber,
        randomiser: Randomiser,
    ) -> None:
        self._suite, self._assets = suite, assets
        self._fixtures, self._contact_rule, self._rendering = fixtures, contact_rule, rendering
        self._disturber, self._randomiser = disturber, randomiser
        self._simulations: dict[int, Simulation] = {}
        self._renderers: dict[tuple[int, int], SceneRenderer] = {}

    def simulation(self, task: int) -> Simulation:
        """A task's physics."""
        if task not in self._simulations:
            simulation = Simulation(
                self._suite,
                task,
                self._assets,
                fixtures=self._fixtures,
                contact_rule=self._contact_rule,
            )
            self._disturber.prepare(simulation)
            self._randomiser.prepare(simulation)
            self._simulations[task] = simulation
        return self._simulations[task]

    def renderer(self, task: int, size: int) -> SceneRenderer:
        """What draws a task's square images with ``size`` pixels a side."""
        key = task, size
        if key not in self._renderers:
            self._renderers[key] = SceneRenderer(
                self.simulation(task),
                (size, size),
                rendering=self._rendering,
                still=not self._randomiser.randomisation.camera,
            )
        return self._renderers[key]

    @property
    def backend(self) -> str | None:
        """What draws, see `SceneRenderer.backend`; None before an image."""
        drawn = (renderer.backend for renderer in self._renderers.values())
        return next(filter(None, drawn), None)

    def close(self) -> None:
        """Free the simulations and OpenGL contexts."""
        for renderer in self._renderers.values():
            renderer.close()
        for simulation in self._simulations.values():
            simulation.close()
        self._renderers.clear()
        self._simulations.clear()


__all__ = ["Scenes"]
