"""World Models put together: modules, acting, phases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from gymnasium import spaces
from torch import Tensor

from mbrl_agents.algorithms.latent import LatentAlgorithm
from mbrl_agents.algorithms.world_models.controller import Controller
from mbrl_agents.algorithms.world_models.controller_phase import ControllerPhase
from mbrl_agents.algorithms.world_models.model import WorldModelsModel
from mbrl_agents.algorithms.world_models.phases import (
    EncodePhase,
    MemoryPhase,
    RolloutPhase,
    VisionPhase,
)
from mbrl_agents.algorithms.world_models.pictures import illustrate
from mbrl_agents.algorithms.world_models.rollouts import correlated_actions
from mbrl_agents.protocols import Batch, Carry, Illustration, Observation


class WorldModels(LatentAlgorithm):
    """Ha and Schmidhuber 2018, *World Models* (arXiv:1803.10122).

    Training has phases, one after another: random rollouts, V, encoding, M, and, with a section
    "controller", generations of CMA-ES.  Without that section it acts through a planner only.
    Experience of ``learn`` is gathered at random, with correlated actions, until a controller was
    found.

    Args:
        sections: "world_model" a `WorldModelsConfig`, "training" a `WorldModelsTrainingConfig` and,
            to act by itself, "controller" a `ControllerConfig`.
        observation_space: a Box or a Dict with uint8 images.
        action_space: a Box or a Discrete.
        seed: of weights and of all that is drawn.

    Raises:
        ValueError: for spaces it cannot read, and where neither a controller nor a predicted
            reward could choose actions.
    """

    def __init__(
        self,
        sections: Mapping[str, Any],
        observation_space: spaces.Space,
        action_space: spaces.Space,
        *,
        seed: int,
    ) -> None:
        config, self.training = sections["world_model"], sections["training"]
        if "controller" not in sections and not config.heads:
            raise ValueError(
                "without a controller World Models act by planning on the predicted reward, which "
                "needs the reward head: set world_model.heads=true, or take method world-models"
            )
        self.model = WorldModelsModel(
            config,
            observation_space,
            action_space,
            generator=torch.Generator().manual_seed(seed),
        )
        self.world_model = self.model
        self.modules = {"world_model": self.model}
        encoded = EncodePhase(self.training, self.model)
        memory = MemoryPhase(self.training, self.model, encoded, seed=seed)
        phases: list[Any] = [
            RolloutPhase(self.training, seed=seed),
            VisionPhase(self.training, self.model, seed=seed),
            encoded,
            memory,
        ]
        self.controller: Controller | None = None
        if "controller" in sections:
            self.controller = Controller(
                sections["controller"],
                config.latent,
                config.hidden,
                self.model.action_size,
                discrete=self.model.actions.discrete,
            )
            self.modules["controller"] = self.controller
            phases.append(
                ControllerPhase(
                    sections["controller"],
                    self.training,
                    self.model,
                    self.controller,
                    memory,
                    observation_space,
                    action_space,
                    seed=seed,
                )
            )
        self.phases = phases

    def act(
        self,
        carry: Carry,
        obs: Observation,
        prev_action: Tensor,
        is_first: Tensor,
        *,
        explore: bool = False,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Carry]:
        if self.controller is None:
            raise ValueError("World Models without a controller act through a planner only")
        if explore and generator is not None and not self.controller.searched:
            before = prev_action * (~is_first)[:, None].to(prev_action)
            discrete = self.model.actions.discrete
            action = correlated_actions(before, self.training.correlation, discrete, generator)
            return action, carry
        return super().act(carry, obs, prev_action, is_first, explore=explore, generator=generator)

    def choose(self, features: Tensor, explore: bool, generator: torch.Generator | None) -> Tensor:
        assert self.controller is not None
        return self.controller(features)

    def illustrate(
        self, episodes: Sequence[Batch], *, generator: torch.Generator
    ) -> list[Illustration]:
        """See `mbrl_agents.protocols.Algorithm`."""
        return illustrate(self.model, self.controller, episodes, generator)


__all__ = ["WorldModels"]
