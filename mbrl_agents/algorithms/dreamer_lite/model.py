"""Dreamer-Lite's world model: encoder, transition, reward, end and decoder, all perceptrons."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn
from torch.nn import functional as F

from mbrl_agents.algorithms.dreamer_lite.config import DreamerLiteConfig
from mbrl_agents.data.spaces import action_size, vector_layout
from mbrl_agents.nn.actions import ActionStatistics
from mbrl_agents.nn.dense import dense_head
from mbrl_agents.nn.masked import weighted_mean
from mbrl_agents.nn.normaliser import Normaliser
from mbrl_agents.protocols import Batch, Metrics, Observation, Rollout

State = dict[str, Tensor]
"""``z`` ``(B, L)``."""

FLOOR = 1e-3
"""Least std that anything is divided by, in its own units."""


@dataclass(frozen=True)
class Learned:
    """What `DreamerLiteModel.compute_loss` gives.

    Attributes:
        loss: scalar.
        metrics: detached components by name.
        latents: ``(B, T, L)`` of the observations as encoded, detached.
    """

    loss: Tensor
    metrics: Metrics
    latents: Tensor


class DreamerLiteModel(nn.Module):
    """``z ~ f(s)``, ``z' ~ g(z, a)``, ``r(z, a)``, ``p(end | z, a)`` and ``s(z)``.

    A state is fully observed: the encoder reads one observation, and the latent forgets the past.
    The model is trained to predict sequences from their first observation alone.

    Args:
        config: settings.
        observation_space: a Box or a Dict of vectors.
        action_space: a Box or a Discrete.
        generator: source of the initial weights, seeded with 0 when None.

    Raises:
        ValueError: for spaces it cannot read.
    """

    def __init__(
        self,
        config: DreamerLiteConfig,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        generator = generator or torch.Generator().manual_seed(0)
        self.config, self.layout = config, vector_layout(observation_space)
        self.observation_size = size = sum(self.layout.vectors.values())
        entries = observation_space
        named = entries.spaces if isinstance(entries, spaces.Dict) else {"obs": entries}
        self.shapes = {key: tuple(np.shape(np.empty(s.shape or ()))) for key, s in named.items()}
        self.action_size = action_size(action_space)
        discrete = isinstance(action_space, spaces.Discrete)
        self.actions = ActionStatistics(self.action_size, discrete=discrete)
        self.normaliser = Normaliser(size, floor=FLOOR)
        self.rewards = Normaliser(1, floor=FLOOR)
        latent = self.feature_size = config.latent
        both = latent + self.action_size

        def network(inputs: int, outputs: int) -> nn.Sequential:
            return dense_head(inputs, outputs, config.hidden, 2, "elu", generator)

        self.encoder = network(size, 2 * latent)
        self.transition = network(both, 2 * latent)
        self.reward = network(both, 1)
        self.end = network(both, 1)
        self.decoder = network(latent, size)

    # -- the protocol -------------------------------------------------------------------

    def initial(self, batch: int) -> State:
        return {"z": torch.zeros(batch, self.config.latent, device=self.normaliser.mean.device)}

    def observe(
        self,
        state: State,
        obs: Observation,
        prev_action: Tensor,
        is_first: Tensor,
        *,
        generator: torch.Generator | None = None,
    ) -> State:
        del state, prev_action, is_first  # all there is to know is observed
        return {"z": self._drawn(*self.encode(self.layout.stacked_vectors(obs)), generator)}

    def features(self, state: State) -> Tensor:
        return state["z"]

    def imagine_step(
        self, state: State, action: Tensor, *, generator: torch.Generator | None = None
    ) -> State:
        return {"z": self._drawn(*self.advance(state["z"], action), generator)}

    def imagine(
        self,
        state: State,
        actions: Tensor,
        *,
        generator: torch.Generator | None = None,
        keep_features: bool = False,
    ) -> Rollout:
        z, found, rewards, lives = state["z"], [], [], []
        for step in range(actions.shape[1]):
            reward, lives_on = self.outcome(z, actions[:, step])
            z = self._drawn(*self.advance(z, actions[:, step]), generator)
            found.append(z)
            rewards.append(reward)
            lives.append(lives_on)
        return Rollout(
            torch.stack(found, 1) if keep_features else None,
            torch.stack(rewards, 1),
            torch.stack(lives, 1),
        )

    def decode(self, state: State) -> Observation:
        seen = self.normaliser.inverse(self.decoder(state["z"]))
        parts = seen.split(list(self.layout.vectors.values()), -1)
        return {
            key: part.reshape(len(part), *self.shapes[key])
            for key, part in zip(self.layout.vectors, parts, strict=True)
        }

    # -- prediction ---------------------------------------------------------------------

    def encode(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and std ``(..., L)`` of the latent of observations ``(..., D)``."""
        return self._gaussian(self.encoder(self.normaliser(seen)))

    def advance(self, z: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and std ``(..., L)`` of the latent after ``action`` ``(..., A)``."""
        change, std = self._gaussian(self.transition(self._joined(z, action)))
        return z + change, std

    def outcome(self, z: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """Reward ``(...)`` of ``action`` in ``z``, and how likely the episode goes on."""
        both = self._joined(z, action)
        reward = self.rewards.inverse(self.reward(both))[..., 0]
        return reward, torch.sigmoid(-self.end(both)[..., 0])

    # -- training -----------------------------------------------------------------------

    @torch.no_grad()
    def fit_statistics(self, batch: Batch) -> None:
        """Note what actions look like, and if asked to observations and rewards, in ``batch``."""
        arrived = batch.mask & ~batch.is_first
        if self.config.normalise:
            rows = {key: value[batch.mask] for key, value in batch.obs.items()}
            self.normaliser.fit(self.layout.stacked_vectors(rows))
            self.rewards.fit(batch.reward[arrived][:, None])
        label = batch.label[batch.mask]
        self.actions.fit(batch.prev_action[arrived], label[label.isfinite().all(-1)])

    def compute_loss(self, batch: Batch, *, generator: torch.Generator | None = None) -> Learned:
        """Loss of predicting sequences ``(B, T)`` from their first observation.

        The decoded latent is compared with each observation, and the imagined latent with the
        encoded one (KL).  What follows the end of an episode is left out.

        Args:
            generator: source of the latents; None takes the means.
        """
        config, (size, length) = self.config, batch.mask.shape
        flat = {key: value.flatten(0, 1) for key, value in batch.obs.items()}
        seen = self.layout.stacked_vectors(flat).unflatten(0, (size, length))
        same = (batch.is_first[:, 1:].long().cumsum(1) == 0) & batch.mask[:, 1:]
        weight = same.float()  # (B, T - 1) of steps
        known = torch.cat([batch.mask[:, :1].float(), weight], 1)
        posterior = self.encode(seen)
        z = self._drawn(posterior[0][:, 0], posterior[1][:, 0], generator)
        latents, means, stds = [z], [], []
        for step in range(1, length):
            mean, std = self.advance(z, batch.prev_action[:, step])
            z = self._drawn(mean, std, generator)
            latents.append(z)
            means.append(mean)
            stds.append(std)
        imagined = torch.stack(latents, 1)
        both = self._joined(imagined[:, :-1], batch.prev_action[:, 1:])
        outcome = torch.cat([self.reward(both), self.end(both)], -1)
        later = posterior[0][:, 1:], posterior[1][:, 1:]
        kls = _kl(*later, torch.stack(means, 1), torch.stack(stds, 1))
        guess = self.decoder(imagined)
        decoded = (guess - self.normaliser(seen)).square().sum(-1)
        off = (outcome[..., 0] - self.rewards(batch.reward[:, 1:, None])[..., 0]).square()
        ends = F.binary_cross_entropy_with_logits(
            outcome[..., 1], batch.terminal[:, 1:].float(), reduction="none"
        )
        parts = {
            "decode": (weighted_mean(decoded, known), config.decode_scale),
            "kl": (weighted_mean(kls, weight), config.kl_scale),
            "reward": (weighted_mean(off, weight), config.reward_scale),
            "end": (weighted_mean(ends, weight), config.end_scale),
        }
        loss = torch.stack([value * scale for value, scale in parts.values()]).sum()
        metrics = {name: value.detach() for name, (value, _) in parts.items()}
        return Learned(loss, {"model_loss": loss.detach(), **metrics}, posterior[0].detach())

    # -- inside -------------------------------------------------------------------------

    @staticmethod
    def _joined(z: Tensor, action: Tensor) -> Tensor:
        return torch.cat([z, action.clamp(-1.0, 1.0)], -1)

    def _gaussian(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        mean, spread = raw.chunk(2, -1)
        return mean, F.softplus(spread - 2.0) + self.config.min_std

    @staticmethod
    def _drawn(mean: Tensor, std: Tensor, generator: torch.Generator | None) -> Tensor:
        if generator is None:
            return mean
        noise = torch.randn(mean.shape, generator=generator, device=generator.device)
        return mean + std * noise.to(mean.device)


def _kl(mean: Tensor, std: Tensor, other_mean: Tensor, other_std: Tensor) -> Tensor:
    """``(...)`` KL of one diagonal Gaussian ``(..., L)`` from another, in nats."""
    ratio = (std / other_std).square()
    gap = ((mean - other_mean) / other_std).square()
    return 0.5 * (ratio + gap - 1.0 - ratio.log()).sum(-1)


__all__ = ["DreamerLiteModel", "Learned", "State"]
