"""DreamerV2's world model: encoder, RSSM, decoder and heads behind the world model protocol."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from gymnasium import spaces
from torch import Tensor, nn
from torch.nn import functional as F

from mbrl_agents.algorithms.dreamer_v2.config import DreamerV2Config
from mbrl_agents.algorithms.dreamer_v2.rssm import RSSM, State, balanced_kl
from mbrl_agents.data.spaces import action_size, observation_layout
from mbrl_agents.nn.actions import ActionStatistics
from mbrl_agents.nn.categorical import entropy, gumbel
from mbrl_agents.nn.dense import dense_head
from mbrl_agents.nn.masked import weighted_mean
from mbrl_agents.nn.normaliser import Normaliser
from mbrl_agents.nn.vision import ObservationDecoder, ObservationEncoder
from mbrl_agents.protocols import Batch, Metrics, Observation, Rollout, tree_map

STD_FLOOR = 1e-3
"""Least std that vectors are divided by, in their own units."""


@dataclass(frozen=True)
class Learned:
    """What `DreamerV2Model.compute_loss` gives.

    Attributes:
        loss: scalar.
        metrics: detached components by name.
        states: posterior states ``(B, T, ...)``, detached.
    """

    loss: Tensor
    metrics: Metrics
    states: State


class DreamerV2Model(nn.Module):
    """A recurrent model of discrete latents, learned by reconstruction.

    Hafner et al. 2021 (arXiv:2010.02193), equations 1 and 2.  Its state is
    ``{"deter": (B, D), "stoch": (B, G, n)}``.  The reward head predicts rewards as
    `DreamerV2Config.reward` transforms them.

    Args:
        config: settings.
        observation_space: a Box or a Dict of vectors and uint8 images.
        action_space: a Box or a Discrete.
        generator: source of the initial weights, seeded with 0 when None.

    Raises:
        ValueError: for spaces it cannot read.
    """

    compiled = ("rssm.advance",)
    """Methods worth compiling, see `mbrl_agents.training.compiling.CompiledParts`."""

    def __init__(
        self,
        config: DreamerV2Config,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        generator = generator or torch.Generator().manual_seed(0)
        self.config = config
        self.layout = observation_layout(observation_space)
        self.action_size = action_size(action_space)
        self.actions = ActionStatistics(
            self.action_size, discrete=isinstance(action_space, spaces.Discrete)
        )
        self.normaliser: Normaliser | None = None
        if config.normalise and self.layout.vectors:
            self.normaliser = Normaliser(sum(self.layout.vectors.values()), floor=STD_FLOOR)
        units, layers, activation = config.units, config.layers, config.activation
        self.encoder = ObservationEncoder(
            self.layout,
            depth=config.depth,
            activation=activation,
            units=units,
            layers=layers,
            generator=generator,
        )
        self.rssm = RSSM(config, self.action_size, self.encoder.token_size, generator=generator)
        size = self.feature_size = self.rssm.feature_size
        self.decoder = ObservationDecoder(
            self.layout,
            size,
            depth=config.depth,
            activation=activation,
            units=units,
            layers=layers,
            rare=config.rare,
            generator=generator,
        )
        self.reward = dense_head(size, 1, units, layers, activation, generator)
        self.discount: nn.Sequential | None = None
        if config.predict_discount:
            self.discount = dense_head(size, 1, units, layers, activation, generator)

    @torch.no_grad()
    def fit_statistics(self, batch: Batch) -> None:
        """Note what the actions in ``batch`` look like, for planners, and vectors if asked to."""
        if self.normaliser is not None:
            rows = tree_map(lambda x: x.flatten(0, 1), batch.obs)
            self.normaliser.fit(self.layout.stacked_vectors(rows)[batch.mask.flatten()])
        label = batch.label[batch.mask]
        self.actions.fit(
            batch.prev_action[batch.mask & ~batch.is_first], label[label.isfinite().all(-1)]
        )

    # -- the protocol -------------------------------------------------------------------

    def initial(self, batch: int) -> State:
        return self.rssm.initial(batch, self._device)

    def observe(
        self,
        state: State,
        obs: Observation,
        prev_action: Tensor,
        is_first: Tensor,
        *,
        generator: torch.Generator | None = None,
    ) -> State:
        tokens = self.encoder(self._normalised(obs))[:, None]
        noise = self._noise((len(tokens), 1), generator)
        states, _ = self.rssm.observe(state, tokens, prev_action[:, None], is_first[:, None], noise)
        found: State = tree_map(lambda x: x[:, 0], states)
        return found

    def features(self, state: State) -> Tensor:
        return self.rssm.features(state)

    def imagine_step(
        self, state: State, action: Tensor, *, generator: torch.Generator | None = None
    ) -> State:
        return self.rssm.imagine_step(state, action, self._noise((len(action),), generator))

    def imagine(
        self,
        state: State,
        actions: Tensor,
        *,
        generator: torch.Generator | None = None,
        keep_features: bool = False,
    ) -> Rollout:
        found = []
        for step in range(actions.shape[1]):
            state = self.imagine_step(state, actions[:, step], generator=generator)
            found.append(self.features(state))
        # Time comes first, as it was imagined: heads then read memory in its order.
        features = torch.stack(found)
        continues = None
        if self.discount is not None:
            continues = (self.discounts(features) / self.config.discount).clamp_max(1.0).t()
        return Rollout(
            features.transpose(0, 1) if keep_features else None,
            self.rewards(features).t(),
            continues,
        )

    def decode(self, state: State) -> Observation:
        return self._normalised(self.decoder.decode(self.features(state)), back=True)

    # -- heads --------------------------------------------------------------------------

    def rewards(self, features: Tensor) -> Tensor:
        """``(...)`` predicted reward on arrival at ``features`` ``(..., F)``."""
        rewards: Tensor = self.reward(features)[..., 0]
        return rewards

    def discounts(self, features: Tensor) -> Tensor:
        """``(...)`` in (0, 1): weight of what follows ``features`` ``(..., F)``.

        The discount times the probability that the episode goes on; the discount alone where
        ends are not predicted.
        """
        if self.discount is None:
            return torch.full_like(features[..., 0], self.config.discount)
        return torch.sigmoid(self.discount(features)[..., 0])

    # -- training -----------------------------------------------------------------------

    def compute_loss(self, batch: Batch, *, generator: torch.Generator | None = None) -> Learned:
        """Training loss of sequences that begin from the zero state.

        Args:
            batch: ``(B, T, ...)``.
            generator: source of the latents; None takes the most likely.
        """
        size, length = batch.mask.shape
        obs = self._normalised(tree_map(lambda x: x.flatten(0, 1), batch.obs))
        states, posterior = self.rssm.observe(
            self.initial(size),
            self.encoder(obs).unflatten(0, (size, length)),
            batch.prev_action,
            batch.is_first,
            self._noise((size, length), generator),
        )
        prior = self.rssm.prior_log_probs(states["deter"])
        features = self.rssm.features(states)
        weight = batch.mask.float()
        kl_loss, kl = balanced_kl(
            posterior,
            prior,
            weight,
            balance=self.config.kl_balance,
            free_nats=self.config.free_nats,
        )
        parts = {"kl_loss": (kl_loss, self.config.kl_scale)}
        parts |= self._likelihoods(batch, obs, features, weight)
        total = torch.stack([value * scale for value, scale in parts.values()]).sum()
        metrics = {name: value.detach() for name, (value, _) in parts.items()}
        with torch.no_grad():
            metrics["model_loss"] = total.detach()
            metrics["kl"] = kl
            metrics["posterior_entropy"] = weighted_mean(entropy(posterior).sum(-1), weight)
            metrics["prior_entropy"] = weighted_mean(entropy(prior).sum(-1), weight)
        return Learned(total, metrics, tree_map(Tensor.detach, states))

    def _likelihoods(
        self, batch: Batch, obs: Observation, features: Tensor, weight: Tensor
    ) -> dict[str, tuple[Tensor, float]]:
        """Negative log-likelihoods in nats (equation 2), less constants, and their weights."""
        config = self.config
        scales = {"images": config.image_scale, "vectors": config.vector_scale}
        parts = {
            name: (weighted_mean(loss, weight.flatten()), scales[name])
            for name, loss in self.decoder.losses(features.flatten(0, 1), obs).items()
        }
        off = self.rewards(features) - transformed(batch.reward, config.reward)
        parts["reward"] = weighted_mean(0.5 * off.square(), weight), config.reward_scale
        if self.discount is not None:
            target = (~batch.terminal).float() * config.discount
            ends = F.binary_cross_entropy_with_logits(
                self.discount(features)[..., 0], target, reduction="none"
            )
            parts["discount"] = weighted_mean(ends, weight), config.discount_scale
        return parts

    # -- inside -------------------------------------------------------------------------

    @property
    def _device(self) -> torch.device:
        return self.rssm.cell.norm.weight.device

    def _normalised(self, obs: Mapping[str, Tensor], *, back: bool = False) -> Observation:
        """Observations ``(N, ...)`` with normalised vectors, or with their own units again."""
        if self.normaliser is None:
            return dict(obs)
        stacked = self.layout.stacked_vectors(obs)
        changed = self.normaliser.inverse(stacked) if back else self.normaliser(stacked)
        parts = changed.split(list(self.layout.vectors.values()), 1)
        return {**obs, **dict(zip(self.layout.vectors, parts, strict=True))}

    def _noise(self, shape: tuple[int, ...], generator: torch.Generator | None) -> Tensor | None:
        if generator is None:
            return None
        return gumbel((*shape, self.rssm.stoch, self.rssm.classes), generator, self._device)


def transformed(reward: Tensor, kind: str) -> Tensor:
    """What is learned in place of rewards ``(...)``, see `DreamerV2Config.reward`."""
    if kind == "tanh":
        return reward.tanh()
    return reward.sign() if kind == "sign" else reward


__all__ = ["DreamerV2Model", "Learned", "transformed"]
