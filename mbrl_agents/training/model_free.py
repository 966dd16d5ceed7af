"""Stable-Baselines3's SAC and DQN as a module that learns from whatever batches it is given.

Networks, losses and optimisers are theirs.  Where the data come from, when an update is due, what
is drawn and where everything is saved are decided outside, so that an algorithm can train one of
them on imagined transitions, or beside a world model.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3 import DQN, SAC
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from stable_baselines3.common.utils import polyak_update
from torch import Tensor, nn

from mbrl_agents.data.transitions import Transitions
from mbrl_agents.nn.actions import one_hot
from mbrl_agents.nn.drawing import drawing_from
from mbrl_agents.protocols import Metrics


@dataclass(frozen=True)
class ModelFreeConfig:
    """Settings of `ModelFree`; what is not named here stays at Stable-Baselines3's default.

    The defaults are for small tasks on a CPU.

    Attributes:
        hidden: widths of the hidden layers.
        learning_rate: of all its optimisers.
        batch_size: transitions of an update.
        discount: of rewards, per control step.
        tau: share by which the target networks follow at every update.
        double: of DQN, whether the network in training chooses the action that the target network
            judges (van Hasselt et al. 2016, arXiv:1509.06461).
        average: of DQN, share by which the network that acts follows the one in training at every
            update, sooner in the first: an average over about ``1 / average`` of them (Polyak and
            Juditsky 1992).  Where two actions are worth nearly the same, single updates turn the
            choice over.  With 1 the network in training acts.
        epsilon: of DQN, share of random actions while experience is gathered.
        entropy: of SAC, the entropy aimed at, per action dimension in nats.
    """

    hidden: tuple[int, ...] = (128, 128)
    learning_rate: float = 1e-3
    batch_size: int = 128
    discount: float = 0.99
    tau: float = 0.01
    double: bool = True
    average: float = 1e-3
    epsilon: float = 0.05
    entropy: float = -1.0

    def __post_init__(self) -> None:
        if not self.hidden or min(self.hidden) < 1:
            raise ValueError(f"hidden must name widths of at least 1, got {self.hidden}")
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {self.batch_size}")
        if self.learning_rate <= 0:
            raise ValueError(f"learning_rate must be positive, got {self.learning_rate}")
        if not 0 < self.discount < 1:
            raise ValueError(f"discount must lie in (0, 1), got {self.discount}")
        for name in ("tau", "average"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in (0, 1], got {getattr(self, name)}")
        if not 0 <= self.epsilon <= 1:
            raise ValueError(f"epsilon must lie in [0, 1], got {self.epsilon}")


class BoundedDQN(DQN):
    """DQN whose targets stay within what the rewards allow, and may be double.

    Attributes:
        double: whether a target is the target network's value of the action that the network in
            training prefers, in place of its largest value.
        bounds: least and largest value that there can be.
    """

    double = True
    bounds = (-float("inf"), float("inf"))

    def train(self, gradient_steps: int, batch_size: int = 100) -> None:
        target = self.q_net_target

        def judged(obs: Tensor) -> Tensor:
            """``(B, 1 or A)``: of one action where SB3's maximum over actions is to be that."""
            values = target(obs).clamp(*self.bounds)
            if not self.double:
                return values
            return values.gather(1, self.q_net(obs).argmax(1, keepdim=True))

        self.q_net_target = judged  # type: ignore[assignment]
        try:
            super().train(gradient_steps, batch_size)
        finally:
            self.q_net_target = target


class _Given:
    """In place of a replay buffer: gives what it was given."""

    samples: ReplayBufferSamples

    def sample(self, batch_size: int, env: Any = None) -> ReplayBufferSamples:
        return self.samples


class ModelFree(nn.Module):
    """SAC for continuous actions, DQN for discrete ones, over vectors.

    Args:
        config: settings.
        observation_size: ``D``.
        action_size: ``A``.
        discrete: whether actions are one-hot.
        generator: source of the initial weights; the global one is left alone.

    Attributes:
        policy: Stable-Baselines3's networks.
        average: of DQN, the network that acts, an average of the one in training.
        averaged: of DQN, updates so far.
        rewards: of DQN, least and largest reward per step so far, and zero.
        log_entropy_weight: of SAC, the logarithm of its temperature.
        optimizers: by name.
    """

    policy: Any
    averaged: Tensor
    rewards: Tensor

    def __init__(
        self,
        config: ModelFreeConfig,
        observation_size: int,
        action_size: int,
        *,
        discrete: bool,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.config, self.discrete, self.action_size = config, discrete, action_size
        shared: dict[str, Any] = {
            "policy": "MlpPolicy",
            "env": None,
            "learning_rate": config.learning_rate,
            "gamma": config.discount,
            "tau": config.tau,
            # One call for all weights: of small networks the optimiser is most of the cost.
            "policy_kwargs": {"net_arch": list(config.hidden), "optimizer_kwargs": {"fused": True}},
            "device": "cpu",
            "_init_setup_model": False,
        }
        self.learner: SAC | DQN
        actions: spaces.Space
        if discrete:
            self.learner = BoundedDQN(**shared)
            self.learner.double = config.double
            actions = spaces.Discrete(action_size)
        else:
            self.learner = SAC(**shared, target_entropy=config.entropy * action_size)
            actions = spaces.Box(-1.0, 1.0, (action_size,))
        learner = self.learner
        learner.observation_space = spaces.Box(-np.inf, np.inf, (observation_size,))
        learner.action_space, learner.n_envs = actions, 1
        self._given = _Given()
        learner.replay_buffer = self._given  # type: ignore[assignment]
        with drawing_from(generator):
            learner._setup_model()
        learner.set_logger(Logger(None, []))
        self.policy = learner.policy
        self.optimizers: dict[str, torch.optim.Optimizer]
        if isinstance(learner, SAC):
            self.log_entropy_weight = nn.Parameter(torch.zeros(1))
            learner.log_ent_coef = self.log_entropy_weight
            rate = config.learning_rate
            learner.ent_coef_optimizer = torch.optim.Adam([self.log_entropy_weight], lr=rate)
            self.optimizers = {
                "actor": learner.actor.optimizer,
                "critic": learner.critic.optimizer,
                "entropy": learner.ent_coef_optimizer,
            }
            learner.critic_target.requires_grad_(False)
        else:
            self.optimizers = {"q": learner.policy.optimizer}
            learner.q_net_target.requires_grad_(False)
            self.average = copy.deepcopy(learner.q_net).requires_grad_(False)
            self.register_buffer("averaged", torch.zeros((), dtype=torch.int64))
            self.register_buffer("rewards", torch.zeros(2))

    def update(self, data: Transitions, generator: torch.Generator) -> Metrics:
        """One gradient step of every network, on exactly these transitions.

        Args:
            data: on the module's device.
            generator: of what SAC draws, on the same device.

        Raises:
            FloatingPointError: when a loss is not finite.
        """
        learner = self.learner
        learner.device = data.reward.device
        action = data.action.argmax(-1, keepdim=True) if self.discrete else data.action
        self._given.samples = ReplayBufferSamples(
            data.obs,
            action,
            data.next_obs,
            data.terminal.float()[:, None],
            data.reward[:, None],
            self.config.discount ** data.steps[:, None].float(),
        )
        if isinstance(learner, BoundedDQN):
            learner.bounds = self._bounds(data)
        with drawing_from(generator):
            learner.train(1, len(data))
        learner.policy.set_training_mode(False)
        if isinstance(learner, DQN):
            # SB3 does so after environment steps.
            networks = learner.q_net.parameters(), learner.q_net_target.parameters()
            polyak_update(*networks, self.config.tau)
            self.averaged += 1
            share = max(self.config.average, 1.0 / float(self.averaged))
            polyak_update(learner.q_net.parameters(), self.average.parameters(), share)
        found = dict(learner.logger.name_to_value)
        learner.logger.name_to_value.clear()
        metrics = {
            name.removeprefix("train/"): torch.tensor(float(value))
            for name, value in found.items()
            if name not in ("train/n_updates", "train/learning_rate")
        }
        for name, value in metrics.items():
            if not torch.isfinite(value):
                raise FloatingPointError(f"{name} of {type(learner).__name__} is not finite")
        return metrics

    def _bounds(self, data: Transitions) -> tuple[float, float]:
        """Least and largest return that the rewards so far allow, ends at any time included.

        Without bounds, targets that are maxima of values with errors may feed on themselves.
        """
        discount = self.config.discount
        mass = (1.0 - discount ** data.steps.float()) / (1.0 - discount)
        each = data.reward / mass
        self.rewards[0] = torch.minimum(self.rewards[0], each.min())
        self.rewards[1] = torch.maximum(self.rewards[1], each.max())
        low, high = (self.rewards / (1.0 - discount)).tolist()
        return low, high

    def act(
        self, obs: Tensor, *, explore: bool = False, generator: torch.Generator | None = None
    ) -> Tensor:
        """Normalised actions ``(B, A)`` for observations ``(B, D)``; the likeliest without draws.

        Args:
            explore: of DQN, whether a share ``epsilon`` of the actions is random.
            generator: source of SAC's and of random actions.
        """
        if not self.discrete:
            mean, log_std, _ = self.policy.actor.get_action_dist_params(obs)
            if generator is not None:
                noise = torch.randn(mean.shape, generator=generator, device=generator.device)
                mean = mean + log_std.exp() * noise.to(mean.device)
            return torch.tanh(mean)
        best = self.average(obs).argmax(-1)
        if explore and generator is not None:
            device = generator.device
            random = torch.randint(self.action_size, best.shape, generator=generator, device=device)
            swap = torch.rand(best.shape, generator=generator, device=device)
            best = torch.where(
                (swap < self.config.epsilon).to(best.device), random.to(best.device), best
            )
        return one_hot(best, self.action_size)

    def values(self, obs: Tensor) -> Tensor:
        """``(...)`` estimated return from observations ``(..., D)`` on, acting without draws."""
        flat = obs.reshape(-1, obs.shape[-1])
        if self.discrete:
            found = self.policy.q_net(flat).amax(-1)
        else:
            found = torch.cat(self.policy.critic(flat, self.act(flat)), -1).amin(-1)
        return found.reshape(obs.shape[:-1])

    def proposed(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        """What a search starts from: mean and std of actions, or probabilities and zeros."""
        if self.discrete:
            greedy = self.act(obs) * (1.0 - self.config.epsilon)
            return greedy + self.config.epsilon / self.action_size, torch.zeros_like(greedy)
        mean, log_std, _ = self.policy.actor.get_action_dist_params(obs)
        mean = torch.tanh(mean)
        # To first order around the mean, which the tangent flattens.
        return mean, log_std.exp() * (1.0 - mean.square()) + 1e-3


__all__ = ["BoundedDQN", "ModelFree", "ModelFreeConfig"]
