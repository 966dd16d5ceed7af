"""World Models: an autoencoder, a recurrent mixture, a linear controller (arXiv:1803.10122)."""

from mbrl_agents.algorithms.world_models.algorithm import WorldModels
from mbrl_agents.algorithms.world_models.config import (
    ControllerConfig,
    WorldModelsConfig,
    WorldModelsTrainingConfig,
)
from mbrl_agents.algorithms.world_models.model import WorldModelsModel

__all__ = [
    "ControllerConfig",
    "WorldModels",
    "WorldModelsConfig",
    "WorldModelsModel",
    "WorldModelsTrainingConfig",
]
