"""Collection and evaluation on the real simulator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mbrl_agents.data.collect import Collection, collect, collect_to_folder
from mbrl_agents.evaluation.rollouts import evaluate
from mbrl_agents.runs.loading import ReferencePredictor, RunPredictor
from mbrl_agents.runs.spec import RunSpec
from mbrl_agents.runs.tasks import one_at_a_time
from mbrl_agents.runs.training import train_run

pytestmark = pytest.mark.libero

ENV = "mbrl/LiberoSpatial-v0"
KWARGS = {"task": 2, "obs": "pose", "reward": "dense", "assets": "primitive"}


def test_expert_succeeds_on_official_states_with_a_dense_reward_above_one() -> None:
    records = evaluate(ReferencePredictor("expert"), ENV, KWARGS, episodes=2)
    assert [r.success for r in records] == [True, True]
    assert {(r.suite, r.task, r.assets) for r in records} == {("libero_spatial", 2, "primitive")}
    assert min(r.reward_per_step for r in records) > 1.0


def test_collected_episodes_are_the_same_in_another_process() -> None:
    spec = Collection(ENV, KWARGS, source="noisy_expert", episodes=2, seed=3)
    here, elsewhere = collect(spec), collect(spec, workers=2)
    for a, b in zip(here, elsewhere, strict=True):
        np.testing.assert_array_equal(a.observations["pose"], b.observations["pose"])
        np.testing.assert_array_equal(a.actions, b.actions)
        assert a.info == b.info
    assert here[0].info["suite"] == "libero_spatial"
    assert (here[0].observations["pose"][0] != here[1].observations["pose"][0]).any()


def test_one_model_learns_tasks_with_other_objects_and_is_tested_on_each(tmp_path: Path) -> None:
    """libero_goal: turning the stove on has one object of interest, pushing the plate has two."""
    env, kwargs = "mbrl/LiberoGoal-v0", {"obs": "pose", "assets": "primitive"}
    short = {**kwargs, "max_episode_steps": 8}
    spec = Collection(env, short, source="random", episodes=2, tasks=[5, 7])
    collect_to_folder(tmp_path / "data", spec)
    settings = ("training.model_steps=2", "planner.horizon=3")
    run = RunSpec("simple-cem", env, {**short, "task": None}, settings, data=str(tmp_path / "data"))
    assert train_run(run, tmp_path / "run").env_steps == 4 * 8
    records = evaluate(
        RunPredictor(str(tmp_path / "run")),
        env,
        one_at_a_time(run.env_kwargs),
        episodes=[48, 49],
        tasks=[5, 7],
    )
    assert [(r.task, r.init_state) for r in records] == [(5, 48), (5, 49), (7, 48), (7, 49)]
