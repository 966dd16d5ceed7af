"""Methods that are fitted to episodes, on an environment whose actions are choices."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor

import mbrl_agents
from mbrl_agents.data.collect import Collection, collect, collect_to_folder
from mbrl_agents.data.dataset import read_episodes
from mbrl_agents.data.episode import Episode

QUICK = {"horizon": 5, "samples": 16, "elites": 4, "iterations": 2}
MODEL = {"hidden": [32], "head_hidden": [16], "outcome_hidden": [16], "ensemble": 2}
TRAINING = {
    "model_steps": 80, "policy_steps": 150, "batch_size": 64, "policy_batch_size": 128,
    "log_every": 80,
}  # fmt: skip


class Shifted(gymnasium.ActionWrapper):
    """The same choices under other numbers: 3 and 4."""

    def __init__(self, env: gymnasium.Env) -> None:
        super().__init__(env)
        self.action_space = spaces.Discrete(2, start=3)

    def action(self, action):
        assert self.action_space.contains(action), action
        return int(action) - 3


def make_env():
    return Monitor(Shifted(gymnasium.make("CartPole-v1")))


def balance(obs: np.ndarray) -> int:
    """A demonstrator: push to where the pole falls."""
    return 4 if obs[2] + 0.3 * obs[3] > 0 else 3


def demonstrations(count: int, steps: int = 60) -> list[Episode]:
    """Balanced with some random pushes, labelled with what the demonstrator would have done."""
    env, rng, found = make_env(), np.random.default_rng(0), []
    for number in range(count):
        obs, _ = env.reset(seed=number)
        seen, actions, labels, over = [obs], [], [], False
        while not over and len(actions) < steps:
            labels.append(balance(obs))
            actions.append(labels[-1] if rng.random() < 0.7 else int(rng.integers(3, 5)))
            obs, _, over, _, _ = env.step(actions[-1])
            seen.append(obs)
        count = len(actions)
        found.append(
            Episode(
                {"obs": np.stack(seen)},
                np.array(actions, np.float32)[:, None],
                np.array(labels, np.float32)[:, None],
                np.ones(count, np.float32),
                terminated=over,
                success=False,
            )
        )
    return found


def roll(agent, env, steps: int = 8) -> list[int]:
    obs, _ = env.reset(seed=7)
    found, state = [], None
    for step in range(steps):
        action, state = agent.predict(obs, state, np.array([step == 0]), deterministic=True)
        assert env.action_space.contains(action), action
        obs, _, over, cut, _ = env.step(action)
        found.append(int(action))
        if over or cut:
            break
    return found


def test_a_model_fitted_to_collected_episodes(tmp_path):
    what = Collection("CartPole-v1", source="random", episodes=12)
    collect_to_folder(tmp_path / "data", what)
    episodes = read_episodes(tmp_path / "data")
    env = Monitor(gymnasium.make("CartPole-v1"))
    agent = mbrl_agents.make_agent(
        "simple-cem", env, planner=QUICK, world_model=MODEL, training=TRAINING
    )
    metrics = agent.fit(episodes, folder=tmp_path / "run")
    assert np.isfinite(list(metrics.values())).all()
    assert agent.algorithm.world_model.action_size == 2
    assert agent.algorithm.world_model.actions.discrete
    chosen = roll(agent, env)
    agent.save(tmp_path / "agent")
    for place in ("run", "agent.zip"):
        again = mbrl_agents.load(tmp_path / place, Monitor(gymnasium.make("CartPole-v1")))
        assert again.action_space == spaces.Discrete(2)
        assert roll(again, env) == chosen


def test_it_predicts_what_a_choice_does():
    episodes = collect(Collection("CartPole-v1", source="random", episodes=30))
    env = gymnasium.make("CartPole-v1")
    training = {**TRAINING, "model_steps": 300, "learning_rate": 3e-3}
    agent = mbrl_agents.make_agent(
        "simple-cem", env, planner=QUICK, world_model=MODEL, training=training
    )
    agent.fit(episodes[:25])
    model, errors = agent.algorithm.world_model, []
    for batch in agent.recordings(episodes[25:]):
        real = batch.obs["obs"]
        state = {"obs": real[1:-1], "prev_obs": real[:-2]}
        with torch.no_grad():
            imagined = model.decode(model.imagine_step(state, batch.prev_action[2:]))["obs"]
        errors.append((imagined - real[2:])[:, 1].abs().mean())
    # A push changes the cart's speed by 0.195, to the right or to the left.
    assert torch.stack(errors).mean() < 0.04


@pytest.mark.parametrize("name", ["simple-policy", "simple-policy-cem"])
def test_a_policy_cloned_from_recorded_choices(name, tmp_path):
    env = make_env()
    planner = {"planner": {**QUICK, "policy_samples": 4}} if name == "simple-policy-cem" else {}
    agent = mbrl_agents.make_agent(
        name, env, world_model=MODEL, policy={"hidden": [32]}, **planner,
        training={**TRAINING, "policy_steps": 300, "policy_learning_rate": 5e-3},
    )  # fmt: skip
    metrics = agent.fit(demonstrations(30))
    assert metrics["held_out/policy/accuracy"] > 0.9
    chosen = roll(agent, env)
    agent.save(tmp_path / "agent")
    again = mbrl_agents.load(tmp_path / "agent", make_env())
    assert again.action_space == spaces.Discrete(2, start=3)
    assert roll(again, env) == chosen
    if name == "simple-policy":
        # Random pushes keep the pole up for some twenty steps.
        assert evaluate_policy(agent, make_env(), n_eval_episodes=3)[0] > 60


def test_its_own_experience_is_recorded_as_choices():
    training = {**TRAINING, "random_steps": 60, "round_steps": 40, "refit_steps": 5}
    agent = mbrl_agents.make_agent(
        "simple-cem", make_env(), planner=QUICK, world_model=MODEL,
        training={**training, "model_steps": 10, "explore_std": 0.3},
    )  # fmt: skip
    agent.learn(140)
    assert agent.trainer.turns["world_model"] == 3
    episodes = agent.buffer.episodes()
    assert episodes
    for episode in episodes:
        assert episode.actions.shape == (len(episode), 1)
        assert set(episode.actions.flatten()) <= {3.0, 4.0}
        assert episode.terminated
