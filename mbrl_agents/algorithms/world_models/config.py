"""Settings of World Models; the defaults suit a CPU, presets are the published ones."""

from __future__ import annotations

from dataclasses import dataclass

from mbrl_agents.training.settings import TrainingSettings

VISIONS = ("auto", "valid", "same")
INPUTS = ("zh", "z")
TRACKS = ("common", "halves")


def _at_least(config: object, least: float, *names: str) -> None:
    for name in names:
        if getattr(config, name) < least:
            raise ValueError(f"{name} must be at least {least}, got {getattr(config, name)}")


@dataclass(frozen=True)
class WorldModelsConfig:
    """Settings of `WorldModelsModel`: what sees (V) and what remembers (M).

    Attributes:
        latent: size of ``z``.
        depth: channels of the first convolution; each further one has twice as many.
        vision: "valid" the paper's convolutions without padding, for images of 64 x 64 pixels;
            "same" those with padding 1, which halve any size that is a multiple of 16; "auto" the
            first for 64 x 64 and the second for others.
        free_nats: a KL of a sample below this is not trained.
        hidden: units of the LSTM.
        mixtures: Gaussians of a mixture.
        shared: whether one set of weights mixes vectors ``z`` rather than a set per dimension.
        heads: whether reward and end are predicted; planning and dreaming controllers need them.
        biases: 1 or 2 biases of the LSTM's gates; one is that of the authors' code.
        log_std_floor: least logarithm of a Gaussian's standard deviation.
        reward_scale, end_scale: weights of the heads' losses.
    """

    latent: int = 32
    depth: int = 32
    vision: str = "auto"
    free_nats: float = 16.0
    hidden: int = 256
    mixtures: int = 5
    shared: bool = False
    heads: bool = True
    biases: int = 2
    log_std_floor: float = -5.0
    reward_scale: float = 1.0
    end_scale: float = 1.0

    def __post_init__(self) -> None:
        _at_least(self, 1, "latent", "depth", "hidden", "mixtures")
        _at_least(self, 0, "free_nats", "reward_scale", "end_scale")
        if self.vision not in VISIONS:
            raise ValueError(f"vision must be one of {', '.join(VISIONS)}, got {self.vision!r}")
        if self.biases not in (1, 2):
            raise ValueError(f"biases must be 1 or 2, got {self.biases}")


@dataclass(frozen=True)
class ControllerConfig:
    """Settings of the linear controller (C) and of the search for it.

    Attributes:
        inputs: "zh" reads ``z`` and the LSTM's ``h``, "z" the present image alone.
        one_sided: dimensions of a Box whose lower half the controller's negative outputs all mean,
            such as CarRacing's brake: there, none.
        dream: whether candidates act in the world model instead of in the environment.
        temperature: of the mixture that a dream is drawn from.
        dream_steps: of an episode in a dream at most.
        generations: of the search.
        population: candidates of a generation.
        episodes: of each candidate.
        tracks: which episodes candidates share: "common" all the same, "halves" the authors' way:
            the first half of the population has an episode in common with the second.
        sigma: standard deviation of the first generation.
        h_scale: that of the parameters that read the LSTM's ``h``, in units of ``sigma``.  They
            are most of all, and with 1 their noise hides what ``z`` is worth from a small
            population.
        l2: penalty on the mean square of the parameters, in units of the return.
        evaluate_every: generations between evaluations of the distribution's mean; the last
            generation's is always evaluated.
        evaluate_episodes: of each, on episodes that no candidate had; the controller that did
            best is kept.
        max_steps: at which an episode of the search is cut off; 0 leaves it to the environment.
        patience: steps without a reward above zero after which an episode of the search is given
            up; what is left of ``max_steps`` counts as if it went on like that.  0 gives up none.
        diagonal: whether the distribution's covariance stays diagonal, which adapts it sooner
            (Ros and Hansen 2008, sep-CMA-ES).
    """

    inputs: str = "zh"
    one_sided: tuple[int, ...] = ()
    dream: bool = False
    temperature: float = 1.0
    dream_steps: int = 1000
    generations: int = 50
    population: int = 16
    episodes: int = 4
    tracks: str = "common"
    sigma: float = 0.1
    h_scale: float = 1.0
    l2: float = 0.01
    evaluate_every: int = 5
    evaluate_episodes: int = 8
    max_steps: int = 0
    patience: int = 0
    diagonal: bool = False

    def __post_init__(self) -> None:
        if self.inputs not in INPUTS:
            raise ValueError(f"inputs must be one of {', '.join(INPUTS)}, got {self.inputs!r}")
        if self.tracks not in TRACKS:
            raise ValueError(f"tracks must be one of {', '.join(TRACKS)}, got {self.tracks!r}")
        _at_least(self, 2, "population")
        _at_least(
            self, 1, "dream_steps", "generations", "episodes", "evaluate_every", "evaluate_episodes"
        )
        _at_least(self, 0, "l2", "max_steps", "patience")
        if self.patience and not self.max_steps:
            raise ValueError(
                "patience counts what is left of an episode, so max_steps must say how long one is"
            )
        if self.tracks == "halves" and self.population % 2:
            raise ValueError(f"tracks='halves' needs an even population, got {self.population}")
        for name in ("sigma", "h_scale", "temperature"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")


@dataclass(frozen=True)
class WorldModelsTrainingConfig(TrainingSettings):
    """Settings of the phases; ``learning_rate`` and ``batch_size`` are those of V.

    Attributes:
        rollouts: random episodes that the first phase gathers; recorded ones given to ``fit``
            count.
        rollout_batch: of them, how many between checkpoints.
        rollout_steps: at which such an episode is cut off; 0 leaves it to the environment.
        correlation: of a random action with the one before: a step of Brownian motion has a
            standard deviation of ``sqrt(1 - correlation)`` in normalised units, and a discrete
            action is kept with this probability.
        vision_updates: gradient steps of V.
        encode_parts: parts in which recorded images are encoded, with a checkpoint between any two.
        memory_updates: gradient steps of M.
        memory_learning_rate, memory_batch_size, sequence_length: of M; a sequence has this many
            transitions, fewer where an episode is shorter.
        clip: bound on M's gradient.
        clip_by: "value" of every entry or "norm" of the whole.
        learn_every, learn_vision, learn_memory, learn_generations: in ``learn``, environment steps
            between turns of training after the first, and updates of each such turn.
    """

    learning_rate: float = 1e-3
    batch_size: int = 32
    memory_learning_rate: float = 1e-3
    memory_batch_size: int = 32
    sequence_length: int = 32
    rollouts: int = 100
    rollout_batch: int = 4
    rollout_steps: int = 0
    correlation: float = 0.98
    vision_updates: int = 3000
    encode_parts: int = 20
    memory_updates: int = 2000
    clip: float = 1.0
    clip_by: str = "norm"
    random_steps: int = 10_000
    learn_every: int = 10_000
    learn_vision: int = 500
    learn_memory: int = 500
    learn_generations: int = 5
    log_every: int = 100
    checkpoint_every: int = 250
    replay_size: int = 1_000_000

    def __post_init__(self) -> None:
        super().__post_init__()
        _at_least(
            self, 1, "memory_batch_size", "rollouts", "rollout_batch", "vision_updates",
            "encode_parts", "memory_updates", "learn_every", "learn_vision", "learn_memory",
            "learn_generations",
        )  # fmt: skip
        _at_least(self, 0, "rollout_steps")
        if min(self.learning_rate, self.memory_learning_rate, self.clip) <= 0:
            raise ValueError("learning rates and clip must be positive")
        if not 0 <= self.correlation < 1:
            raise ValueError(f"correlation must lie in [0, 1), got {self.correlation}")
        if self.clip_by not in ("value", "norm"):
            raise ValueError(f"clip_by must be 'value' or 'norm', got {self.clip_by!r}")


__all__ = ["ControllerConfig", "WorldModelsConfig", "WorldModelsTrainingConfig"]
