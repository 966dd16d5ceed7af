"""A pose model, and policies cloned on it: perceptrons over vector observations."""

from mbrl_agents.algorithms.fitted import FittedModel
from mbrl_agents.algorithms.simple.config import SimpleWorldModelConfig
from mbrl_agents.algorithms.simple.model import SimpleWorldModel
from mbrl_agents.protocols import Phase
from mbrl_agents.training.fit import FitSettings, WindowFit


class SimpleFit(WindowFit):
    """Keeps the best dynamics, outcome and progress networks, each by its own held-out loss."""

    best_by = {"dynamics.": "dynamics", "outcome.": "outcome", "progress.": "steps"}  # noqa: RUF012

    def __init__(self, model: SimpleWorldModel, settings: FitSettings, *, seed: int) -> None:
        super().__init__(model, settings, seed=seed)
        if model.config.bootstrap:
            # Measured against targets that move with the head itself, less is not better.
            self.best_by = {k: v for k, v in self.best_by.items() if k != "progress."}
            self._forget_best()


class Simple(FittedModel):
    """Plans in a `SimpleWorldModel` fitted to episodes."""

    model_class = SimpleWorldModel

    def model_phase(self, settings: FitSettings) -> Phase:
        return SimpleFit(self.world_model, settings, seed=self.seed)


__all__ = ["Simple", "SimpleFit", "SimpleWorldModel", "SimpleWorldModelConfig"]
