"""V and M together behind the world model protocol."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from gymnasium import spaces
from torch import Tensor, nn
from torch.nn import functional as F

from mbrl_agents.algorithms.world_models.config import WorldModelsConfig
from mbrl_agents.algorithms.world_models.memory import Memory
from mbrl_agents.algorithms.world_models.vision import VALID_SIDE, Vision
from mbrl_agents.data.spaces import action_size, observation_layout
from mbrl_agents.nn.actions import ActionStatistics
from mbrl_agents.nn.masked import weighted_mean
from mbrl_agents.protocols import Metrics, Observation, Rollout

State = dict[str, Tensor]
"""``z`` ``(B, N)`` the present latent; ``h`` and ``c`` ``(B, hidden)`` the LSTM's, which have seen
all before it."""


@dataclass(frozen=True)
class Series:
    """Encoded stretches of episodes, ``(B, T + 1)`` observations.

    Attributes:
        mean, logvar: ``(B, T + 1, N)`` of each latent's Gaussian.
        action: ``(B, T, A)`` between them.
        reward, end: ``(B, T)`` on arrival at the later one.
        mask: ``(B, T)`` which transitions count.
    """

    mean: Tensor
    logvar: Tensor
    action: Tensor
    reward: Tensor
    end: Tensor
    mask: Tensor


class WorldModelsModel(nn.Module):
    """Ha and Schmidhuber 2018 (arXiv:1803.10122): images are encoded, their sequence is remembered.

    Only images are read; vectors beside them are not.

    Args:
        config: settings.
        observation_space: a Box or a Dict with uint8 images.
        action_space: a Box or a Discrete.
        generator: source of the initial weights, seeded with 0 when None.

    Raises:
        ValueError: without images, or for images that the networks cannot draw.
    """

    def __init__(
        self,
        config: WorldModelsConfig,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        generator = generator or torch.Generator().manual_seed(0)
        self.config, self.layout = config, observation_layout(observation_space, factor=1)
        if self.layout.image_size is None:
            raise ValueError(
                "World Models learn from images; this environment shows vectors alone "
                f"({', '.join(self.layout.vectors)})"
            )
        self.action_size = action_size(action_space)
        self.feature_size = config.latent + config.hidden
        self.actions = ActionStatistics(
            self.action_size, discrete=isinstance(action_space, spaces.Discrete)
        )
        size = self.layout.image_size
        valid = config.vision == "valid"
        if config.vision == "auto":
            valid = size == (VALID_SIDE, VALID_SIDE)
        self.vision = Vision(
            sum(self.layout.images.values()),
            size,
            latent=config.latent,
            depth=config.depth,
            valid=valid,
            generator=generator,
        )
        self.memory = Memory(config, self.action_size, generator=generator)

    # -- the protocol -------------------------------------------------------------------

    def initial(self, batch: int) -> State:
        h, c = self.memory.initial(batch, self._device)
        return {"z": torch.zeros(batch, self.config.latent, device=self._device), "h": h, "c": c}

    def observe(
        self,
        state: State,
        obs: Observation,
        prev_action: Tensor,
        is_first: Tensor,
        *,
        generator: torch.Generator | None = None,
    ) -> State:
        mean, logvar = self.vision.encode(self.layout.stacked_images(obs))
        if generator is not None:
            noise = torch.randn(mean.shape, generator=generator, device=generator.device)
            mean = mean + torch.exp(0.5 * logvar) * noise.to(mean.device)
        h, c = self._advanced(state, prev_action)
        goes_on = (~is_first)[:, None].to(h.dtype)
        return {"z": mean, "h": h * goes_on, "c": c * goes_on}

    def features(self, state: State) -> Tensor:
        return torch.cat([state["z"], state["h"]], -1)

    def imagine_step(
        self, state: State, action: Tensor, *, generator: torch.Generator | None = None
    ) -> State:
        return self.dream_step(state, action, generator=generator)

    def imagine(
        self,
        state: State,
        actions: Tensor,
        *,
        generator: torch.Generator | None = None,
        keep_features: bool = False,
    ) -> Rollout:
        """See the protocol; without heads rewards are NaN, and no planner can search."""
        states = []
        for step in range(actions.shape[1]):
            state = self.imagine_step(state, actions[:, step], generator=generator)
            states.append(state)
        hidden = torch.stack([state["h"] for state in states], 1)
        logits = self.memory.end_logits(hidden)
        features = None
        if keep_features:
            features = torch.stack([self.features(state) for state in states], 1)
        return Rollout(
            features,
            self.memory.rewards(hidden),
            None if logits is None else torch.sigmoid(-logits),
        )

    def decode(self, state: State) -> Observation:
        images = self.vision.draw(state["z"]).permute(0, 2, 3, 1)
        parts = images.split(list(self.layout.images.values()), 3)
        return dict(zip(self.layout.images, parts, strict=True))

    # -- dreams -------------------------------------------------------------------------

    def dream_step(
        self,
        state: State,
        action: Tensor,
        *,
        generator: torch.Generator | None = None,
        temperature: float = 1.0,
    ) -> State:
        """The imagined state after ``action`` ``(B, A)``.

        Args:
            generator: source of the latent; None takes the most likely.
            temperature: of the draw; above 1 the dream is less certain than the model.
        """
        h, c = self._advanced(state, action)
        mixture = self.memory.mixture(h)
        if generator is None:
            return {"z": mixture.likeliest(), "h": h, "c": c}
        return {"z": mixture.sample(generator, temperature), "h": h, "c": c}

    # -- training -----------------------------------------------------------------------

    def memory_loss(self, series: Series, generator: torch.Generator) -> tuple[Tensor, Metrics]:
        """Loss of M on encoded stretches, with latents drawn anew, and detached metrics.

        The negative log-likelihood of ``z'`` per dimension, squared error of the reward and cross
        entropy of the end, averaged over the transitions that count.
        """
        noise = torch.randn(series.mean.shape, generator=generator, device=generator.device)
        latents = series.mean + torch.exp(0.5 * series.logvar) * noise.to(series.mean.device)
        hidden = self.memory.sequence(latents[:, :-1], series.action)
        mixture = self.memory.mixture(hidden)
        weight = series.mask.float()
        parts = {
            "nll": weighted_mean(-mixture.log_prob(latents[:, 1:]), weight) / self.config.latent
        }
        total = parts["nll"]
        logits = self.memory.end_logits(hidden)
        if logits is not None:
            off = self.memory.rewards(hidden) - series.reward
            ends = F.binary_cross_entropy_with_logits(logits, series.end.float(), reduction="none")
            parts["reward"], parts["end"] = (
                weighted_mean(off.square(), weight),
                weighted_mean(ends, weight),
            )
            total = total + self.config.reward_scale * parts["reward"]
            total = total + self.config.end_scale * parts["end"]
        with torch.no_grad():
            parts["mixture_entropy"] = weighted_mean(mixture.entropy(), weight)
        return total, {"loss": total.detach()} | {k: v.detach() for k, v in parts.items()}

    # -- inside -------------------------------------------------------------------------

    @property
    def _device(self) -> torch.device:
        return self.vision.mean.weight.device

    def _advanced(self, state: State, action: Tensor) -> tuple[Tensor, Tensor]:
        # Actions beyond the bounds are executed at the bounds.
        return self.memory.step(state["z"], action.clamp(-1.0, 1.0), (state["h"], state["c"]))


__all__ = ["Series", "State", "WorldModelsModel"]
