"""Settings of DreamerV2; the defaults are those for Atari, but for its tanh of rewards."""

from __future__ import annotations

from dataclasses import dataclass

from mbrl_agents.nn.pixels import check_rare
from mbrl_agents.training.settings import TrainingSettings

REWARDS = ("identity", "sign", "tanh")
GRADIENTS = ("auto", "reinforce", "dynamics", "both")


@dataclass(frozen=True)
class DreamerV2Config:
    """Settings of `DreamerV2Model`.

    Attributes:
        deter: units of the recurrent state ``h``.
        hidden: width of the layers around it.
        stoch, classes: number of categoricals in ``z``, and of the classes of each.
        depth: channels of the first convolution; each further one has twice as many.
        units, layers: width and number of hidden layers of the heads and of the perceptrons that
            read and predict vectors.
        activation: of all layers but the recurrent one, see `mbrl_agents.nn.dense.ACTIVATIONS`.
        kl_balance: share of the KL that trains the prior; the rest trains the posterior.
        kl_scale, image_scale, vector_scale, reward_scale, discount_scale: weights of the losses.
            Images and vectors are predicted with unit variance: what varies little, such as an
            angle in radians, needs a larger weight to count, or `normalise`.
        rare: share of a pixel's weight in the loss of images that is in proportion to how far it is
            from the mean image of the batch (`mbrl_agents.nn.pixels.rare_pixels`), which is what
            shows small objects early.  Not part of the original.
        free_nats: a KL below this, averaged over the batch, is not trained.
        normalise: whether vectors are divided by their std in the steps recorded before training,
            less their mean, before anything else.  Not part of the original.
        reward: what is learned in place of a reward r: "identity" r, "sign" or "tanh" of it.
        predict_discount: whether ends of episodes are predicted; without, no episode ends in
            imagination.
        discount: of rewards, per control step; the discount head learns it where episodes go on.
    """

    deter: int = 600
    hidden: int = 600
    stoch: int = 32
    classes: int = 32
    depth: int = 48
    units: int = 400
    layers: int = 4
    activation: str = "elu"
    kl_balance: float = 0.8
    kl_scale: float = 0.1
    image_scale: float = 1.0
    vector_scale: float = 1.0
    reward_scale: float = 1.0
    discount_scale: float = 5.0
    rare: float = 0.0
    free_nats: float = 0.0
    normalise: bool = False
    reward: str = "identity"
    predict_discount: bool = True
    discount: float = 0.999

    def __post_init__(self) -> None:
        for name in ("deter", "hidden", "stoch", "depth", "units"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.classes < 2:
            raise ValueError(f"classes must be at least 2, got {self.classes}")
        if self.layers < 0:
            raise ValueError(f"layers must not be negative, got {self.layers}")
        if not 0 <= self.kl_balance <= 1:
            raise ValueError(f"kl_balance must lie in [0, 1], got {self.kl_balance}")
        for name in ("kl", "image", "vector", "reward", "discount"):
            if getattr(self, f"{name}_scale") < 0:
                raise ValueError(
                    f"{name}_scale must not be negative, got {getattr(self, f'{name}_scale')}"
                )
        check_rare(self.rare)
        if self.free_nats < 0:
            raise ValueError(f"free_nats must not be negative, got {self.free_nats}")
        if self.reward not in REWARDS:
            raise ValueError(f"reward must be one of {', '.join(REWARDS)}, got {self.reward!r}")
        if not 0 < self.discount < 1:
            raise ValueError(f"discount must lie in (0, 1), got {self.discount}")


@dataclass(frozen=True)
class ActorCriticConfig:
    """Settings of actor and critic, and of how they learn in imagination.

    Attributes:
        units, layers: width and number of hidden layers of actor and critic.
        activation: of those layers.
        min_std: least standard deviation of continuous actions, in normalised action units.
        gradient: where the actor's gradient comes from: "reinforce" the score function,
            "dynamics" backpropagation through the world model, "both" a mix; "auto" takes
            "reinforce" for discrete and "dynamics" for continuous actions, as in the paper.
        gradient_mix: share of the dynamics in "both".
        entropy: weight of the policy's entropy, per nat.
        horizon: steps imagined from a state; the last of them teaches the actor nothing.
        starts: states of a batch to imagine from, drawn anew for each; 0 takes all.  Imagination
            is most of the cost of small models, and neighbouring states teach much the same.
        lambda_: mixes one-step and longer returns.
        target_every: updates between copies of the critic into the target critic.
    """

    units: int = 400
    layers: int = 4
    activation: str = "elu"
    min_std: float = 0.1
    gradient: str = "auto"
    gradient_mix: float = 0.1
    entropy: float = 1e-3
    horizon: int = 15
    starts: int = 0
    lambda_: float = 0.95
    target_every: int = 100

    def __post_init__(self) -> None:
        if self.units < 1 or self.target_every < 1:
            raise ValueError(
                f"units and target_every must be at least 1, got {self.units}, {self.target_every}"
            )
        if self.layers < 0:
            raise ValueError(f"layers must not be negative, got {self.layers}")
        if self.min_std <= 0:
            raise ValueError(f"min_std must be positive, got {self.min_std}")
        if self.gradient not in GRADIENTS:
            raise ValueError(
                f"gradient must be one of {', '.join(GRADIENTS)}, got {self.gradient!r}"
            )
        for name in ("gradient_mix", "lambda_"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in [0, 1], got {getattr(self, name)}")
        if self.entropy < 0:
            raise ValueError(f"entropy must not be negative, got {self.entropy}")
        if self.horizon < 2:
            raise ValueError(f"horizon must be at least 2, got {self.horizon}")
        if self.starts < 0:
            raise ValueError(f"starts must not be negative, got {self.starts}")


@dataclass(frozen=True)
class DreamerV2TrainingConfig(TrainingSettings):
    """Settings of training; ``learning_rate`` is the world model's.

    Attributes:
        actor_learning_rate, critic_learning_rate: of the other two optimisers.
        epsilon: of all three, Adam's.
        clip: bound on the norm of a module's gradient.
        weight_decay: share of every weight that an update removes, independent of the learning
            rate.
        batch_size, sequence_length: sequences of an update, and steps of each.
        train_every: environment steps between turns of training in ``learn``.
        updates_per_turn: of each turn.
        pretrain: updates of the first turn, when ``random_steps`` have been taken.
        updates: of an offline ``fit``.
        decay_updates: updates over which all learning rates fall linearly to a twentieth; 0 keeps
            them.  Not part of the original.
    """

    learning_rate: float = 2e-4
    actor_learning_rate: float = 4e-5
    critic_learning_rate: float = 1e-4
    epsilon: float = 1e-5
    clip: float = 100.0
    weight_decay: float = 1e-6
    batch_size: int = 16
    sequence_length: int = 50
    train_every: int = 16
    updates_per_turn: float = 1.0
    pretrain: int = 1
    updates: int = 10_000
    decay_updates: int = 0
    random_steps: int = 50_000
    replay_size: int = 2_000_000

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("batch_size", "train_every", "pretrain", "updates"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.sequence_length < 2:
            raise ValueError(f"sequence_length must be at least 2, got {self.sequence_length}")
        for name in ("learning_rate", "actor_learning_rate", "critic_learning_rate", "epsilon"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        for name in ("clip", "updates_per_turn"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if self.decay_updates < 0:
            raise ValueError(f"decay_updates must not be negative, got {self.decay_updates}")
        if not 0 <= self.weight_decay < 1:
            raise ValueError(f"weight_decay must lie in [0, 1), got {self.weight_decay}")


__all__ = ["ActorCriticConfig", "DreamerV2Config", "DreamerV2TrainingConfig"]
