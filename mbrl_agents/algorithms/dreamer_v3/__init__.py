"""DreamerV3 (Hafner et al. 2023, arXiv:2301.04104)."""

from mbrl_agents.algorithms.dreamer_v3.actor_critic import ActorCriticConfig, ImaginationConfig
from mbrl_agents.algorithms.dreamer_v3.algorithm import DreamerV3
from mbrl_agents.algorithms.dreamer_v3.config import SIZES, DreamerV3Config
from mbrl_agents.algorithms.dreamer_v3.fitted import FittedDreamerV3
from mbrl_agents.algorithms.dreamer_v3.learning import DreamerV3TrainingConfig
from mbrl_agents.algorithms.dreamer_v3.model import DreamerV3Model
from mbrl_agents.algorithms.dreamer_v3.prior import ImaginedPriorConfig

__all__ = [
    "SIZES",
    "ActorCriticConfig",
    "DreamerV3",
    "DreamerV3Config",
    "DreamerV3Model",
    "DreamerV3TrainingConfig",
    "FittedDreamerV3",
    "ImaginationConfig",
    "ImaginedPriorConfig",
]
