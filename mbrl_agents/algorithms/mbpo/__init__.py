"""MBPO: short imagined rollouts from real states for a model-free learner (arXiv:1906.08253)."""

from mbrl_agents.algorithms.mbpo.algorithm import MBPO
from mbrl_agents.algorithms.mbpo.config import MBPOModelConfig, MBPOTrainingConfig
from mbrl_agents.algorithms.mbpo.model import MBPOModel

__all__ = ["MBPO", "MBPOModel", "MBPOModelConfig", "MBPOTrainingConfig"]
