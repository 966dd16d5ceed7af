"""Objects in place of what settings describe: used, saved, and asked for again."""

from __future__ import annotations

import json

import gymnasium
import numpy as np
import pytest
import torch
from torch import Tensor, nn

import mbrl_agents
import toy_grasp
from mbrl_agents.nn.actions import ActionStatistics
from mbrl_agents.protocols import Rollout

TOY = "toy_grasp:ToyGrasp-v0"
QUICK = {"horizon": 4, "hold": 2, "samples": 12, "elites": 3, "iterations": 2}
TRAINING = {"model_steps": 20, "batch_size": 32, "log_every": 20}


class Stay:
    """An objective: the less is done, the better."""

    scored = 0

    def score(self, rollout: Rollout) -> Tensor:
        self.scored += 1
        return -rollout.features.abs().sum((1, 2))

    def reads_value(self, *, steps_to_go: bool) -> bool:
        return False


class Watched:
    """Another planner, watched."""

    def __init__(self) -> None:
        self.inner = mbrl_agents.make_planner("cem", **QUICK)
        self.replan, self.seen = self.inner.replan, []

    def plan(self, model, state, **arguments):
        self.seen.append((model, arguments["objective"]))
        return self.inner.plan(model, state, **arguments)


class Drift(nn.Module):
    """A world model nobody fits: the hand moves by the action, times a weight."""

    def __init__(self, speed: float = 0.03) -> None:
        super().__init__()
        self.action_size, self.feature_size = 7, 3
        self.actions = ActionStatistics(7)
        self.speed = nn.Parameter(torch.tensor(speed))

    def initial(self, batch):
        return torch.zeros(batch, 3)

    def observe(self, state, obs, prev_action, is_first, *, generator=None):
        return obs["pose"][:, :3]

    def features(self, state):
        return state

    def imagine_step(self, state, action, *, generator=None):
        return state + self.speed * action[:, :3]

    def imagine(self, state, actions, *, generator=None, keep_features=False):
        features = state[:, None] + self.speed * actions[..., :3].cumsum(1)
        return Rollout(features, torch.zeros(actions.shape[:2]))

    def decode(self, state):
        return {"pose": state}


@pytest.fixture(scope="module")
def episodes():
    return toy_grasp.demonstrations(3)


@pytest.fixture
def env():
    return gymnasium.make(TOY)


def trainable(env, **settings):
    return mbrl_agents.make_world_model(
        "simple", env.observation_space, env.action_space, hidden=[16], **settings
    )


def roll(agent, env) -> np.ndarray:
    obs, _ = env.reset(seed=5)
    actions, state = [], None
    for step in range(4):
        action, state = agent.predict(obs, state, np.array([step == 0]), deterministic=True)
        obs, *_ = env.step(action)
        actions.append(action)
    return np.stack(actions)


def test_they_are_used_and_asked_for_again(episodes, env, tmp_path):
    planner, objective, model = Watched(), Stay(), trainable(env, seed=4)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    agent = mbrl_agents.make_agent(
        "simple-cem", env, planner=planner, objective=objective, world_model=model,
        training=TRAINING,
    )  # fmt: skip
    assert agent.algorithm.world_model is model
    agent.fit(episodes)
    assert any(not torch.equal(before[k], v) for k, v in model.state_dict().items()), "trained"
    actions = roll(agent, env)
    assert planner.seen
    assert all(seen == (model, objective) for seen in planner.seen)
    assert objective.scored

    agent.save(tmp_path / "agent.zip")
    agent.save_run(tmp_path / "run")
    facts = json.loads((tmp_path / "run" / "agent.json").read_text())
    assert facts["ready_made"] == ["world_model", "planner", "objective"]
    for place in (tmp_path / "agent.zip", tmp_path / "run"):
        with pytest.raises(ValueError, match="ready-made objective and planner and world_model"):
            mbrl_agents.load(place)
        with pytest.raises(ValueError, match=r"ready-made planner; .*load\(path, planner=\.\.\.\)"):
            mbrl_agents.load(place, objective=Stay(), world_model=trainable(env))
        other, fresh = Watched(), trainable(env, seed=9)
        again = mbrl_agents.load(place, env, planner=other, objective=Stay(), world_model=fresh)
        # Its weights are those saved, whatever it came with.
        assert np.array_equal(roll(again, env), actions)
        assert again.algorithm.world_model is fresh
        assert other.seen


def test_a_model_without_a_loss_is_used_as_it_is(episodes, env, tmp_path):
    agent = mbrl_agents.make_agent(
        "simple-cem", env, world_model=Drift(), objective=Stay(), planner=QUICK
    )
    assert [phase.name for phase in agent.algorithm.phases] == ["optimism"]
    agent.fit(episodes)
    assert agent.fitted
    assert float(agent.algorithm.world_model.speed.detach()) == pytest.approx(0.03)
    # The hand begins above the origin: what leaves it least leads down.
    assert roll(agent, env)[:, 2].mean() < -0.3
    agent.learn(12)
    assert agent.num_timesteps == 12
    agent.save(tmp_path / "agent")
    other = Drift(speed=-1.0)
    again = mbrl_agents.load(tmp_path / "agent", env, world_model=other, objective=Stay())
    assert float(other.speed.detach()) == pytest.approx(0.03)
    assert np.array_equal(roll(again, env), roll(agent, env))


def test_settings_beside_an_object_still_count(env):
    agent = mbrl_agents.make_agent("simple-cem", env, objective=Stay(), planner={"horizon": 5})
    assert agent.policy.planner.config.horizon == 5
    with pytest.raises(ValueError, match="no setting"):
        mbrl_agents.make_agent("simple-cem", env, objective=Stay(), planner={"horizons": 5})
