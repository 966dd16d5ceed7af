"""Settings of Dreamer-Lite; sizes, horizon, batch and rate are those of its document."""

from __future__ import annotations

from dataclasses import dataclass

from mbrl_agents.training.settings import TrainingSettings


@dataclass(frozen=True)
class DreamerLiteConfig:
    """Settings of `DreamerLiteModel`.

    Attributes:
        latent: size of ``z``.
        hidden: width of the two hidden layers of every network.
        min_std: least standard deviation of latents.
        kl_scale, decode_scale, reward_scale, end_scale: weights of the losses.
        normalise: whether observations and rewards are normalised by the first steps recorded.
    """

    latent: int = 32
    hidden: int = 128
    min_std: float = 0.01
    kl_scale: float = 0.01
    decode_scale: float = 1.0
    reward_scale: float = 1.0
    end_scale: float = 1.0
    normalise: bool = True

    def __post_init__(self) -> None:
        for name in ("latent", "hidden"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.min_std <= 0:
            raise ValueError(f"min_std must be positive, got {self.min_std}")
        for name in ("kl_scale", "decode_scale", "reward_scale", "end_scale"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")


@dataclass(frozen=True)
class ActorCriticConfig:
    """Settings of actor and critic, and of how they learn.

    Attributes:
        units: width of their two hidden layers.
        horizon: steps imagined from a state.
        starts: states of a batch to imagine from, drawn anew for each.
        discount: of rewards, per control step.
        lambda_: mixes one-step and longer returns.
        entropy: weight of the policy's entropy, per nat and mean size of an imagined advantage.
        min_std, max_std: bounds on the standard deviation of continuous actions, before they are
            squashed.
        slow_rate: share by which the target critic follows at every update.
        real_weight: share of the actor's loss that comes from real states and the replay agent's
            values; 0 learns in imagination alone, 1 from real data alone, and then nothing
            trains the critic.
    """

    units: int = 128
    horizon: int = 15
    starts: int = 64
    discount: float = 0.99
    lambda_: float = 0.95
    entropy: float = 0.02
    min_std: float = 0.1
    max_std: float = 1.0
    slow_rate: float = 0.02
    real_weight: float = 0.1

    def __post_init__(self) -> None:
        for name in ("units", "horizon", "starts"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 < self.discount < 1:
            raise ValueError(f"discount must lie in (0, 1), got {self.discount}")
        for name in ("lambda_", "slow_rate", "real_weight"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in [0, 1], got {getattr(self, name)}")
        if self.entropy < 0:
            raise ValueError(f"entropy must not be negative, got {self.entropy}")
        if not 0 < self.min_std < self.max_std:
            raise ValueError(
                f"min_std must lie between 0 and max_std, {self.max_std}, got {self.min_std}"
            )


@dataclass(frozen=True)
class DreamerLiteTrainingConfig(TrainingSettings):
    """Settings of training; ``learning_rate`` is the world model's.

    Attributes:
        actor_learning_rate, critic_learning_rate: of those two.
        sequence_length: observations that the model predicts from the first of them alone.
        clip: bound on the norm of a module's gradient.
        updates_per_step: for each environment step, of everything.
        pretrain: updates of the first turn, when ``random_steps`` have been taken.
        updates: of an offline ``fit``.
    """

    learning_rate: float = 1e-3
    actor_learning_rate: float = 3e-4
    critic_learning_rate: float = 1e-3
    batch_size: int = 64
    sequence_length: int = 8
    clip: float = 10.0
    random_steps: int = 250
    updates_per_step: float = 2.0
    pretrain: int = 300
    updates: int = 2000
    replay_size: int = 100_000
    log_every: int = 250
    checkpoint_every: int = 1000

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sequence_length < 2:
            raise ValueError(f"sequence_length must be at least 2, got {self.sequence_length}")
        for name in ("pretrain", "updates"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in (
            "learning_rate", "actor_learning_rate", "critic_learning_rate", "clip",
            "updates_per_step",
        ):  # fmt: skip
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")


__all__ = ["ActorCriticConfig", "DreamerLiteConfig", "DreamerLiteTrainingConfig"]
