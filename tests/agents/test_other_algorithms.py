"""An algorithm with modules, extras and phases of its own needs no agent of its own."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env

import mbrl_agents
import toy_grasp
from mbrl_agents import plugins, registry
from mbrl_agents.agents.agent import Agent
from mbrl_agents.agents.saving import CHECKPOINT
from mbrl_agents.protocols import Phase

TOY = "toy_grasp:ToyGrasp-v0"
NAME = "toy-memory"


@pytest.fixture(autouse=True)
def method():
    plugins.add_method(
        registry.AgentMethod(
            NAME,
            "remembers, and tries things out",
            algorithm="toy_algorithm:ToyAlgorithm",
            sections={"training": "toy_algorithm:ToyTraining"},
            demonstrations=False,
        )
    )
    yield
    del registry.METHODS[NAME]


@pytest.fixture(scope="module")
def episodes():
    return toy_grasp.demonstrations(3)


def fresh(n_envs: int = 1) -> Agent:
    return mbrl_agents.make_agent(NAME, make_vec_env(TOY, n_envs, seed=3))


def everything(agent: Agent) -> dict[str, object]:
    """What training has come to: weights, and what the phases go on from."""
    found = {f"weights/{k}": v for k, v in agent.policy.state_dict().items()}
    for name, phase in agent.trainer.phases.items():
        tensors, values = phase.tensors()
        found |= {f"{name}/{k}": v for k, v in tensors.items()} | {
            f"{name}/values": json.dumps(values)
        }
    return found


def check_same(left: Agent, right: Agent) -> None:
    a, b = everything(left), everything(right)
    assert a.keys() == b.keys()
    for name, value in a.items():
        same = torch.equal(value, b[name]) if torch.is_tensor(value) else value == b[name]
        assert same, name


def rows(run: Path) -> list[list[str]]:
    with (run / "training_logs.csv").open(newline="") as stream:
        return list(csv.reader(stream))


def counts(agent: Agent) -> tuple[int, int]:
    phases = agent.trainer.phases
    return phases["predict"].updates, phases["evolve"].generations


def roll(agent: Agent) -> np.ndarray:
    env, actions, state = gymnasium.make(TOY), [], None
    obs, _ = env.reset(seed=1)
    for step in range(5):
        action, state = agent.predict(obs, state, np.array([step == 0]), deterministic=True)
        obs, *_ = env.step(action)
        actions.append(action)
    return np.stack(actions)


class Stop(BaseCallback):
    """Stops like a kill would: by an exception in the middle of a step."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at

    def _on_step(self) -> bool:
        if self.num_timesteps >= self.at:
            raise KeyboardInterrupt
        return True


def stop_at(phase: str, updates: int):
    def stop(name, done, total, row):
        if (name, done) == (phase, updates):
            raise KeyboardInterrupt

    return stop


def test_its_phases_are_phases():
    assert all(isinstance(phase, Phase) for phase in fresh().algorithm.phases)


def test_it_is_trained_on_recorded_episodes_and_saved(episodes, tmp_path):
    agent = fresh()
    untrained = roll(agent)
    metrics = agent.fit(episodes, folder=tmp_path)
    assert type(agent) is Agent
    assert counts(agent) == (12, 7)
    assert metrics.keys() == {"train/predict/loss", "train/predict/known", "train/evolve/fitness"}
    assert 0 < metrics["train/predict/known"] <= 1, "goes on from memories of earlier updates"
    files = {path.name for path in tmp_path.glob("*.safetensors")}
    assert files == {"memory.safetensors", "head.safetensors", CHECKPOINT}
    assert not np.allclose(roll(agent), untrained)
    agent.save(tmp_path / "agent.zip")
    for place in (tmp_path, tmp_path / "agent.zip"):
        assert np.array_equal(roll(mbrl_agents.load(place)), roll(agent))


@pytest.mark.parametrize("n_envs", [1, 2])
def test_each_phase_keeps_its_own_schedule(n_envs):
    """Every update comes in its step, fractions of one included."""
    agent, taken = fresh(n_envs), {}

    class Watch(BaseCallback):
        def _on_step(self) -> bool:
            if agent.trainer is not None:  # what came of the step before
                taken[self.num_timesteps - n_envs] = counts(agent)
            return True

    agent.learn(140, Watch())
    for steps, (updates, generations) in taken.items():
        # From step 20 on, that one included, one every 4 steps.
        assert updates == max(0, steps - 20 + n_envs) // 4, steps
        # Two in step 30, then three quarters of one every 10 steps.
        assert generations == (2 + int((steps - 30) // 10 * 0.75) if steps >= 30 else 0), steps
    assert len(taken) == 140 // n_envs
    assert counts(agent)[1] == 2 + 8


def test_what_it_remembers_as_it_acts_is_stored():
    agent = fresh()
    agent.learn(19)  # no update yet, which would remember as well
    own = agent.buffer.own
    before = own.before(own.place(np.arange(1, len(own)), 1))
    assert before["known"].tolist() == [False] * 10 + [True] * 8, "not of random actions"
    assert before["memory"][10:].abs().amin() > 0


@pytest.mark.parametrize("phase", ["predict", "evolve"])
def test_interrupted_in_a_fit_it_ends_the_same(phase, episodes, tmp_path):
    def build():
        return mbrl_agents.make_agent(
            NAME, gymnasium.make(TOY), training={"checkpoint_every": 2, "log_every": 3}
        )

    whole = build()
    whole.fit(episodes, folder=tmp_path / "whole")
    run = tmp_path / "killed"
    with pytest.raises(KeyboardInterrupt):
        build().fit(episodes, folder=run, progress=stop_at(phase, 3))
    resumed = build()
    resumed.fit(episodes, folder=run)
    check_same(whole, resumed)
    assert rows(run) == rows(tmp_path / "whole")
    assert resumed.metrics == whole.metrics


@pytest.mark.parametrize("n_envs", [1, 2])
@pytest.mark.parametrize("recorded", [False, True])
def test_interrupted_as_it_acts_it_ends_the_same(n_envs, recorded, episodes, tmp_path):
    def train(run: Path, callback: BaseCallback | None = None) -> Agent:
        agent = fresh(n_envs)
        if recorded:
            agent.fit(episodes, folder=run)
        return agent.learn(210, callback, folder=run)

    whole = train(tmp_path / "whole")
    # Before the first checkpoint of its own experience, and twice after it.
    for at in (20, 130, 190):
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "killed", Stop(at))
    resumed = train(tmp_path / "killed")
    check_same(whole, resumed)
    assert rows(tmp_path / "killed") == rows(tmp_path / "whole")
    check = mbrl_agents.load(tmp_path / "killed")
    assert np.array_equal(roll(check), roll(whole))
