"""Dreamer-Lite: a latent MLP model, an actor-critic in it, and a replay agent on real data."""

from mbrl_agents.algorithms.dreamer_lite.algorithm import DreamerLite
from mbrl_agents.algorithms.dreamer_lite.config import (
    ActorCriticConfig,
    DreamerLiteConfig,
    DreamerLiteTrainingConfig,
)
from mbrl_agents.algorithms.dreamer_lite.model import DreamerLiteModel

__all__ = [
    "ActorCriticConfig",
    "DreamerLite",
    "DreamerLiteConfig",
    "DreamerLiteModel",
    "DreamerLiteTrainingConfig",
]
