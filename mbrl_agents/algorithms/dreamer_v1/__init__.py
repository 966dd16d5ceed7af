"""DreamerV1 (Hafner et al. 2020, arXiv:1912.01603): see the README beside this file."""

from mbrl_agents.algorithms.dreamer_v1.algorithm import DreamerV1
from mbrl_agents.algorithms.dreamer_v1.config import (
    ActorCriticConfig,
    DreamerV1Config,
    DreamerV1TrainingConfig,
)
from mbrl_agents.algorithms.dreamer_v1.model import DreamerV1Model

__all__ = [
    "ActorCriticConfig",
    "DreamerV1",
    "DreamerV1Config",
    "DreamerV1Model",
    "DreamerV1TrainingConfig",
]
