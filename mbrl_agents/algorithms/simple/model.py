"""SimpleWorldModel: pose and action to next pose, reward, continuation and steps to go."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, fields

import torch
from gymnasium import spaces
from torch import Tensor, nn
from torch.nn import functional as F

from mbrl_agents.algorithms.simple.config import DTYPES, SimpleWorldModelConfig
from mbrl_agents.algorithms.simple.vectors import (
    flatten,
    gripper_openings,
    relative_pairs,
    vector_sizes,
)
from mbrl_agents.data.spaces import action_size
from mbrl_agents.nn import MLP, ActionStatistics, Normaliser, Unrolled
from mbrl_agents.nn.masked import weighted_mean
from mbrl_agents.nn.returns import lambda_steps
from mbrl_agents.nn.sharing import counted
from mbrl_agents.protocols import Batch, Metrics, Observation, Rollout

CONTEXT = 1
"""Leading steps of a training window that only give the state: a velocity."""

State = dict[str, Tensor]
"""``obs``, ``prev_obs`` ``(B, D)``: together they show velocities, which one pose hides."""


class SimpleWorldModel(nn.Module):
    """An ensemble of perceptrons over vector observations.

    Dynamics predict the normalised change of the observation.  In training every member unrolls
    its own predictions over the whole sequence (a multi-step loss, which keeps long imagination
    on course); in planning the state follows the members' mean and their spread is the
    disagreement.  Probabilistic ensembles for planning: Chua et al. 2018 (PETS).

    Heads read the features of the state that was reached.  Steps to go is linear in progress
    where a discounted value is nearly flat far from the goal; ``value = discount ** steps_to_go``.

    Args:
        config: settings.
        observation_space: a Box or Dict of vectors.
        action_space: a Box, whose actions are expected in [-1, 1], or a Discrete, one-hot.
        generator: source of the initial weights, seeded with 0 when None.

    Raises:
        ValueError: for images in the observations, and other kinds of actions.
    """

    _left: Tensor
    _right: Tensor
    _seen: Tensor
    _waves: Tensor

    def __init__(
        self,
        config: SimpleWorldModelConfig,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        generator = generator or torch.Generator().manual_seed(0)
        self.config = config
        sizes = vector_sizes(observation_space)
        self.keys, self.sizes = tuple(sizes), sizes
        self.obs_size = sum(sizes.values())
        self.action_size = action_size(action_space)

        pairs = relative_pairs(sizes) if config.relative is None else config.relative
        if any(len(p) != 2 or not 0 <= min(p) <= max(p) <= self.obs_size - 3 for p in pairs):
            raise ValueError(f"relative: pairs of starts in 0..{self.obs_size - 3}, got {pairs}")
        triple = torch.arange(3)
        left = [triple + a for a, _ in pairs]
        right = [triple + b for _, b in pairs]
        empty = torch.zeros(0, dtype=torch.long)
        self.register_buffer("_left", torch.cat(left) if left else empty, persistent=False)
        self.register_buffer("_right", torch.cat(right) if right else empty, persistent=False)
        relative_size = 3 * len(pairs)
        self._fine = bool(pairs) and config.fine > 0
        self._openings = gripper_openings(sizes) if self._fine else []

        floors = torch.full((2 * self.obs_size + relative_size,), config.std_floor)
        floors[self.obs_size : 2 * self.obs_size] = config.delta_floor
        self.normaliser = Normaliser(len(floors), floor=floors, clip=config.clip)
        self.delta_normaliser = Normaliser(self.obs_size, floor=config.delta_floor)
        self.reward_normaliser = Normaliser(1, floor=1e-3)
        waves = 2.0 * math.pi / torch.tensor(config.wavelengths or (1.0,))
        self.register_buffer("_waves", waves, persistent=False)
        self.feature_size = len(floors) + relative_size * self._fine + len(self._openings)
        self.feature_size += 2 * len(config.wavelengths) * relative_size

        def network(inputs: int, outputs: int, hidden: tuple[int, ...]) -> MLP:
            return MLP(
                inputs,
                outputs,
                hidden,
                members=config.ensemble,
                norm=config.norm,
                activation=config.activation,
                output_scale=0.1,
                generator=generator,
            ).to(DTYPES[config.dtype])

        seen = torch.ones(len(floors))
        if config.translation_invariant:
            for start in {start for pair in pairs for start in pair}:
                seen[start : start + 2] = 0.0
        self.register_buffer("_seen", seen, persistent=False)
        discrete = isinstance(action_space, spaces.Discrete)
        self.actions = ActionStatistics(self.action_size, discrete=discrete)
        size = self.feature_size
        self.dynamics = network(size + self.action_size, self.obs_size, config.hidden)
        self.outcome = network(size, 2, config.outcome_hidden)
        self.progress = network(size, 1, config.head_hidden)
        self.slow_progress: MLP | None = None
        if config.bootstrap:
            self.slow_progress = copy.deepcopy(self.progress).requires_grad_(False)

    # -- the protocol -------------------------------------------------------------------

    def initial(self, batch: int) -> State:
        zeros = torch.zeros(batch, self.obs_size, device=self.normaliser.mean.device)
        return {"obs": zeros, "prev_obs": zeros}

    def observe(
        self,
        state: State,
        obs: Observation,
        prev_action: Tensor,
        is_first: Tensor,
        *,
        generator: torch.Generator | None = None,
    ) -> State:
        del generator  # nothing is drawn, here and below
        flat = flatten(obs, self.keys)
        return {"obs": flat, "prev_obs": torch.where(is_first[:, None], flat, state["obs"])}

    def features(self, state: State) -> Tensor:
        return self._features(state["obs"], state["prev_obs"])

    def imagine_step(
        self, state: State, action: Tensor, *, generator: torch.Generator | None = None
    ) -> State:
        del generator
        obs = state["obs"]
        delta = self.dynamics(torch.cat([self.features(state), action], -1)).mean(0)
        return {"obs": obs + self.delta_normaliser.inverse(delta), "prev_obs": obs}

    def imagine(
        self,
        state: State,
        actions: Tensor,
        *,
        generator: torch.Generator | None = None,
        keep_features: bool = False,
    ) -> Rollout:
        # Its heads read all features at once: they are there whether or not they are kept.
        del generator, keep_features
        obs, prev = state["obs"], state["prev_obs"]
        features, disagreements = [], []
        present = self._features(obs, prev)
        dynamics = Unrolled(self.dynamics, actions)
        for step in range(actions.shape[1]):
            delta = dynamics(step, present)  # (E, N, D)
            mean = delta.mean(0)
            prev, obs = obs, obs + self.delta_normaliser.inverse(mean)
            present = self._features(obs, prev)
            features.append(present)
            if self.config.ensemble > 1:
                # By hand: torch's std over a short leading dimension is many times slower.
                spread = (delta - mean).square_().mean(0).sqrt_()
                disagreements.append(spread.mean(-1))
        imagined = torch.stack(features, 1)  # (N, H, F)
        disagreement = torch.stack(disagreements, 1) if disagreements else None
        reward, continues, steps = self.predict_heads(imagined)
        return Rollout(
            features=imagined,
            reward=reward,
            continues=continues,
            value=self.config.discount**steps,
            disagreement=disagreement,
            steps_to_go=steps,
        )

    def decode(self, state: State) -> Observation:
        parts = state["obs"].split(list(self.sizes.values()), -1)
        return dict(zip(self.keys, parts, strict=True))

    def predict_heads(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Reward, continuation and steps to go ``(...)`` at ``features`` ``(..., F)``."""
        outcome = self.outcome(features)  # (E, ..., 2)
        progress = self.progress(features)[..., 0]  # (E, ...)
        if self.config.pessimistic:
            reward, steps = outcome[..., 0].amin(0), progress.amax(0)
        else:
            reward, steps = outcome[..., 0].mean(0), progress.mean(0)
        reward = reward * self.reward_normaliser.std + self.reward_normaliser.mean
        continues = torch.sigmoid(outcome[..., 1]).amax(0)
        steps = (steps * self.config.steps_scale).clamp(0.0, self.config.max_steps)
        return reward, continues, steps

    # -- training -----------------------------------------------------------------------

    @torch.no_grad()
    def fit_statistics(self, batch: Batch) -> None:
        """Set the normalisers from data: windows of two steps, the first of them context."""
        data = self._unpack(batch, 1)
        mask = data.mask
        raw = self._raw_features(data.next_obs, data.obs)[mask]
        self.normaliser.fit(raw)
        self.delta_normaliser.fit((data.next_obs - data.obs)[mask])
        self.reward_normaliser.fit_range(data.reward[mask][:, None])
        label = batch.label[batch.mask]
        self.actions.fit(data.action[mask], label[label.isfinite().all(-1)])

    def compute_loss(
        self, batch: Batch, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Metrics]:
        """Loss and detached metrics of windows within episodes, one step of context first."""
        del generator
        data = self._shared_out(batch)
        weight = data.mask.float()
        count = counted(weight)

        # Dynamics: each member unrolls what it predicted itself.
        obs, prev = data.obs[:, :, 0], data.prev_obs  # (E, B, D)
        errors = []
        for step in range(data.action.shape[2]):
            inputs = torch.cat([self._features(obs, prev), data.action[:, :, step]], -1)
            delta = self.delta_normaliser.inverse(self.dynamics.each(inputs))
            prev, obs = obs, obs + delta
            error = (obs - data.next_obs[:, :, step]) / self.delta_normaliser.std
            errors.append(F.smooth_l1_loss(error, torch.zeros_like(error), reduction="none"))
        per_step = torch.stack(errors, 2).mean(-1)  # (E, B, T)
        dynamics = (per_step * weight).sum() / count

        # Heads: on the states that were really reached.
        reached = self._features(data.next_obs, data.obs)  # (E, B, T, F)
        outcome = self.outcome.each(reached)
        guess = self.progress.each(reached)[..., 0]
        target = self.reward_normaliser(data.reward[..., None])[..., 0]
        reward = F.smooth_l1_loss(outcome[..., 0], target, reduction="none")
        goes_on = (~data.terminated).float()
        ends = F.binary_cross_entropy_with_logits(outcome[..., 1], goes_on, reduction="none")
        if self.slow_progress is None:
            to_go = data.steps_to_go.clamp_max(self.config.max_steps) / self.config.steps_scale
        else:
            to_go = self._bootstrapped(data, reached)
        known = weight * to_go.isfinite()
        to_go = to_go.nan_to_num(0.0)
        steps = F.smooth_l1_loss(guess, to_go, reduction="none", beta=0.1)
        tau = self.config.steps_expectile
        steps = steps * torch.where(guess < to_go, 2 * tau, 2 * (1 - tau))
        reward_loss = (reward * weight).sum() / count
        continue_loss = (ends * weight).sum() / count
        steps_loss = weighted_mean(steps, known)

        ends = self.config.reward_weight * reward_loss + self.config.continue_weight * continue_loss
        total = dynamics + ends + self.config.steps_weight * steps_loss
        with torch.no_grad():
            off = weighted_mean((guess - to_go).abs(), known)
            steps_error = off * self.config.steps_scale
        return total, {
            "loss": total.detach(),
            "dynamics": dynamics.detach(),
            "outcome": ends.detach(),
            "reward": reward_loss.detach(),
            "continue": continue_loss.detach(),
            "steps": steps_loss.detach(),
            "steps_error": steps_error,
        }

    @torch.no_grad()
    def _bootstrapped(self, data: _Steps, reached: Tensor) -> Tensor:
        """Targets ``(E, B, T)`` of the steps-to-go head, NaN where nothing is known."""
        assert self.slow_progress is not None
        if self.training:
            for slow, fast in zip(
                self.slow_progress.parameters(), self.progress.parameters(), strict=True
            ):
                slow.lerp_(fast, self.config.slow_rate)
        most = self.config.max_steps
        left = self.slow_progress.each(reached)[..., 0] * self.config.steps_scale  # (E, B, T)
        follows = torch.cat([data.mask[:, :, 1:], torch.zeros_like(data.mask[:, :, :1])], 2)
        found = lambda_steps(
            left.clamp(0.0, most),
            data.steps_to_go == 0,
            ~follows,
            self.config.trace,
            failed=data.terminated,
            most=most,
        )
        return found / self.config.steps_scale

    # -- inside -------------------------------------------------------------------------

    def _raw_features(self, obs: Tensor, prev: Tensor) -> Tensor:
        if not len(self._left):
            return torch.cat([obs, obs - prev], -1)
        return torch.cat([obs, obs - prev, obs[..., self._left] - obs[..., self._right]], -1)

    def _features(self, obs: Tensor, prev: Tensor) -> Tensor:
        raw = self._raw_features(obs, prev)
        features = self.normaliser(raw) * self._seen
        if self._fine:
            near = torch.tanh(raw[..., 2 * self.obs_size :] / self.config.fine)
            opening = torch.tanh(raw[..., self._openings] / self.config.fine_opening - 1.0)
            features = torch.cat([features, near, opening], -1)
        if self.config.wavelengths:
            phase = (raw[..., 2 * self.obs_size :, None] * self._waves).flatten(-2)
            features = torch.cat([features, phase.sin(), phase.cos()], -1)
        return features

    @property
    def batch_parts(self) -> int:
        """How many parts the rows of a training batch fall into: one for each member."""
        return self.config.ensemble

    def _shared_out(self, batch: Batch) -> _Steps:
        """The batch for each member: a share of its own in training, all of it otherwise.

        Shares cost a member's part of the time and give every member its own order of the data,
        which is some of what an ensemble's disagreement lives on.
        """
        members = self.config.ensemble
        size = len(batch) // members
        if self.training and size > 0:
            return self._unpack(batch[: members * size], members)
        whole = self._unpack(batch, 1)
        return _Steps(
            *(
                getattr(whole, f.name).expand(members, *getattr(whole, f.name).shape[1:])
                for f in fields(whole)
            )
        )

    def _unpack(self, batch: Batch, members: int) -> _Steps:
        """Steps from one observation to the next without the context, in ``members`` parts."""
        seen = flatten(batch.obs, self.keys)  # (B, T + 1, D)
        steps = batch.steps_to_go
        if self.config.failures_count:
            steps = steps.nan_to_num(nan=self.config.max_steps)
        arrived = (
            seen[:, CONTEXT + 1 :],
            *(x[:, CONTEXT + 1 :] for x in (batch.prev_action, batch.reward, batch.terminal)),
            steps[:, CONTEXT + 1 :],
            batch.mask[:, CONTEXT:-1] & batch.mask[:, CONTEXT + 1 :],
        )
        # Where the context was padded it is the observation after it: no velocity.
        parts = [seen[:, CONTEXT - 1], seen[:, CONTEXT:-1], *arrived]
        return _Steps(*(x.reshape(members, -1, *x.shape[1:]) for x in parts))


@dataclass(frozen=True)
class _Steps:
    """Transitions of windows without their context, by member.

    ``prev_obs`` ``(E, B, D)``, the rest ``(E, B, T, ...)``.
    """

    prev_obs: Tensor
    obs: Tensor
    next_obs: Tensor
    action: Tensor
    reward: Tensor
    terminated: Tensor
    steps_to_go: Tensor
    mask: Tensor
