"""Files of an earlier version are refused with a sentence that says what to do."""

from __future__ import annotations

import json

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


class TestSettingsDecide:
    """A run is read wherever its files and settings are known, whichever version wrote them."""

    def test_a_run_of_the_version_before_is_read(self, tmp_path):
        agent().save_run(tmp_path)
        told = json.loads((tmp_path / "versions.json").read_text())
        (tmp_path / "versions.json").write_text(json.dumps({**told, "mbrl-agents": "0.1.0"}))
        facts = json.loads((tmp_path / "agent.json").read_text())
        for name in ("knows_success", "origin"):  # which it did not write
            del facts[name]
        (tmp_path / "agent.json").write_text(json.dumps(facts))
        again = mbrl_agents.load(tmp_path, gymnasium.make("toy_grasp:ToyGrasp-v0"))
        assert again.config == agent().config

    def test_settings_that_are_gone_are_refused_with_the_version_that_had_them(self, tmp_path):
        agent().save_run(tmp_path)
        settings = (tmp_path / "config.yaml").read_text()
        (tmp_path / "config.yaml").write_text(settings.replace("  horizon:", "  depth:"))
        (tmp_path / "versions.json").write_text('{"mbrl-agents": "0.1.0"}')
        words = r"'planner\.depth'.*the version in its versions\.json, 0\.1\.0, or train again"
        with pytest.raises(ValueError, match=words):
            mbrl_agents.load(tmp_path)
        (tmp_path / "versions.json").write_text("nothing")
        with pytest.raises(ValueError, match=r"in its versions\.json, or train again"):
            mbrl_agents.load(tmp_path)
