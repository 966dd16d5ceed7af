"""Files of an earlier version are refused with a sentence that says what to do."""

from __future__ import annotations

import gymnasium
import pytest

import mbrl_agents
import toy_grasp


def agent():
    return mbrl_agents.make_agent("simple-cem", gymnasium.make("toy_grasp:ToyGrasp-v0"))


def test_a_run_whose_weights_lie_in_other_files(tmp_path):
    agent().save_run(tmp_path)
    (tmp_path / "world_model.safetensors").rename(tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"version 0\.1.*train again"):
        mbrl_agents.load(tmp_path)


@pytest.mark.parametrize("name", ["learn", "fit", "world_model"])
def test_an_interrupted_training_is_not_begun_anew_in_its_folder(tmp_path, name):
    (tmp_path / f"{name}.checkpoint.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match="finish it with that version"):
        agent().learn(10, folder=tmp_path)
    with pytest.raises(ValueError, match="finish it with that version"):
        agent().fit(toy_grasp.demonstrations(2), folder=tmp_path)
