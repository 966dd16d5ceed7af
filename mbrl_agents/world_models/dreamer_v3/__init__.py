"""DreamerV3's world model (Hafner et al. 2023, arXiv:2301.04104)."""

from mbrl_agents.world_models.dreamer_v3.config import SIZES, DreamerV3Config
from mbrl_agents.world_models.dreamer_v3.model import DreamerV3

__all__ = ["SIZES", "DreamerV3", "DreamerV3Config"]
