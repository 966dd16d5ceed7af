"""Layers, normalisers and distribution heads that several models share."""

from mbrl_agents.nn.actions import ActionStatistics
from mbrl_agents.nn.heads import GaussianHead
from mbrl_agents.nn.mlp import MLP, EnsembleLinear
from mbrl_agents.nn.normaliser import Normaliser
from mbrl_agents.nn.unrolled import Unrolled

__all__ = ["MLP", "ActionStatistics", "EnsembleLinear", "GaussianHead", "Normaliser", "Unrolled"]
