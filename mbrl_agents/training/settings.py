"""Settings that every kind of training has."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TrainingSettings:
    """What the trainer and the agent read; an algorithm's own settings derive from it.

    Attributes:
        learning_rate: of the (first) optimiser.
        batch_size, sequence_length: sequences of a gradient step, and observations of each.
        random_steps: environment steps ``learn`` takes at random before the agent acts itself.
        explore_std: noise on a planner's actions in ``learn``, in normalised action units; the
            share of random ones where actions are discrete.  An algorithm that acts by a policy
            of its own has its own noise.
        replay_size: steps of own experience that are kept; pages never written take no memory.
        holdout: share of the episodes that is held out for diagnostics and keep-best.
        log_every: updates of ``fit``, and environment steps of ``learn``, between logs.
        checkpoint_every: likewise between resumable checkpoints, of which ``learn`` writes further
            ones in its first minutes.
        seed: of weights, splits, batches and what is drawn while acting.
        threads: CPU threads while training; 0 leaves torch's setting.
        compile: compile a model's steps with ``torch.compile`` while it is trained, for a GPU; the
            first gradient step then takes minutes.
    """

    learning_rate: float = 1e-3
    batch_size: int = 16
    sequence_length: int = 64
    random_steps: int = 0
    explore_std: float = 0.1
    replay_size: int = 500_000
    holdout: float = 0.0
    log_every: int = 1000
    checkpoint_every: int = 10_000
    seed: int = 0
    threads: int = 0
    compile: bool = False

    def __post_init__(self) -> None:
        for name in (
            "batch_size",
            "sequence_length",
            "replay_size",
            "log_every",
            "checkpoint_every",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("learning_rate", "random_steps", "explore_std", "threads", "seed"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        if not 0 <= self.holdout < 1:
            raise ValueError(f"holdout must lie in [0, 1), got {self.holdout}")


__all__ = ["TrainingSettings"]
