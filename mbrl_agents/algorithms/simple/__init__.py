"""A pose model, and policies cloned on it: perceptrons over vector observations."""

from mbrl_agents.algorithms.fitted import FittedModel
from mbrl_agents.algorithms.simple.model import SimpleWorldModel, SimpleWorldModelConfig
from mbrl_agents.protocols import Phase
from mbrl_agents.training.fit import FitSettings, WindowFit


class SimpleFit(WindowFit):
    """Keeps the best dynamics, outcome and progress networks, each by its own held-out loss."""

    best_by = {"dynamics.": "dynamics", "outcome.": "outcome", "progress.": "steps"}  # noqa: RUF012


class Simple(FittedModel):
    """Plans in a `SimpleWorldModel` fitted to episodes."""

    model_class = SimpleWorldModel

    def model_phase(self, settings: FitSettings) -> Phase:
        return SimpleFit(self.world_model, settings, seed=self.seed)


__all__ = ["Simple", "SimpleFit", "SimpleWorldModel", "SimpleWorldModelConfig"]
