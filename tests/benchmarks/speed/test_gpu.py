"""The rows of a GPU, on a processor and at their smallest: the code path, not the speed."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from mbrl_agents.benchmarks.speed import gpu, training
from mbrl_agents.benchmarks.speed.rows import Unavailable


def test_without_a_gpu_the_rows_say_so(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for name, measure in gpu.ROWS.items():
        with pytest.raises(Unavailable, match="no GPU"):
            measure(name)


def test_rows_hold_time_share_and_rate(monkeypatch):
    for name, value in {"DEVICE": "cpu", "WARM_UP": 0, "ROUNDS": 1, "SIDE": 64}.items():
        monkeypatch.setattr(gpu, name, value)
    monkeypatch.setattr(gpu, "COMPILED", False)
    small = partial(training.gradient_step, batch=2, length=3)
    monkeypatch.setattr(gpu, "gradient_step", small)
    row = gpu.ROWS["gpu_train_1M"]("gpu_train_1M")
    assert row.ratio == pytest.approx(row.reference / row.ours)
    assert f"{1e3 / row.ours:.1f} steps/s" in row.note
    row = gpu.ROWS["gpu_plan_1M"]("gpu_plan_1M")
    assert row.reference == 50.0
    assert row.ratio == pytest.approx(50.0 / row.ours)


def test_operations_are_those_of_the_products():
    left, right = torch.randn(3, 5), torch.randn(5, 7)
    assert gpu.operations(lambda: left @ right) == 2 * 3 * 5 * 7
