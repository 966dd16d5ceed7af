"""The learning rate over a turn of fitting, and how far the weights go by it."""

from __future__ import annotations

import pytest
from torch import nn

from mbrl_agents.training.fit import FitPhase, FitSettings

PEAK, UPDATES, WARMUP = 1e-2, 200, 20


class Nothing:
    """A buffer of nothing: the loss below reads no data."""

    def split(self, holdout, seed):
        return None, None


class Falling(FitPhase):
    """A loss whose gradient never changes."""

    def compute_loss(self, data, generator):
        loss = self.module.weight.sum()
        return loss, {"loss": loss.detach()}


def phase(optimizer: str) -> Falling:
    settings = FitSettings(weight_decay=0.0)
    module = nn.Linear(3, 2, bias=False)
    nn.init.constant_(module.weight, 10.0)
    schedule = settings.schedule(UPDATES)
    return Falling(
        "test", schedule, module, settings, seed=0, learning_rate=PEAK, optimizer=optimizer
    )


def turn(phase: Falling, updates: int, *, refit: bool = False) -> tuple[list[float], list[float]]:
    """Of each update, the optimiser's learning rate and how far a weight went."""
    buffer, rates, distances = Nothing(), [], []
    phase.begin(buffer, updates, seed=0, refit=refit)
    for _ in range(updates):
        before = phase.module.weight[0, 0].item()
        phase.update(buffer)
        (group,) = phase.optimizers["all"].param_groups
        rates.append(group["lr"])
        distances.append(before - phase.module.weight[0, 0].item())
    phase.end(buffer)
    return rates, distances


@pytest.mark.parametrize("optimizer", ["adamw", "laprop"])
def test_it_rises_and_falls_to_a_twentieth(optimizer):
    rates, distances = turn(phase(optimizer), UPDATES)
    rising, falling = rates[:WARMUP], rates[WARMUP - 1 :]
    assert rates[0] == pytest.approx(PEAK / WARMUP, rel=1e-3)
    assert rising == sorted(rising)
    assert max(rates) == rates[WARMUP - 1] == pytest.approx(PEAK, rel=0.03)
    assert falling == sorted(falling, reverse=True)
    assert rates[UPDATES // 2 - 1] == pytest.approx(PEAK * (1 + 0.05) / 2)
    assert rates[-1] == pytest.approx(PEAK / 20)
    # Both optimisers go as far as the rate where the gradient is always the same.
    assert distances == pytest.approx(rates, rel=0.02)


def test_every_turn_has_its_own():
    fit = phase("adamw")
    turn(fit, UPDATES)
    rates, _ = turn(fit, 50, refit=True)
    assert rates[0] == pytest.approx(PEAK / 5, rel=1e-2)
    assert max(rates) == rates[4]
    assert rates[-1] == pytest.approx(PEAK / 20)


def test_a_long_turn_rises_for_a_hundred_updates():
    rates, _ = turn(phase("adamw"), 2000)
    assert rates.index(max(rates)) == 99
