"""Settings of DreamerV1; the defaults are those of the authors' code for the DM Control Suite."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mbrl_agents.nn.dense import ACTIVATIONS
from mbrl_agents.nn.pixels import check_rare
from mbrl_agents.protocols import Schedule
from mbrl_agents.training.settings import TrainingSettings


@dataclass(frozen=True)
class DreamerV1Config:
    """Settings of the world model.

    Attributes:
        deter: size of the deterministic state, the GRU's.
        stoch: size of the Gaussian stochastic state.
        hidden: width of the layers inside the RSSM.
        min_std: what is added to the softplus of a stochastic state's std.
        depth: channels of the first convolution, see `mbrl_agents.nn.vision`.
        image_activation: of convolutions.
        activation: of everything else.
        units: width of the heads and of the vectors' perceptrons.
        vector_layers: hidden layers of the vectors' perceptrons, in encoder and decoder.
        reward_layers, continue_layers: hidden layers of the heads.
        continue_head: learn when episodes end; needed where the reward alone does not tell.
        continue_weight: of the continue head's log-likelihood.
        free_nats: the KL divergence, averaged over a batch, counts as at least so much.
        kl_weight: of the KL divergence.
        discount: of rewards per step, in (0, 1]; the continue head learns it times the
            probability that the episode goes on.
        vector_weight: of the vectors' log-likelihood; that of Normals whose variance is one over
            it.  Images and rewards are Normals of unit variance.
        rare: share of a pixel's weight in the loss of images that is in proportion to how far it is
            from the mean image of the batch (`mbrl_agents.nn.pixels.rare_pixels`), which is what
            shows small objects early.  Not part of the original.
        reward_scale: factor on rewards before the model learns them.  Predictions that leave the
            algorithm are divided by it.
    """

    deter: int = 200
    stoch: int = 30
    hidden: int = 200
    min_std: float = 0.1
    depth: int = 32
    image_activation: str = "relu"
    activation: str = "elu"
    units: int = 400
    vector_layers: int = 3
    reward_layers: int = 2
    continue_layers: int = 3
    continue_head: bool = False
    continue_weight: float = 10.0
    free_nats: float = 3.0
    kl_weight: float = 1.0
    discount: float = 0.99
    vector_weight: float = 1.0
    rare: float = 0.0
    reward_scale: float = 1.0

    def __post_init__(self) -> None:
        _at_least(self, 1, "deter", "stoch", "hidden", "depth", "units")
        _at_least(self, 0, "vector_layers", "reward_layers", "continue_layers")
        _at_least(self, 0, "continue_weight", "free_nats", "kl_weight", "vector_weight")
        _positive(self, "min_std", "reward_scale")
        check_rare(self.rare)
        if not 0 < self.discount <= 1:
            raise ValueError(f"discount must lie in (0, 1], got {self.discount}")
        for name in ("image_activation", "activation"):
            if getattr(self, name) not in ACTIVATIONS:
                raise ValueError(
                    f"{name} must be one of {sorted(ACTIVATIONS)}, got {getattr(self, name)!r}"
                )


@dataclass(frozen=True)
class ActorCriticConfig:
    """Settings of actor and critic and of learning them on imagined trajectories.

    Attributes:
        units: width of both networks' layers.
        actor_layers, critic_layers: hidden layers.
        activation: of both networks.
        init_std: std of the actor's Normal before its tanh, at the beginning.
        min_std: what is added to that std.
        mean_scale: the Normal's mean lies within plus and minus this.
        mode_samples: draws among which the most likely stands for the actor's mode.
        explore_std: std of the noise added to continuous actions while experience is gathered.
        explore_share: share of random actions then, where they are discrete.
        horizon: steps imagined from every state of a batch.
        lambda_: mixes one-step and longer returns, in [0, 1].
        entropy: reward that a nat of the imagined actions' entropy is worth; the paper has none.
    """

    units: int = 400
    actor_layers: int = 4
    critic_layers: int = 3
    activation: str = "elu"
    init_std: float = 5.0
    min_std: float = 1e-4
    mean_scale: float = 5.0
    mode_samples: int = 100
    explore_std: float = 0.3
    explore_share: float = 0.1
    horizon: int = 15
    lambda_: float = 0.95
    entropy: float = 0.0

    def __post_init__(self) -> None:
        _at_least(self, 1, "units", "mode_samples")
        _at_least(self, 0, "actor_layers", "critic_layers", "explore_std", "entropy")
        _positive(self, "init_std", "min_std", "mean_scale")
        if self.horizon < 2:
            raise ValueError(f"horizon must be at least 2, got {self.horizon}")
        for name in ("lambda_", "explore_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in [0, 1], got {getattr(self, name)}")
        if self.activation not in ACTIVATIONS:
            raise ValueError(
                f"activation must be one of {sorted(ACTIVATIONS)}, got {self.activation!r}"
            )


@dataclass(frozen=True)
class DreamerV1TrainingConfig(TrainingSettings):
    """Settings of training.

    The authors count frames and repeat every action twice: 100 updates every 1,000 frames after
    5,000 random ones are 100 updates every 500 environment steps after 2,500.

    Attributes:
        learning_rate: of the world model.
        actor_learning_rate, critic_learning_rate: of the others.
        clip: largest global norm of each of the three gradients.
        batch_size, sequence_length: of every update.
        updates: of an offline fit.
        random_steps: environment steps taken at random before the actor acts.
        learning_starts: environment steps before the first update.
        train_every: environment steps between turns of training.
        updates_per_step: updates for every environment step, made up for at each turn.
        first_updates: of the first turn; 0 makes it like the others.
    """

    learning_rate: float = 6e-4
    actor_learning_rate: float = 8e-5
    critic_learning_rate: float = 8e-5
    clip: float = 100.0
    batch_size: int = 50
    sequence_length: int = 50
    updates: int = 100_000
    random_steps: int = 2500
    learning_starts: int = 2500
    train_every: int = 500
    updates_per_step: float = 0.2
    first_updates: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        _at_least(self, 1, "batch_size", "updates", "train_every")
        _at_least(self, 2, "sequence_length")
        _at_least(self, 0, "actor_learning_rate", "critic_learning_rate")
        _at_least(self, 0, "learning_starts", "first_updates")
        _positive(self, "clip", "updates_per_step")

    @property
    def schedule(self) -> Schedule:
        """When an update is due."""
        return Schedule(
            self.updates,
            start=max(self.random_steps, self.learning_starts),
            every=self.train_every,
            per_turn=self.updates_per_step * self.train_every,
            first=self.first_updates or None,
        )


def _at_least(config: Any, least: int, *names: str) -> None:
    for name in names:
        if getattr(config, name) < least:
            raise ValueError(f"{name} must be at least {least}, got {getattr(config, name)}")


def _positive(config: Any, *names: str) -> None:
    for name in names:
        if getattr(config, name) <= 0:
            raise ValueError(f"{name} must be positive, got {getattr(config, name)}")


__all__ = ["ActorCriticConfig", "DreamerV1Config", "DreamerV1TrainingConfig"]
