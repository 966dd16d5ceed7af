"""The SB3 policy of DreamerV3: filter, then ask the actor."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from gymnasium import spaces
from torch import Tensor, nn

from mbrl_agents.agents.acting_policy import ActingPolicy
from mbrl_agents.config import MethodConfig
from mbrl_agents.training.imagination import Behaviour
from mbrl_agents.world_models.dreamer_v3 import DreamerV3


class DreamingState(NamedTuple):
    """What `DreamerPolicy.predict` returns as ``state``, batch first over environments.

    Attributes:
        model: the world model's state.
        action: ``(B, A)`` the normalised action executed last.
        calls: ``(B,)`` how often this state was advanced: with the seed it fixes the noise.
    """

    model: dict[str, Tensor]
    action: Tensor
    calls: Tensor


class DreamerPolicy(ActingPolicy):
    """World model, actor and critic as one module.

    Args:
        observation_space: vectors, pictures or both.
        action_space: a bounded Box or a Discrete.
        config: the method's settings.
        seed: of the weights and of what is drawn while acting.
    """

    world_model: DreamerV3
    kinds = (spaces.Box, spaces.Discrete)

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        config: MethodConfig,
        *,
        seed: int = 0,
    ) -> None:
        super().__init__(observation_space, action_space, seed=seed)
        generator = torch.Generator().manual_seed(seed)
        self.config = config
        self.world_model = DreamerV3(
            config.world_model, observation_space, action_space, generator=generator
        )
        self.behaviour = Behaviour.fresh(
            config.behaviour,
            self.world_model,
            discrete=isinstance(action_space, spaces.Discrete),
            generator=generator,
        )
        self.world_model.attach_value(self.behaviour.value)
        self.eval()

    def step(
        self, obs: dict[str, Tensor], state: Any, episode_start: Any, deterministic: bool
    ) -> tuple[Tensor, DreamingState]:
        """Normalised actions ``(B, A)`` and the next state.

        Latents and actions are drawn, or, when ``deterministic``, the most likely ones taken.
        """
        previous = None if state is None else state.action
        size = len(next(iter(obs.values())))
        calls = torch.zeros(size, dtype=torch.long) if state is None else state.calls
        return self.advance(
            obs,
            None if state is None else state.model,
            previous,
            episode_start,
            generator=None if deterministic else self.noise(calls),
            calls=calls,
        )

    def advance(
        self,
        obs: dict[str, Tensor],
        model_state: dict[str, Tensor] | None,
        previous: Tensor | None,
        episode_start: Any,
        *,
        generator: torch.Generator | None,
        calls: Tensor,
    ) -> tuple[Tensor, DreamingState]:
        """`step` with a generator of the caller's; None draws nothing."""
        model = self.world_model
        action, is_first = self.begin(obs, previous, episode_start)
        if model_state is None:
            model_state = model.initial(len(action))
        model_state = model.observe(model_state, obs, action, is_first, generator=generator)
        with model.precision():
            chosen = self.behaviour.actor(model.features(model_state))
        action = chosen.mode if generator is None else chosen.sample(generator)
        # The model reads actions beyond the bounds as at the bounds, which is what is executed.
        action = action.float().clamp(-1.0, 1.0)
        return action, DreamingState(model_state, action, calls + 1)

    def modules_by_name(self) -> dict[str, nn.Module | None]:
        return {
            "world_model": self.world_model,
            "actor": self.behaviour.actor,
            "critic": self.behaviour.critic,
        }
