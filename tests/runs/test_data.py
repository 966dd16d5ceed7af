"""The recorded episodes behind a run: of one environment and one task."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mbrl_agents.data.collect import Collection, collect_to_folder
from mbrl_agents.data.dataset import read_episodes
from mbrl_agents.runs.data import env_of_data
from mbrl_agents.runs.spec import RunSpec
from mbrl_agents.runs.training import train_run

TOY = "toy_reach:ToyReach-v0"
QUICK = ("training.model_steps=10",)


def test_a_run_is_on_one_task(tmp_path):
    data = str(tmp_path / "data")
    collect_to_folder(data, Collection(TOY, {}, episodes=3, tasks=[0, 1]))
    with pytest.raises(ValueError, match="several tasks"):
        env_of_data(data)
    assert env_of_data(data, 1)[1]["task"] == 1
    with pytest.raises(ValueError, match="several tasks"):
        train_run(RunSpec("simple-cem", TOY, overrides=QUICK, data=data), tmp_path / "run")
    spec = RunSpec("simple-cem", TOY, {"task": 1}, overrides=QUICK, data=data)
    info = train_run(spec, tmp_path / "run")
    assert info.spec.data_episodes == 3
    assert info.env_steps < sum(map(len, read_episodes(data)))
    with pytest.raises(ValueError, match="no episodes of task 7"):
        train_run(replace(spec, env_kwargs={"task": 7}), tmp_path / "other")
