"""Settings of IRIS; the defaults are those for Atari games within 100,000 steps."""

from __future__ import annotations

from dataclasses import dataclass

from mbrl_agents.nn.pixels import check_rare
from mbrl_agents.training.settings import TrainingSettings


@dataclass(frozen=True)
class IrisConfig:
    """Settings of `IrisModel`: the tokenizer, and the transformer over its tokens.

    Attributes:
        channels: of every layer of the tokenizer, even.
        levels: sizes that an image passes through; each is half of the one before, and the last is
            the grid of tokens: 64 pixels become 4 x 4 tokens in five levels.
        residual_blocks: at each level of the encoder; the decoder has one more.
        attention: heights, in cells, of the levels whose blocks are followed by self-attention.
        codes, code_size: entries of the codebook, and the size of each.
        commitment: weight of the loss that draws the encoder to its codes.
        squared: weight of the squared error of pixels beside the absolute one.  Not part of the
            original, whose perceptual loss does more: an absolute error alone takes long to see
            what fills a hundredth of an image.
        rare: share of a pixel's weight in those errors that is in proportion to how far the image
            is there from the mean image of its batch; the rest is the same for all pixels.  Not
            part of the original either: what is small and always elsewhere, such as a ball, is lost
            in the mean of all pixels, and a background that never changes needs no updates.
        layers, heads, width: of the transformer.
        dropout: share of the transformer's activations that is left out while it is trained.
        window: observations, each with the action after it, that the transformer sees at once.
            What goes on longer goes on from its last observation alone.
        context: of the observations before, how many imagination begins with; 1 begins with the
            last alone, as the authors do.
    """

    channels: int = 64
    levels: int = 5
    residual_blocks: int = 2
    attention: tuple[int, ...] = (16, 8)
    codes: int = 512
    code_size: int = 512
    commitment: float = 1.0
    squared: float = 0.0
    rare: float = 0.0
    layers: int = 10
    heads: int = 4
    width: int = 256
    dropout: float = 0.1
    window: int = 20
    context: int = 1

    def __post_init__(self) -> None:
        for name in (
            "levels", "residual_blocks", "code_size", "layers", "heads", "width", "window",
            "context",
        ):  # fmt: skip
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.channels < 2 or self.channels % 2:
            raise ValueError(f"channels must be an even number, got {self.channels}")
        if self.codes < 2:
            raise ValueError(f"codes must be at least 2, got {self.codes}")
        for name in ("commitment", "squared"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        check_rare(self.rare)
        if self.width % self.heads:
            raise ValueError(
                f"width must be a multiple of heads, got {self.width} and {self.heads} heads"
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1), got {self.dropout}")
        if self.context > self.window:
            raise ValueError(
                f"context must be at most window, got {self.context} and {self.window}"
            )


@dataclass(frozen=True)
class ActorCriticConfig:
    """Settings of actor and critic, and of how they learn in imagination.

    Attributes:
        convolutions: channels of the convolutions, each of which halves the image.
        units: of the LSTM.
        horizon: steps imagined from a state.
        burn_in: observations before it that the LSTM has seen when imagination begins.
        discount: of rewards, per control step.
        lambda_: mixes one-step and longer returns.
        entropy: weight of the policy's entropy, per nat.
        past_end: whether what is imagined after the end of an episode is learned from as well, as
            the authors do.
        epsilon: share of random actions while experience is gathered.
        temperature: of actions that are drawn elsewhere; of continuous ones a factor of the std.
        min_std: least standard deviation of continuous actions before they are squashed.
    """

    convolutions: tuple[int, ...] = (32, 32, 64, 64)
    units: int = 512
    horizon: int = 20
    burn_in: int = 20
    discount: float = 0.995
    lambda_: float = 0.95
    entropy: float = 1e-3
    past_end: bool = True
    epsilon: float = 0.01
    temperature: float = 0.5
    min_std: float = 0.1

    def __post_init__(self) -> None:
        if not self.convolutions or min(self.convolutions) < 1:
            raise ValueError(f"convolutions must name channels, got {self.convolutions}")
        if self.units < 1:
            raise ValueError(f"units must be at least 1, got {self.units}")
        if self.horizon < 2:
            raise ValueError(f"horizon must be at least 2, got {self.horizon}")
        for name in ("burn_in", "entropy"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        if not 0 < self.discount < 1:
            raise ValueError(f"discount must lie in (0, 1), got {self.discount}")
        for name in ("lambda_", "epsilon"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in [0, 1], got {getattr(self, name)}")
        for name in ("temperature", "min_std"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")


@dataclass(frozen=True)
class IrisTrainingConfig(TrainingSettings):
    """Settings of training; ``learning_rate`` is that of transformer, actor and critic.

    Three phases begin one after another: each has its first turn after its ``start`` environment
    steps, and another every ``train_every``.

    Attributes:
        tokenizer_learning_rate: the tokenizer's.
        weight_decay: of the transformer's matrices.
        clip: bound on the norm of a part's gradient.
        batch_size, sequence_length: sequences of an update of the transformer, and observations of
            each.
        tokenizer_batch_size: images of an update of the tokenizer.
        actor_critic_batch_size: states that an update of actor and critic imagines from.
        tokenizer_start, world_model_start, actor_critic_start: environment steps before the first
            turn of each phase.
        train_every: environment steps between turns in ``learn``.
        tokenizer_updates, world_model_updates, actor_critic_updates: of each turn.
        updates: of each phase in an offline ``fit``.
    """

    learning_rate: float = 1e-4
    tokenizer_learning_rate: float = 1e-4
    weight_decay: float = 0.01
    clip: float = 10.0
    batch_size: int = 64
    sequence_length: int = 20
    tokenizer_batch_size: int = 256
    actor_critic_batch_size: int = 64
    tokenizer_start: int = 1000
    world_model_start: int = 5000
    actor_critic_start: int = 10_000
    train_every: int = 200
    tokenizer_updates: float = 200.0
    world_model_updates: float = 200.0
    actor_critic_updates: float = 200.0
    updates: int = 20_000
    random_steps: int = 10_000
    replay_size: int = 200_000

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("tokenizer_batch_size", "actor_critic_batch_size", "train_every", "updates"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in (
            "learning_rate", "tokenizer_learning_rate", "clip", "tokenizer_updates",
            "world_model_updates", "actor_critic_updates",
        ):  # fmt: skip
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if self.sequence_length < 2:
            raise ValueError(f"sequence_length must be at least 2, got {self.sequence_length}")
        if self.weight_decay < 0:
            raise ValueError(f"weight_decay must not be negative, got {self.weight_decay}")
        starts = (self.tokenizer_start, self.world_model_start, self.actor_critic_start)
        if starts[0] < 0 or list(starts) != sorted(starts):
            raise ValueError(
                "tokenizer_start, world_model_start and actor_critic_start must not be negative "
                f"and must not fall, got {starts}: each learns from what the one before learned"
            )


__all__ = ["ActorCriticConfig", "IrisConfig", "IrisTrainingConfig"]
