"""IRIS: a transformer over the tokens of images, and an actor-critic in what it imagines."""

from mbrl_agents.algorithms.iris.algorithm import Iris
from mbrl_agents.algorithms.iris.config import ActorCriticConfig, IrisConfig, IrisTrainingConfig
from mbrl_agents.algorithms.iris.model import IrisModel

__all__ = ["ActorCriticConfig", "Iris", "IrisConfig", "IrisModel", "IrisTrainingConfig"]
