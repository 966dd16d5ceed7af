"""Collection and evaluation on the real simulator."""

from __future__ import annotations

import numpy as np
import pytest

from mbrl_agents.data.collect import Collection, collect
from mbrl_agents.evaluation.rollouts import evaluate
from mbrl_agents.runs.loading import ReferencePredictor

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
