"""Tokenizer and transformer together behind the world model protocol."""

from __future__ import annotations

import torch
from gymnasium import spaces
from torch import Tensor, nn

from mbrl_agents.algorithms.iris.config import IrisConfig
from mbrl_agents.algorithms.iris.dynamics import Dynamics
from mbrl_agents.algorithms.iris.imagination import Imagination, State
from mbrl_agents.algorithms.iris.tokenizer import Tokenizer
from mbrl_agents.data.spaces import action_size, observation_layout
from mbrl_agents.nn.actions import ActionStatistics
from mbrl_agents.nn.drawing import drawing_from
from mbrl_agents.protocols import Batch, Observation, Rollout


class IrisModel(nn.Module):
    """Micheli et al. 2023 (arXiv:2209.00588): a language model of what an agent sees.

    Images are read, vectors beside them are not.  A state holds the tokens of the last
    observations and the actions between them.  Imagined rewards are expected signs.

    Args:
        config: settings.
        observation_space: a Box or a Dict with uint8 images.
        action_space: a Box or a Discrete.
        generator: source of the initial weights, seeded with 0 when None.

    Raises:
        ValueError: without images, or for images of a size that the tokenizer cannot halve.
    """

    def __init__(
        self,
        config: IrisConfig,
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
                "IRIS learns from images; this environment shows vectors alone "
                f"({', '.join(self.layout.vectors)})"
            )
        self.action_size = action_size(action_space)
        discrete = isinstance(action_space, spaces.Discrete)
        self.actions = ActionStatistics(self.action_size, discrete=discrete)
        channels = sum(self.layout.images.values())
        with drawing_from(generator):
            self.tokenizer = Tokenizer(config, channels, self.layout.image_size)
            self.dynamics = Dynamics(
                config, self.tokenizer.tokens, self.action_size, discrete=discrete
            )
        self.feature_size = self.tokenizer.tokens * config.code_size
        self.eval()

    @torch.no_grad()
    def fit_statistics(self, batch: Batch) -> None:
        """Note what the actions in ``batch`` look like, for planners."""
        label = batch.label[batch.mask]
        self.actions.fit(
            batch.prev_action[batch.mask & ~batch.is_first], label[label.isfinite().all(-1)]
        )

    # -- the protocol -------------------------------------------------------------------

    def initial(self, batch: int) -> State:
        device, window = self._device, self.config.window
        return {
            "tokens": torch.zeros(
                batch, window, self.tokenizer.tokens, dtype=torch.long, device=device
            ),
            "actions": torch.zeros(batch, window, self.action_size, device=device),
            "length": torch.zeros(batch, dtype=torch.long, device=device),
        }

    def observe(
        self,
        state: State,
        obs: Observation,
        prev_action: Tensor,
        is_first: Tensor,
        *,
        generator: torch.Generator | None = None,
    ) -> State:
        del generator  # an image has one nearest code everywhere
        tokens = self.tokenizer.encode(self.images(obs)).tokens
        actions = state["actions"].clone()
        actions[:, -1] = prev_action
        before = state["length"].clamp_max(self.config.context - 1)
        found = {
            "tokens": torch.cat([state["tokens"][:, 1:], tokens[:, None]], 1),
            "actions": torch.cat([actions[:, 1:], torch.zeros_like(actions[:, :1])], 1),
            "length": torch.where(is_first, 0, before) + 1,
        }
        return self._without_padding(found)

    def features(self, state: State) -> Tensor:
        return self.tokenizer.embed(state["tokens"][..., -1, :]).flatten(-2)

    def imagine_step(
        self, state: State, action: Tensor, *, generator: torch.Generator | None = None
    ) -> State:
        run = Imagination(self.dynamics, state)
        run.step(action, generator=generator)
        return self._without_padding(run.state)

    def imagine(
        self,
        state: State,
        actions: Tensor,
        *,
        generator: torch.Generator | None = None,
        keep_features: bool = False,
    ) -> Rollout:
        run, horizon = Imagination(self.dynamics, state), actions.shape[1]
        rewards, lives, features = [], [], []
        for step in range(horizon):
            observe = keep_features or step + 1 < horizon
            found = run.step(actions[:, step], generator=generator, observe=observe)
            chances = found.reward.softmax(-1)
            rewards.append(chances[:, 2] - chances[:, 0])
            lives.append(found.end.softmax(-1)[:, 0])
            if keep_features:
                features.append(self.features(run.state))
        return Rollout(
            torch.stack(features, 1) if keep_features else None,
            torch.stack(rewards, 1),
            torch.stack(lives, 1),
        )

    def decode(self, state: State) -> Observation:
        return self.shown(self.tokenizer.decode(state["tokens"][:, -1]))

    # -- images and states --------------------------------------------------------------

    def images(self, obs: Observation) -> Tensor:
        """All images of observations ``(N, ...)``, ``(N, C, H, W)`` in [0, 1]."""
        return self.layout.stacked_images(obs).float() / 255.0

    def shown(self, images: Tensor) -> Observation:
        """Images ``(N, C, H, W)`` by key, channels last."""
        parts = images.permute(0, 2, 3, 1).split(list(self.layout.images.values()), 3)
        return dict(zip(self.layout.images, parts, strict=True))

    def state_of(self, tokens: Tensor, prev_action: Tensor, is_first: Tensor) -> State:
        """The state after the last of ``T`` observations.

        Args:
            tokens: ``(B, T, K)``.
            prev_action: ``(B, T, A)`` that led to each.
            is_first: ``(B, T)`` where an episode begins.
        """
        count = min(self.config.context, tokens.shape[1])
        found = self.initial(len(tokens))
        found["tokens"][:, -count:] = tokens[:, -count:]
        if count > 1:
            found["actions"][:, -count:-1] = prev_action[:, 1 - count :]
        # Steps since the last beginning; all there are where none was.
        after = torch.arange(tokens.shape[1], 0, -1, device=tokens.device)
        since = torch.where(is_first, after, tokens.shape[1]).amin(1)
        found["length"] = since.clamp_max(count)
        return self._without_padding(found)

    # -- inside -------------------------------------------------------------------------

    @property
    def _device(self) -> torch.device:
        return self.tokenizer.codebook.weight.device

    def _without_padding(self, state: State) -> State:
        """The state with zeros where it holds nothing, so that equal pasts are equal states."""
        window = self.config.window
        held = torch.arange(window, device=self._device) >= window - state["length"][:, None]
        return {
            "tokens": state["tokens"] * held[..., None],
            "actions": state["actions"] * held[..., None],
            "length": state["length"],
        }


__all__ = ["IrisModel"]
