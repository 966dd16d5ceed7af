"""A run of the dreamer method through the calls behind the command line."""

from __future__ import annotations

import pytest

from mbrl_agents.agents.agent import Agent
from mbrl_agents.agents.saving import CHECKPOINT
from mbrl_agents.runs.loading import load_run
from mbrl_agents.runs.spec import RunSpec
from mbrl_agents.runs.training import train_run

TINY = (
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


def test_it_trains_from_its_own_steps_and_is_found_again(tmp_path):
    spec = RunSpec("dreamer", "toy_reach:ToyReach-v0", overrides=TINY, steps=120)
    info = train_run(spec, tmp_path)
    assert info.env_steps == 120
    assert info.parameters["world_model"] > 0
    assert info.parameters["actor_critic"] > 0
    assert (tmp_path / CHECKPOINT).is_file()
    assert train_run(spec, tmp_path).train_seconds == info.train_seconds
    agent = load_run(tmp_path)
    assert isinstance(agent, Agent)
    assert agent.config.world_model.width("deter") == 32
    with pytest.raises(ValueError, match="episodes to learn from or environment steps"):
        train_run(RunSpec("dreamer", "toy_reach:ToyReach-v0"), tmp_path / "none")
