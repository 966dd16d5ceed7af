"""Settings of MBPO; the defaults are for CartPole and Pendulum on a CPU."""

from __future__ import annotations

from dataclasses import dataclass

from mbrl_agents.training.settings import TrainingSettings


@dataclass(frozen=True)
class MBPOModelConfig:
    """Settings of `MBPOModel`.

    Attributes:
        members: networks of the ensemble, each with its own weights and share of the data.
        elites: how many of them, the best on held-out transitions, imagine.
        hidden: widths of the hidden layers, with swish activations.
        end_hidden: those of the networks that predict whether an episode ends.
        decay: weight decay of the first layer and of the last; between, it rises evenly.
        beta: each squared error's share of the likelihood's gradient is multiplied by the predicted
            variance to this power (Seitzer et al. 2022, arXiv:2203.09168): 0 is the likelihood,
            which gives up on what it finds hard, 1 trains means by their squared errors.
        end_weight: of a transition that ends its episode, in the loss of ends.  They are rare and
            the last before them look the same: with 1 a policy learns to leave by an edge that
            the model has hardly noticed, above 1 ends are expected sooner rather than later.
        reward_scale, end_scale: weights of the losses of reward and end beside that of the next
            observation.
    """

    members: int = 5
    elites: int = 3
    hidden: tuple[int, ...] = (128, 128)
    end_hidden: tuple[int, ...] = (64, 64)
    decay: tuple[float, float] = (2.5e-5, 1e-4)
    beta: float = 0.5
    end_weight: float = 10.0
    reward_scale: float = 1.0
    end_scale: float = 1.0

    def __post_init__(self) -> None:
        if not 1 <= self.elites <= self.members:
            raise ValueError(
                f"elites must lie in 1..members, got {self.elites} of {self.members} members"
            )
        for name in ("hidden", "end_hidden"):
            widths = getattr(self, name)
            if not widths or min(widths) < 1:
                raise ValueError(f"{name} must name widths of at least 1, got {widths}")
        if len(self.decay) != 2 or min(self.decay) < 0:
            raise ValueError(f"decay must be two numbers of at least 0, got {self.decay}")
        if self.end_weight <= 0:
            raise ValueError(f"end_weight must be positive, got {self.end_weight}")
        if not 0 <= self.beta <= 1:
            raise ValueError(f"beta must lie in [0, 1], got {self.beta}")
        for name in ("reward_scale", "end_scale"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")


@dataclass(frozen=True)
class MBPOTrainingConfig(TrainingSettings):
    """Settings of training; ``learning_rate`` and ``batch_size`` are the model's.

    Single transitions are drawn, so ``sequence_length`` has no meaning.

    Attributes:
        holdout: share of the transitions that chooses weights and elites.
        refit_every: environment steps between fits of the model.
        refit_updates, first_updates: gradient steps of each fit, and of the first.
        check_every: gradient steps between looks at held-out transitions; each member keeps the
            weights with which it did best in a fit.
        rollout_every: environment steps between sets of imagined rollouts.
        rollouts: real states that a set begins at.
        rollout_length: imagined steps from each; the last of the four numbers
            ``(from, to, begin, end)``: the length rises from ``from`` to ``to`` between ``begin``
            and ``end`` environment steps.
        n_step: steps over which imagined rewards are summed before the learner's own value takes
            over, fewer towards the end of a rollout and before an action drawn at random.  Values
            spread that much faster, since a target network has to follow for each step else.
        retained: sets of rollouts that are kept.
        real_ratio: share of real transitions in a batch of the model-free learner; with 1 there
            is neither model nor imagination, and the updates stay the same.
        updates_per_step: of the model-free learner, for each environment step.
        updates: of each phase of an offline ``fit``.
    """

    learning_rate: float = 1e-3
    batch_size: int = 256
    sequence_length: int = 2
    holdout: float = 0.2
    random_steps: int = 250
    refit_every: int = 250
    refit_updates: int = 600
    first_updates: int = 800
    check_every: int = 100
    rollout_every: int = 250
    rollouts: int = 4000
    rollout_length: tuple[int, ...] = (5, 5, 0, 1)
    n_step: int = 5
    retained: int = 2
    real_ratio: float = 0.3
    updates_per_step: float = 10.0
    updates: int = 2000
    replay_size: int = 100_000
    log_every: int = 250
    checkpoint_every: int = 1000

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in (
            "refit_every", "refit_updates", "first_updates", "check_every", "rollout_every",
            "rollouts", "n_step", "retained", "updates",
        ):  # fmt: skip
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if len(self.rollout_length) != 4 or min(self.rollout_length[:2]) < 1:
            raise ValueError(
                "rollout_length must be four whole numbers (from, to, begin, end), the first two "
                f"at least 1, got {self.rollout_length}"
            )
        if not 0 <= self.real_ratio <= 1:
            raise ValueError(f"real_ratio must lie in [0, 1], got {self.real_ratio}")
        if self.updates_per_step <= 0:
            raise ValueError(f"updates_per_step must be positive, got {self.updates_per_step}")
        if self.learning_rate <= 0:
            raise ValueError(f"learning_rate must be positive, got {self.learning_rate}")

    def length_after(self, steps: int) -> int:
        """Imagined steps of a rollout after so many environment steps."""
        low, high, begin, end = self.rollout_length
        part = min(1.0, max(0.0, (steps - begin) / max(1, end - begin)))
        return round(low + part * (high - low))


__all__ = ["MBPOModelConfig", "MBPOTrainingConfig"]
