"""Learning curves: every episode once, whoever learns and however often it is interrupted."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from mbrl_agents.agents.experience import Collector
from mbrl_agents.evaluation.learning_curve import (
    CURVE_FILE,
    ActedCurve,
    CurvePoint,
    read_curve,
    smooth,
)
from mbrl_agents.runs.spec import RunSpec
from mbrl_agents.runs.training import train_run

DREAMER = (
    "world_model.deter=32",
    "world_model.hidden=16",
    "world_model.units=16",
    "world_model.stoch=4",
    "training.batch_size=4",
    "training.sequence_length=8",
    "training.learning_starts=40",
    "training.train_ratio=2",
    "training.checkpoint_every=50",
    "actor_critic.imagination=3",
)


def timeless(curve: Iterable[CurvePoint]) -> list[tuple[float, ...]]:
    """Points without wall time, which no two runs have in common."""
    return [point[:3] for point in curve]


PPO = ("baseline.n_steps=64", "baseline.batch_size=64", "baseline.n_epochs=1")


def test_every_episode_of_a_baseline_is_recorded_once(tmp_path: Path) -> None:
    train_run(RunSpec("sb3-ppo", "CartPole-v1", overrides=PPO, steps=128), tmp_path)
    curve = read_curve(tmp_path / CURVE_FILE)
    # CartPole pays 1 a step: returns, lengths and the steps between ends all agree.
    begun = [0, *(point.env_steps for point in curve[:-1])]
    assert [point.env_steps - point.length for point in curve] == begun
    assert [point.episode_return for point in curve] == [float(p.length) for p in curve]
    assert 128 - 60 < curve[-1].env_steps <= 128
    # Trained again from the beginning, the file begins again too.
    spec = RunSpec("sb3-ppo", "CartPole-v1", overrides=PPO, steps=64)
    train_run(spec, tmp_path, fresh=True)
    again = read_curve(tmp_path / CURVE_FILE)
    assert timeless(again) == timeless(point for point in curve if point.env_steps <= 64)
    seconds = [point.seconds for point in curve]
    assert seconds == sorted(seconds)
    assert seconds[0] > 0


def test_a_method_without_own_experience_has_no_curve(tmp_path: Path) -> None:
    from mbrl_agents.data.collect import Collection, collect_to_folder

    collect_to_folder(tmp_path / "data", Collection("toy_reach:ToyReach-v0", {}, episodes=2))
    spec = RunSpec(
        "simple-cem",
        "toy_reach:ToyReach-v0",
        overrides=("training.model_steps=2",),
        data=str(tmp_path / "data"),
    )
    train_run(spec, tmp_path / "run")
    assert not (tmp_path / "run" / CURVE_FILE).exists()


def test_a_resumed_run_loses_and_doubles_no_episode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = RunSpec("dreamer", "CartPole-v1", overrides=DREAMER, steps=200)
    train_run(spec, tmp_path / "whole")
    whole = read_curve(tmp_path / "whole" / CURVE_FILE)
    assert len(whole) > 3

    step, calls = Collector.step, 0

    def until_killed(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 130:
            raise KeyboardInterrupt
        return step(*arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(Collector, "step", until_killed)
        with pytest.raises(KeyboardInterrupt):
            train_run(spec, tmp_path / "parts")
    file = tmp_path / "parts" / CURVE_FILE
    before = read_curve(file)
    assert timeless(before) == timeless(whole[: len(before)])
    with file.open("a") as stream:
        stream.write("13")  # a kill in the middle of a line
    train_run(spec, tmp_path / "parts")
    assert timeless(read_curve(file)) == timeless(whole)


def test_files_that_are_no_curve_are_refused(tmp_path: Path) -> None:
    file = tmp_path / CURVE_FILE
    for text in ("", "step,loss\n1,2\n", "env_steps,return,length\n1,x,3\n"):
        file.write_text(text)
        with pytest.raises(ValueError, match="not a learning curve"):
            read_curve(file)
    file.write_text("env_steps,return,length\n5,-1.5,5\n9,2")
    assert read_curve(file) == [CurvePoint(5, -1.5, 5)]


def test_a_curve_of_an_earlier_version_is_read_without_wall_time(tmp_path: Path) -> None:
    file = tmp_path / CURVE_FILE
    file.write_text("env_steps,return,length\n5,-1.5,5\n")
    (point,) = read_curve(file)
    assert math.isnan(point.seconds)


def test_what_a_fit_meets_is_recorded_once(tmp_path: Path) -> None:
    now = iter(range(1, 9))
    curve = ActedCurve(tmp_path, lambda: float(next(now)))
    curve.add(10, 1.0, 5.0)
    curve.add(10, 9.0, 5.0)  # dreamed
    curve.add(30, 2.0, 5.4)
    assert read_curve(tmp_path / CURVE_FILE) == [(10, 1.0, 5, 1.0), (30, 2.0, 5, 2.0)]
    # Gone on with from a checkpoint after 10 steps.
    ActedCurve(tmp_path, lambda: 7.0).add(30, 2.5, 5.0)
    assert read_curve(tmp_path / CURVE_FILE) == [(10, 1.0, 5, 1.0), (30, 2.5, 5, 7.0)]


def test_smoothing_looks_back_only() -> None:
    points = [CurvePoint(10, 1.0, 10), CurvePoint(20, 3.0, 10), CurvePoint(50, 8.0, 30)]
    assert smooth(points, [10, 20, 25, 40, 50], 15) == [1.0, 2.0, 3.0, 3.0, 8.0]
    assert math.isnan(smooth(points, [5], 15)[0])
    timed = [CurvePoint(10, 1.0, 10, 2.0), CurvePoint(20, 3.0, 10, 8.0)]
    assert smooth(timed, [2, 9], 5, "seconds") == [1.0, 3.0]
