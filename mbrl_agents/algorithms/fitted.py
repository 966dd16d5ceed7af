"""A base for algorithms that fit a world model to episodes and act through a planner."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from gymnasium import spaces
from torch import Tensor, nn

from mbrl_agents.policies.cloned import ClonedPolicy
from mbrl_agents.protocols import ActionPrior, Carry, Observation, Phase
from mbrl_agents.training.cloning import CloneFit
from mbrl_agents.training.fit import FitSettings, WindowFit, WindowModel
from mbrl_agents.training.optimism import Calibration, OptimismPhase


class FittedModel:
    """A world model, and a policy cloned on its features where there is a section for one.

    A subclass names `model_class`, and may say how the model, or another prior, is fitted.

    Args:
        sections: "world_model", "training" and, for a cloned policy, "policy".
        observation_space, action_space: of the environment.
        seed: of weights and batches.
        world_model: a ready-made one, in place of one with fresh weights.
    """

    model_class: Callable[..., Any]
    value: Callable[[Tensor], Tensor] | None = None
    extras: Mapping[str, tuple[tuple[int, ...], Any]] = {}

    def __init__(
        self,
        sections: Mapping[str, Any],
        observation_space: spaces.Space,
        action_space: spaces.Space,
        *,
        seed: int,
        world_model: Any = None,
    ) -> None:
        settings: FitSettings = sections["training"]
        self.sections, self.seed = sections, seed
        generator = torch.Generator().manual_seed(seed)
        self.world_model: Any = world_model
        if world_model is None:
            self.world_model = type(self).model_class(
                sections["world_model"], observation_space, action_space, generator=generator
            )
        self.modules: dict[str, nn.Module] = {"world_model": self.world_model}
        phases: list[Phase] = []
        if isinstance(self.world_model, WindowModel) or world_model is None:
            phases.append(self.model_phase(settings))
        # What the model got wrong of episodes it was not fitted to: how far a planner may trust it.
        self.calibration = Calibration(self.world_model)
        self.modules["calibration"] = self.calibration
        schedule, holdout = settings.schedule(1), settings.holdout
        # Before the prior's: what is tested while that one learns trusts the model as it will.
        phases.append(
            OptimismPhase(self.calibration, self.world_model, schedule, holdout=holdout, seed=seed)
        )
        self.prior: ActionPrior | None = None
        prior = self.build_prior(settings, generator)
        if prior is not None:
            self.prior = prior[0]
            phases.append(prior[1])
        self.phases: Sequence[Phase] = phases

    def model_phase(self, settings: FitSettings) -> Phase:
        """How the world model is fitted: to windows within episodes."""
        return WindowFit(self.world_model, settings, seed=self.seed)

    def build_prior(
        self, settings: FitSettings, generator: torch.Generator
    ) -> tuple[ActionPrior, Phase] | None:
        """The policy a search may start from, put among the modules, and how it is fitted."""
        if "policy" not in self.sections:
            return None
        model = self.world_model
        policy = ClonedPolicy(
            self.sections["policy"],
            model.feature_size,
            model.action_size,
            discrete=model.actions.discrete,
            generator=generator,
        )
        self.modules["policy"] = policy
        return policy, CloneFit(policy, model, settings, seed=self.seed)

    def initial(self, batch: int) -> Carry:
        return self.world_model.initial(batch)

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
        raise ValueError(f"{type(self).__name__} acts through a planner only")

    def extras_of(self, carry: Carry) -> Mapping[str, Tensor]:
        return {}


__all__ = ["FittedModel"]
