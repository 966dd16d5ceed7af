"""DreamerV3: encoder, RSSM, decoder and heads behind the world model protocol."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from gymnasium import spaces
from torch import Tensor, nn

from mbrl_agents.algorithms.dreamer_v3.config import DreamerV3Config
from mbrl_agents.algorithms.dreamer_v3.decoder import Decoder
from mbrl_agents.algorithms.dreamer_v3.encoder import Encoder
from mbrl_agents.algorithms.dreamer_v3.ensemble import LatentEnsemble
from mbrl_agents.algorithms.dreamer_v3.losses import losses
from mbrl_agents.algorithms.dreamer_v3.rolling import Rolling
from mbrl_agents.algorithms.dreamer_v3.rssm import RSSM, State
from mbrl_agents.data.spaces import action_size, observation_layout
from mbrl_agents.nn.actions import ActionStatistics
from mbrl_agents.nn.categorical import entropy, gumbel, kl_divergence, latent_use
from mbrl_agents.nn.layout import ObservationLayout
from mbrl_agents.nn.masked import weighted_mean
from mbrl_agents.nn.normaliser import Normaliser
from mbrl_agents.nn.normed import Linear, dense_stack
from mbrl_agents.nn.shift import shifted
from mbrl_agents.nn.symlog import TwoHot
from mbrl_agents.protocols import Batch, Metrics, Observation, Rollout, tree_map
from mbrl_agents.training.fit import TOKENS


@dataclass(frozen=True)
class ModelOutput:
    """What `DreamerV3Model.compute_loss` gives.

    Attributes:
        loss: scalar.
        metrics: detached components by name.
        states: posterior states ``(B, T, ...)``, detached.
        features: ``(B, T, F)`` of these states, with their gradient.
    """

    loss: Tensor
    metrics: Metrics
    states: State
    features: Tensor


class DreamerV3Model(nn.Module):
    """A recurrent model of discrete latents, learned by reconstruction.

    Hafner et al. 2023 (arXiv:2301.04104), equations 3 to 5, with the architecture and constants of
    the authors' later releases: a block-diagonal GRU, RMS norms, KL weights 1 and 0.1.

    Its state is ``{"deter": (B, D), "stoch": (B, G, n)}``, and ``"context"`` ``(B, C)`` with
    ``config.context``.  Latents are drawn where a method is
    given a generator; without one the most likely are taken, so that planning and evaluation are
    deterministic.  Discrete actions are one-hot vectors.

    Args:
        config: settings.
        observation_space: a Box or a Dict of vectors and uint8 images.
        action_space: a Box or a Discrete; Box actions are expected in [-1, 1].
        generator: source of the initial weights, seeded with 0 when None.

    Raises:
        ValueError: for spaces it cannot read.
    """

    compiled = ("rssm.filter_step", "rssm.imagine_embedded", "encoder._look", "decoder.draw")
    """Methods worth compiling, see `training.compiling.CompiledParts`."""

    def __init__(
        self,
        config: DreamerV3Config,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        generator = generator or torch.Generator().manual_seed(0)
        self.config = config
        self.layout = observation_layout(observation_space, 2 ** len(config.mults))
        self.action_size = action_size(action_space)
        discrete = isinstance(action_space, spaces.Discrete)
        self.actions = ActionStatistics(self.action_size, discrete=discrete)
        if config.normalise:
            self.normaliser = Normaliser(sum(self.layout.vectors.values()), floor=1e-3)
        self.encoder = Encoder(config, self.layout, generator=generator)
        self.context = context_keys(config, self.layout)
        self.rssm = RSSM(
            config,
            self.action_size,
            self.encoder.token_size,
            sum(self.layout.vectors[key] for key in self.context),
            generator=generator,
        )
        self.feature_size = self.rssm.feature_size
        latent = self.feature_size - self.rssm.deter
        self.decoder = Decoder(config, self.layout, self.rssm.deter, latent, generator=generator)

        def head(layers: int, outputs: int, scale: float) -> nn.Sequential:
            units = config.width("units")
            return nn.Sequential(
                dense_stack(self.feature_size, units, layers, generator=generator),
                Linear(units, outputs, scale=scale, generator=generator),
            )

        self.reward = head(config.reward_layers, config.bins, 0.0)
        self.continues = head(config.continue_layers, 1, 1.0)
        if config.progress:
            self.progress = head(config.progress_layers, config.bins, 0.0)
        if config.progress and config.bootstrap:
            self.slow_progress = copy.deepcopy(self.progress).requires_grad_(False)
        if config.imitation_weight:
            self.imitation = head(config.imitation_layers, self.action_size, 1.0)
        if config.ensemble:
            self.ensemble = LatentEnsemble(
                self.feature_size,
                self.action_size,
                self.rssm.stoch,
                self.rssm.classes,
                hidden=config.ensemble_hidden,
                members=config.ensemble,
                generator=generator,
            )

    @torch.no_grad()
    def fit_statistics(self, batch: Batch) -> None:
        """Note what actions look like, for planners, and vectors and images if asked to."""
        obs = tree_map(lambda x: x.flatten(0, 1)[batch.mask.flatten()], batch.obs)
        if self.config.normalise and self.layout.vectors:
            self.normaliser.fit(self.layout.stacked_vectors(obs))
        if self.config.mean_image and self.layout.images:
            self.decoder.fit_mean(obs)
        label = batch.label[batch.mask]
        taken = batch.mask & ~batch.is_first
        self.actions.fit(batch.prev_action[taken], label[label.isfinite().all(-1)])

    # -- the protocol -------------------------------------------------------------------

    def initial(self, batch: int) -> State:
        return self.rssm.initial(batch, self.device)

    def observe(
        self,
        state: State,
        obs: Observation,
        prev_action: Tensor,
        is_first: Tensor,
        *,
        generator: torch.Generator | None = None,
    ) -> State:
        with self.precision():
            tokens = self.encoder(self._normalised(obs))[:, None]
            states, _ = self.rssm.observe(
                state,
                tokens,
                prev_action[:, None],
                is_first[:, None],
                self._noise((len(tokens), 1), generator),
                self._context({key: obs[key][:, None] for key in self.context}),
            )
        return tree_map(lambda x: x[:, 0].float(), states)

    def features(self, state: State) -> Tensor:
        return self.rssm.features(state)

    def imagine_step(
        self, state: State, action: Tensor, *, generator: torch.Generator | None = None
    ) -> State:
        with self.precision():
            after = self.rssm.imagine_step(state, action, self._noise((len(action),), generator))
        return tree_map(Tensor.float, after)

    def imagine(
        self,
        state: State,
        actions: Tensor,
        *,
        generator: torch.Generator | None = None,
        keep_features: bool = False,
    ) -> Rollout:
        """See `mbrl_agents.protocols.WorldModel.imagine`.

        Args:
            keep_features: whether the rollout holds features, which a search does not read.
        """
        with self.precision():
            noise = self._noise(tuple(actions.shape[:2]), generator)
            context = state.get("context")
            if context is not None:
                context = context[:, None].expand(-1, actions.shape[1], -1)
            embedded = self.rssm.embed_action(actions, context)
            # Time comes first, as it is imagined: heads then read memory in its order.
            features: Tensor | None = None
            heads = self._planned_on()
            own = all(isinstance(head, nn.Sequential) for head in heads.values())
            # The modules themselves serve a gradient, and heads that are not ours.
            if torch.is_grad_enabled() or not self.rolls or not own:
                features = self._imagined(state, embedded, noise)
                reward, continues, steps = self.predict_heads(features)
            else:
                count = actions.shape[1]
                if keep_features or self.config.ensemble:
                    features = embedded.new_empty(count, len(actions), self.feature_size)
                outputs = None if features is None else features.unbind()
                rolling = Rolling(self.rssm, state, count, heads, outputs)
                for step in range(count):
                    rolling.step(step, embedded[:, step], None if noise is None else noise[:, step])
                rewards, lasting, to_go = zip(*map(self._outcomes, rolling.outputs()), strict=True)
                reward, continues = torch.cat(rewards), torch.cat(lasting)
                steps = torch.cat(to_go) if self.config.progress else None
            disagreement = None
            if self.config.ensemble:
                assert features is not None
                before = torch.cat([self.rssm.features(state)[None], features[:-1]])
                disagreement = self._disagreement(before, actions.transpose(0, 1))
        return Rollout(
            None if features is None else features.transpose(0, 1),
            reward.t(),
            continues.t(),
            disagreement=disagreement,
            steps_to_go=None if steps is None else steps.t(),
        )

    def _disagreement(self, before: Tensor, actions: Tensor) -> Tensor:
        """``(N, T)`` of the ensemble, at features ``(T, N, F)`` and actions ``(T, N, A)``."""
        flat = self.ensemble.disagreement(before.flatten(0, 1), actions.flatten(0, 1))
        return flat.unflatten(0, before.shape[:2]).t()

    @property
    def rolls(self) -> bool:
        """Whether `Rolling` computes what the modules would, and is quicker."""
        return self.config.dtype == "float32" and not torch.compiler.is_compiling()

    def _imagined(self, state: State, embedded: Tensor, noise: Tensor | None) -> Tensor:
        """``(T, N, F)`` features after embedded actions ``(N, T, hidden)``."""
        parts = self.rssm.recurrent_parts()
        found = []
        for step in range(embedded.shape[1]):
            state = self.rssm.imagine_embedded(
                state, embedded[:, step], None if noise is None else noise[:, step], parts
            )
            found.append(self.rssm.features(state))
        return torch.stack(found).float()

    def _planned_on(self) -> dict[str, nn.Sequential]:
        """The heads that a rollout holds the outcome of."""
        heads = {"reward": self.reward, "continues": self.continues}
        return heads | ({"progress": self.progress} if self.config.progress else {})

    def predict_heads(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Reward, probability to go on and steps to go ``(...)`` at ``features`` ``(..., F)``."""
        return self._outcomes({name: head(features) for name, head in self._planned_on().items()})

    def _outcomes(self, found: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Tensor | None]:
        """`predict_heads` from what the heads give."""
        reward = TwoHot(found["reward"]).mean
        lasting = torch.sigmoid(found["continues"][..., 0].float())
        continues = (lasting / self.config.discount).clamp_max(1.0)
        steps = None
        if "progress" in found:
            steps = TwoHot(found["progress"]).mean.clamp(0.0, self.config.max_steps)
        return reward, continues, steps

    def discounts(self, features: Tensor) -> Tensor:
        """What the continue head predicts: probability to go on, times the discount."""
        return torch.sigmoid(self.continues(features)[..., 0].float())

    # -- training -----------------------------------------------------------------------

    def compute_loss(
        self,
        batch: Batch,
        state: State | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> ModelOutput:
        """Training loss of a batch of sequences.

        Args:
            batch: ``(B, T, ...)``; of observations that `encode` read before, nothing is decoded.
            state: before the first step, where sequences go on from somewhere; leaves ``(B, ...)``.
            generator: source of the latents; None takes the most likely.
        """
        size, length = batch.mask.shape
        state = self.initial(size) if state is None else tree_map(Tensor.float, state)
        obs: Observation | None = None
        if TOKENS not in batch.obs:
            shown = batch.obs
            if self.training and generator is not None:
                shown = self.augmented(shown, generator)
            obs = self._normalised(tree_map(lambda x: x.flatten(0, 1), shown))
        with self.precision():
            if obs is None:
                tokens = batch.obs[TOKENS].float().flatten(0, 1)
            else:
                tokens = self.encoder(obs)
            states, posterior = self.rssm.observe(
                state,
                tokens.unflatten(0, (size, length)),
                batch.prev_action,
                batch.is_first,
                self._noise((size, length), generator),
                self._context(batch.obs),
            )
            prior = self.rssm.prior_log_probs(states["deter"])
            features = self.rssm.features(states)
            parts = losses(self, batch, obs, states, features, posterior, prior, generator)
        metrics = {name: value.detach() for name, (value, _) in parts.items()}
        total = torch.stack([value * weight for value, weight in parts.values()]).sum()
        with torch.no_grad():
            weight = batch.mask.float()
            metrics["loss"] = total.detach()
            metrics["posterior_entropy"] = weighted_mean(entropy(posterior).sum(-1), weight)
            metrics["prior_entropy"] = weighted_mean(entropy(prior).sum(-1), weight)
            # Beside the two KL losses, which free nats bound from below.
            metrics["kl"] = weighted_mean(kl_divergence(posterior, prior), weight)
            metrics["latent_use"], metrics["latent_live"] = latent_use(posterior, weight)
            detached = tree_map(lambda x: x.detach().float(), states)
        return ModelOutput(total, metrics, detached, features.float())

    @torch.no_grad()
    def encode(self, obs: Observation) -> Tensor:
        """See `mbrl_agents.training.fit.Encoding`."""
        with self.precision():
            return self.encoder(self._normalised(obs)).float()

    # -- images -------------------------------------------------------------------------

    def augmented(self, obs: Observation, generator: torch.Generator) -> Observation:
        """Observations ``(B, T, ...)`` whose images are moved at random, if so set."""
        found = dict(obs)
        for key, channels in self.layout.images.items() if self.config.image_shift else ():
            last = obs[key].shape[-1] == channels
            images = obs[key] if last else obs[key].movedim(2, -1)
            images = shifted(images, self.config.image_shift, generator)
            found[key] = images if last else images.movedim(-1, 2)
        return found

    def decode(self, state: State) -> Observation:
        """Predicted observations: vectors, and images ``(B, height, width, channels)``."""
        with self.precision():
            decoded = self.decoder.decode(self.rssm.features(state))
        return self._normalised(decoded, back=True)

    # -- inside -------------------------------------------------------------------------

    @property
    def device(self) -> torch.device:
        return self.rssm.gates.bias.device

    def _normalised(self, obs: Mapping[str, Tensor], *, back: bool = False) -> Observation:
        """Observations ``(N, ...)`` with normalised vectors, or with their own units again."""
        if not self.config.normalise or not self.layout.vectors:
            return dict(obs)
        stacked = self.layout.stacked_vectors(obs)
        changed = self.normaliser.inverse(stacked) if back else self.normaliser(stacked)
        parts = changed.split(list(self.layout.vectors.values()), 1)
        return {**obs, **dict(zip(self.layout.vectors, parts, strict=True))}

    def _context(self, obs: Observation) -> Tensor | None:
        """``(B, T, C)`` of observations ``(B, T, ...)``; None where there is none."""
        if not self.context:
            return None
        return torch.cat([obs[key].float().flatten(2) for key in self.context], -1)

    def _noise(self, shape: tuple[int, ...], generator: torch.Generator | None) -> Tensor | None:
        if generator is None:
            return None
        return gumbel((*shape, self.rssm.stoch, self.rssm.classes), generator, self.device)

    def precision(self) -> torch.autocast:
        """The context its products are computed in."""
        half = self.config.dtype == "bfloat16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=half)


def context_keys(config: DreamerV3Config, layout: ObservationLayout) -> tuple[str, ...]:
    """Those of ``config.context`` that there are.

    Raises:
        ValueError: for a key of an image.
    """
    for key in config.context:
        if key in layout.images:
            raise ValueError(f"context {key!r} is an image; vectors can stay the same")
    return tuple(key for key in config.context if key in layout.vectors)
