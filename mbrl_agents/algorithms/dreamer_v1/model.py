"""DreamerV1's world model: encoder, RSSM, decoder and heads behind the world model protocol."""

from __future__ import annotations

from typing import NamedTuple

import torch
from gymnasium import spaces
from torch import Tensor, nn
from torch.nn import functional as F

from mbrl_agents.algorithms.dreamer_v1.config import DreamerV1Config
from mbrl_agents.algorithms.dreamer_v1.rssm import RSSM, State, kl_divergence, standard_normal
from mbrl_agents.data.spaces import action_size, observation_layout
from mbrl_agents.nn.actions import ActionStatistics
from mbrl_agents.nn.dense import dense_head
from mbrl_agents.nn.sharing import counted
from mbrl_agents.nn.vision import ObservationDecoder, ObservationEncoder
from mbrl_agents.protocols import Batch, Metrics, Observation, Rollout, tree_map


class ModelLoss(NamedTuple):
    """What `DreamerV1Model.compute_loss` gives.

    ``loss`` is a scalar, ``metrics`` its detached parts, ``states`` the posterior states
    ``(B, T, ...)``, detached.
    """

    loss: Tensor
    metrics: Metrics
    states: State


class DreamerV1Model(nn.Module):
    """A recurrent model with Gaussian latents, learned by reconstruction.

    Hafner et al. 2020 (arXiv:1912.01603), section 4 and equation 10.  Its state is
    ``{"deter": (B, D), "stoch": (B, S)}``; features are both, stochastic first.  Stochastic
    states are drawn where a method is given a generator and take their mean without one.

    Args:
        config: settings.
        observation_space: a Box or a Dict of vectors and uint8 images of 64 x 64 or 32 x 32.
        action_space: a Box or a Discrete.
        generator: source of the initial weights, seeded with 0 when None.

    Raises:
        ValueError: for spaces it cannot read.
    """

    compiled = ("rssm.filter_step", "rssm.imagine_step")
    """Methods worth compiling, see `mbrl_agents.training.compiling`."""

    def __init__(
        self,
        config: DreamerV1Config,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        generator = generator or torch.Generator().manual_seed(0)
        self.config = config
        layout = observation_layout(observation_space)
        self.action_size = action_size(action_space)
        self.actions = ActionStatistics(
            self.action_size, discrete=isinstance(action_space, spaces.Discrete)
        )
        self.encoder = ObservationEncoder(
            layout,
            depth=config.depth,
            activation=config.image_activation,
            units=config.units,
            layers=config.vector_layers,
            dense_activation=config.activation,
            generator=generator,
        )
        self.rssm = RSSM(config, self.action_size, self.encoder.token_size, generator=generator)
        self.feature_size = self.rssm.feature_size
        self.decoder = ObservationDecoder(
            layout,
            self.feature_size,
            depth=config.depth,
            activation=config.image_activation,
            units=config.units,
            layers=config.vector_layers,
            dense_activation=config.activation,
            rare=config.rare,
            generator=generator,
        )
        self.reward_head = dense_head(
            self.feature_size, 1, config.units, config.reward_layers, config.activation, generator
        )
        self.continue_head: nn.Module | None = None
        if config.continue_head:
            self.continue_head = dense_head(
                self.feature_size,
                1,
                config.units,
                config.continue_layers,
                config.activation,
                generator,
            )

    # -- the protocol -------------------------------------------------------------------

    def initial(self, batch: int) -> State:
        return self.rssm.initial(batch)

    def observe(
        self,
        state: State,
        obs: Observation,
        prev_action: Tensor,
        is_first: Tensor,
        *,
        generator: torch.Generator | None = None,
    ) -> State:
        tokens = self.encoder(obs)[:, None]
        noise = self._noise(tokens.shape[:2], tokens.device, generator)
        states, _ = self.rssm.observe(
            state, tokens, prev_action.float()[:, None], is_first[:, None], noise
        )
        return tree_map(lambda x: x[:, 0], states)

    def features(self, state: State) -> Tensor:
        return self.rssm.features(state)

    def imagine_step(
        self, state: State, action: Tensor, *, generator: torch.Generator | None = None
    ) -> State:
        noise = self._noise(action.shape[:1], action.device, generator)
        return self.rssm.imagine_step(state, action, noise)

    def imagine(
        self,
        state: State,
        actions: Tensor,
        *,
        generator: torch.Generator | None = None,
        keep_features: bool = False,
    ) -> Rollout:
        states = []
        for action in actions.unbind(1):
            state = self.imagine_step(state, action, generator=generator)
            states.append(self.features(state))
        features = torch.stack(states, 1)
        continues = None
        if self.continue_head is not None:
            continues = (self.discounts(features) / self.config.discount).clamp_max(1.0)
        return Rollout(
            features=features if keep_features else None,
            reward=self.scaled_reward(features) / self.config.reward_scale,
            continues=continues,
        )

    def decode(self, state: State) -> Observation:
        return self.decoder.decode(self.features(state))

    # -- learning -----------------------------------------------------------------------

    def scaled_reward(self, features: Tensor) -> Tensor:
        """``(...)`` reward on arrival at ``features`` ``(..., F)``, times ``reward_scale``."""
        return self.reward_head(features)[..., 0]

    def discounts(self, features: Tensor) -> Tensor:
        """``(...)`` discount of what follows on ``features`` ``(..., F)``.

        The continue head's output, which has learned the discount times the probability that
        the episode goes on; without that head the discount alone.
        """
        if self.continue_head is None:
            return torch.full_like(features[..., 0], self.config.discount)
        return torch.sigmoid(self.continue_head(features)[..., 0])

    def compute_loss(self, batch: Batch, generator: torch.Generator) -> ModelLoss:
        """The negative of equation 10: reconstruction of observations and rewards, and KL.

        Every term is averaged over batch and time.  The free nats apply to that average of the
        KL divergence, not to single steps: while it is below them it has no gradient.

        Args:
            batch: ``(B, T, ...)``; sequences begin from the zero state.
            generator: source of latents.
        """
        config = self.config
        size, length = batch.reward.shape
        obs = tree_map(lambda x: x.flatten(0, 1), batch.obs)
        tokens = self.encoder(obs).unflatten(0, (size, length))
        noise = self._noise((size, length), tokens.device, generator)
        states, posterior = self.rssm.observe(
            self.initial(size), tokens, batch.prev_action.float(), batch.is_first, noise
        )
        prior = self.rssm.prior(states["deter"])
        features = self.features(states)
        weight = batch.mask.float()
        weight = weight / counted(weight)

        def mean(x: Tensor) -> Tensor:
            return (x.reshape(size, length) * weight).sum()

        losses = {
            name: mean(loss)
            for name, loss in self.decoder.losses(features.flatten(0, 1), obs).items()
        }
        target = batch.reward.float() * config.reward_scale
        losses["reward"] = mean(0.5 * (self.scaled_reward(features) - target).square())
        if self.continue_head is not None:
            goes_on = config.discount * (~batch.terminal).float()
            logits = self.continue_head(features)[..., 0]
            losses["continue"] = mean(
                F.binary_cross_entropy_with_logits(logits, goes_on, reduction="none")
            )
        divergence = mean(kl_divergence(posterior, prior))
        weights = {"vectors": config.vector_weight, "continue": config.continue_weight}
        loss = config.kl_weight * divergence.clamp_min(config.free_nats)
        for name, value in losses.items():
            loss = loss + weights.get(name, 1.0) * value
        metrics = losses | {
            "kl": divergence,
            "prior_entropy": mean(prior.entropy()),
            "posterior_entropy": mean(posterior.entropy()),
        }
        return ModelLoss(
            loss,
            {name: value.detach() for name, value in metrics.items()},
            tree_map(Tensor.detach, states),
        )

    def _noise(
        self,
        shape: tuple[int, ...] | torch.Size,
        device: torch.device,
        generator: torch.Generator | None,
    ) -> Tensor | None:
        if generator is None:
            return None
        return standard_normal((*shape, self.rssm.stoch), generator, device)


__all__ = ["DreamerV1Model", "ModelLoss"]
