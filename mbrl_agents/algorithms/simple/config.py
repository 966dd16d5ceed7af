"""Settings of the pose model."""

from __future__ import annotations

from dataclasses import dataclass

import torch

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class SimpleWorldModelConfig:
    """Settings of `SimpleWorldModel`.

    Attributes:
        hidden: widths of the dynamics network; imagining costs in proportion to their products.
        head_hidden: widths of the network behind steps to go.
        outcome_hidden: widths of the network behind reward and continuation.
        ensemble: members of dynamics and heads; 1 gives no disagreement.
        norm: layer normalisation in both networks.
        activation: "silu", "relu", "elu" or "tanh".
        relative: pairs of position starts in the flat observation whose differences are added to
            the features; None derives them from LIBERO's pose layout, ``[]`` adds none.
        fine: scale (in observation units, m) of a second, saturating copy of those differences,
            which resolves millimetres near contact; 0 leaves it out, and the next with it.
        fine_opening: scale in m of such a copy of the gripper's opening: 1 mm is nothing has been
            caught, 4 mm is a bowl's rim.
        wavelengths: in m, of sines and cosines of those differences: they resolve millimetres
            anywhere, which ``fine`` does near contact alone (Fourier features, Tancik et al. 2020).
        translation_invariant: hide absolute horizontal positions (of the pairs above) from the
            networks: what a gripper does to an object depends on where it is relative to it.
        std_floor, delta_floor: smallest std in the normalisation of observations, and of their
            changes in one step.
        clip: bound on normalised features.
        discount: of the value that belongs to steps to go, per control step.
        max_steps: steps to go are clipped here.
        steps_scale: control steps per unit of the head's output.
        bootstrap: whether steps to go are learned from one state to the next (temporal
            differences, to a slow copy of the head), episodes without success included; without,
            from the ends of successful episodes.
        trace: lambda of those differences, in [0, 1]: 0 looks one step ahead, 1 to the window's
            end.
        slow_rate: share of the head that its slow copy takes over in a gradient step.
        steps_expectile: in (0, 1); 0.5 fits the mean steps to go, less leans towards what went
            well from there, more towards what went badly (Kostrikov et al. 2022).
        failures_count: whether steps of episodes without success count as ``max_steps``; they
            are left out otherwise.
        pessimistic: aggregate the heads' members by the worst (most steps to go, least reward)
            rather than the mean.
        reward_weight, continue_weight, steps_weight: of the heads' losses; the dynamics' is 1.
        dtype: of the networks' weights, "float32" or "bfloat16"; states stay float32.
    """

    hidden: tuple[int, ...] = (128, 128)
    head_hidden: tuple[int, ...] = (256, 256)
    outcome_hidden: tuple[int, ...] = (64, 64)
    ensemble: int = 3
    norm: bool = True
    activation: str = "silu"
    relative: list[list[int]] | None = None
    fine: float = 0.03
    fine_opening: float = 0.005
    wavelengths: tuple[float, ...] = (0.04, 0.1, 0.25)
    translation_invariant: bool = True
    std_floor: float = 1e-2
    delta_floor: float = 1e-3
    clip: float = 10.0
    discount: float = 0.99
    max_steps: float = 300.0
    steps_scale: float = 100.0
    bootstrap: bool = True
    trace: float = 1.0
    slow_rate: float = 0.01
    steps_expectile: float = 0.3
    failures_count: bool = False
    pessimistic: bool = True
    reward_weight: float = 1.0
    continue_weight: float = 0.5
    steps_weight: float = 1.0
    dtype: str = "float32"

    def __post_init__(self) -> None:
        if self.ensemble < 1:
            raise ValueError(f"ensemble must be at least 1, got {self.ensemble}")
        if not 0 < self.discount < 1:
            raise ValueError(f"discount must lie in (0, 1), got {self.discount}")
        if not (0 <= self.trace <= 1 and 0 < self.steps_expectile < 1):
            raise ValueError(
                "trace must lie in [0, 1] and steps_expectile in (0, 1), got "
                f"{self.trace} and {self.steps_expectile}"
            )
        if any(length <= 0 for length in self.wavelengths):
            raise ValueError(f"wavelengths must be positive, got {self.wavelengths}")
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype must be one of {sorted(DTYPES)}, got {self.dtype!r}")


__all__ = ["DTYPES", "SimpleWorldModelConfig"]
