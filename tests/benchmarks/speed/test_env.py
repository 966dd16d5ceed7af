"""The rows of the environment, at their smallest."""

from __future__ import annotations

import pytest

from mbrl_agents.benchmarks.speed import env, runner
from mbrl_agents.benchmarks.speed.rows import Unavailable

pytestmark = pytest.mark.libero


def test_the_rows_that_are_asked_for():
    assert list(env.ROWS) == [
        "pose_step_primitive",
        "pose_step_official",
        "image_step_primitive",
        "image_step_official",
        "reset_pose",
        "reset_image",
        "collect_2",
        "car_racing",
    ]


def test_steps_and_resets_are_measured_beside_liberos_own(monkeypatch):
    monkeypatch.setattr(env, "IMAGE_STEPS", 1)
    monkeypatch.setattr(env, "RESETS", 1)
    monkeypatch.setattr(env, "RESET_ROUNDS", 1)
    monkeypatch.setattr("mbrl_agents.benchmarks.speed.rows.ROUNDS", 1)
    monkeypatch.setattr(env, "_assets", primitive_only(env._assets))
    rows = runner.run_speed(only=["image_step_primitive", "reset_pose"])
    assert [row.rounds for row in rows] == [1, 1]
    assert all(row.ratio is not None and row.ratio > 0 for row in rows)
    assert "64x64 agentview, primitive" in rows[0].note


def test_collection_is_measured_once_it_runs(monkeypatch):
    """Episodes of `SETTLED` and before are start-up; workers take turns."""
    seen = []

    def collect(collection, *, workers, on_episode):
        seen.append((workers, collection.episodes, collection.source))
        for _ in range(collection.episodes):
            on_episode(None)

    monkeypatch.setattr(env, "collect", collect)
    monkeypatch.setattr(env.os, "cpu_count", lambda: 2)
    row = env.ROWS["collect_2"]("collect_2")
    assert row.rounds == env.COLLECT_ROUNDS
    assert seen == [(2, env.EPISODES, "expert"), (1, env.EPISODES, "expert")] * (
        env.COLLECT_ROUNDS + 1
    )
    monkeypatch.setattr(env.os, "cpu_count", lambda: 1)
    (row,) = runner.run_speed(only=["collect_2"])
    assert row.note == "one core only"


def primitive_only(resolve):
    def assets(kind):
        if kind == "official":
            raise Unavailable("not in this test")
        return resolve(kind)

    return assets
