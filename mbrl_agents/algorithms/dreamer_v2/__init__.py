"""DreamerV2: discrete latents and an actor-critic in imagination (arXiv:2010.02193)."""

from mbrl_agents.algorithms.dreamer_v2.algorithm import DreamerV2
from mbrl_agents.algorithms.dreamer_v2.config import (
    ActorCriticConfig,
    DreamerV2Config,
    DreamerV2TrainingConfig,
)
from mbrl_agents.algorithms.dreamer_v2.model import DreamerV2Model

__all__ = [
    "ActorCriticConfig",
    "DreamerV2",
    "DreamerV2Config",
    "DreamerV2Model",
    "DreamerV2TrainingConfig",
]
