"""IRIS put together: modules, acting, training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from gymnasium import spaces
from torch import Tensor, nn

from mbrl_agents.algorithms.iris.actor_critic import ActorCritic, reset
from mbrl_agents.algorithms.iris.learning import (
    ActorCriticPhase,
    TokenizerPhase,
    TransformerPhase,
)
from mbrl_agents.algorithms.iris.model import IrisModel
from mbrl_agents.algorithms.iris.pictures import illustrate
from mbrl_agents.nn.actions import one_hot
from mbrl_agents.protocols import ActionPrior, Batch, Carry, Illustration, Observation, Phase


class Iris:
    """Micheli, Alonso and Fleuret 2023, *Transformers are Sample-Efficient World Models*
    (arXiv:2209.00588).

    Acting shows the actor what the tokenizer makes of the observation and carries its LSTM's
    state; the transformer takes no part in it.  Actions are drawn where a generator is given, with
    a lower temperature unless experience is gathered; without one they are the likeliest.

    A planner over its world model has no prior and no value to go by: both belong to the LSTM,
    which has no place in the world model's state.

    Args:
        sections: "world_model" an `IrisConfig`, "training" an `IrisTrainingConfig`, and
            "actor_critic" an `ActorCriticConfig`, without which it acts through a planner only.
        observation_space: a Box or a Dict with uint8 images.
        action_space: a Box or a Discrete.
        seed: of the initial weights, of batches and of what is drawn in training.

    Raises:
        ValueError: for spaces it cannot read, or sequences longer than the transformer's context.
    """

    prior: ActionPrior | None = None
    value: Callable[[Tensor], Tensor] | None = None
    extras: Mapping[str, tuple[tuple[int, ...], Any]] = {}

    def __init__(
        self,
        sections: Mapping[str, Any],
        observation_space: spaces.Space,
        action_space: spaces.Space,
        *,
        seed: int,
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        config, training = sections["world_model"], sections["training"]
        if training.sequence_length > config.window:
            raise ValueError(
                "training.sequence_length must be at most world_model.window, got "
                f"{training.sequence_length} and {config.window}"
            )
        model = IrisModel(config, observation_space, action_space, generator=generator)
        self.model = self.world_model = model
        self.modules: dict[str, nn.Module] = {"world_model": model}
        phases: list[Phase] = [
            TokenizerPhase(training, model, seed=seed),
            TransformerPhase(training, model, seed=seed + 1),
        ]
        self.actor_critic: ActorCritic | None = None
        if "actor_critic" in sections:
            assert model.layout.image_size is not None
            self.actor_critic = ActorCritic(
                sections["actor_critic"],
                sum(model.layout.images.values()),
                model.layout.image_size,
                model.action_size,
                discrete=model.actions.discrete,
                generator=generator,
            )
            self.modules["actor_critic"] = self.actor_critic
            phases.append(
                ActorCriticPhase(
                    training, sections["actor_critic"], model, self.actor_critic, seed=seed + 2
                )
            )
        self.phases: Sequence[Phase] = phases

    def initial(self, batch: int) -> Carry:
        if self.actor_critic is None:
            return self.model.initial(batch)
        return self.actor_critic.initial(batch)

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
        del prev_action  # the LSTM sees images alone
        actor = self.actor_critic
        if actor is None:
            raise ValueError("IRIS without an actor-critic acts through a planner only")
        images = self.model.tokenizer.reconstruct(self.model.images(obs))
        raw, _, hidden = actor(images, reset(carry, is_first))
        policy = actor.policy(raw, 1.0 if explore else actor.config.temperature)
        action = policy.action(policy.draw(generator))
        if explore and generator is not None:
            action = self._with_chance(action, actor.config.epsilon, generator)
        return action.float(), hidden

    def extras_of(self, carry: Carry) -> Mapping[str, Tensor]:
        return {}

    def illustrate(
        self, episodes: Sequence[Batch], *, generator: torch.Generator
    ) -> list[Illustration]:
        """See `mbrl_agents.protocols.Algorithm`."""
        return illustrate(self.model, self.actor_critic, episodes, generator)

    def _with_chance(self, action: Tensor, share: float, generator: torch.Generator) -> Tensor:
        """Actions ``(B, A)``, of which a share is drawn uniformly instead."""
        size, count = action.shape
        device = generator.device
        swap = torch.rand(size, 1, generator=generator, device=device) < share
        if self.model.actions.discrete:
            index = torch.randint(count, (size,), generator=generator, device=device)
            random = one_hot(index, count)
        else:
            random = 2.0 * torch.rand(size, count, generator=generator, device=device) - 1.0
        return torch.where(swap.to(action.device), random.to(action), action)


__all__ = ["Iris"]
