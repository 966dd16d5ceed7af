"""Agent through Stable-Baselines3's own tools."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from functools import partial

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3.common.callbacks import BaseCallback, CheckpointCallback, EvalCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.logger import configure
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv

import mbrl_agents
import toy_grasp
from mbrl_agents.agents.agent import Agent
from mbrl_agents.data import buffer
from mbrl_agents.data.recorded import split_episodes

TOY = "toy_grasp:ToyGrasp-v0"
SMALL = {
    "world_model": {"hidden": [48], "head_hidden": [32], "outcome_hidden": [16]},
    "training": {"model_steps": 150, "log_every": 75, "batch_size": 96, "policy_steps": 20},
}
CLONE = {"policy": {"hidden": [64, 64]}, "training": {**SMALL["training"], "policy_steps": 500}}
QUICK = {"horizon": 4, "samples": 12, "elites": 3, "iterations": 2}
GUIDED = {"planner": {**QUICK, "policy_samples": 3}}


def make_toy():
    return Monitor(gymnasium.make(TOY))


@pytest.fixture(scope="module")
def episodes():
    return toy_grasp.demonstrations(15)


@pytest.fixture(scope="module")
def fitted(episodes) -> dict[str, Agent]:
    built = {
        "simple-cem": {**SMALL, "planner": {**QUICK, "hold": 2}},
        "simple-policy": {**SMALL, **CLONE},
        "simple-policy-cem": {**SMALL, **CLONE, **GUIDED},
    }
    agents = {}
    for name, overrides in built.items():
        agents[name] = mbrl_agents.make_agent(name, make_toy(), **overrides)
        agents[name].fit(episodes)
    return agents


def roll(agent, steps=6, seed=3):
    env = gymnasium.make(TOY)
    obs, _ = env.reset(seed=seed)
    state, start, actions = None, np.ones(1, bool), []
    for _ in range(steps):
        action, state = agent.predict(obs, state, start, deterministic=True)
        start = np.zeros(1, bool)
        obs, *_ = env.step(action)
        actions.append(action)
    return np.stack(actions)


METHODS = ["simple-cem", "simple-policy", "simple-policy-cem"]


@pytest.mark.parametrize("name", METHODS)
def test_save_and_load_give_the_same_actions(fitted, name, tmp_path):
    agent = fitted[name]
    expected = roll(agent)
    agent.save(tmp_path / "agent")
    assert (tmp_path / "agent.zip").is_file()
    agent.save_run(tmp_path / "run", ["planner.horizon=4"])
    stream = io.BytesIO()
    agent.save(stream)
    stream.seek(0)
    for source in (tmp_path / "agent", tmp_path / "agent.zip", tmp_path / "run", stream):
        again = mbrl_agents.load(source, env=make_toy())
        assert np.array_equal(roll(again), expected)
        assert again.config == agent.config
    assert again.observation_space == agent.observation_space


def test_load_says_what_is_wrong(fitted, tmp_path):
    with pytest.raises(FileNotFoundError, match="no saved agent"):
        mbrl_agents.load(tmp_path / "none")
    fitted["simple-policy"].save_run(tmp_path / "run")
    (tmp_path / "run" / "policy.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"policy\.safetensors"):
        mbrl_agents.load(tmp_path / "run")
    (tmp_path / "x.zip").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="not a saved agent"):
        mbrl_agents.load(tmp_path / "x.zip")
    fitted["simple-policy"].save(tmp_path / "ok.zip")
    with pytest.raises(ValueError, match="trained on the observations"):
        mbrl_agents.load(tmp_path / "ok.zip", env=gymnasium.make("Pendulum-v1"))


def test_the_cloned_policy_and_the_search_around_it_do_the_task(fitted):
    env = make_vec_env(make_toy, 1, seed=5)
    for name, least in (("simple-policy", 0.5), ("simple-policy-cem", 0.5)):
        successes: list[bool] = []

        def note(scope, _, successes=successes):
            if scope["done"]:
                successes.append(scope["info"]["is_success"])

        evaluate_policy(fitted[name], env, n_eval_episodes=6, callback=note)
        assert np.mean(successes) >= least, name


def test_the_gripper_dimension_is_found_in_the_data(fitted):
    assert fitted["simple-cem"].algorithm.world_model.actions.binary_dims() == (6,)
    action = roll(fitted["simple-policy-cem"])
    assert (np.abs(action[:, 6]) == 1).all()


@pytest.mark.parametrize("kind", [DummyVecEnv, SubprocVecEnv])
def test_vectorised_environments(fitted, kind):
    envs = kind([partial(gymnasium.make, TOY)] * 3)
    agent = fitted["simple-policy-cem"]
    try:
        envs.seed(11)
        obs = envs.reset()
        state, start = None, np.ones(3, bool)
        for _ in range(5):
            actions, state = agent.predict(obs, state, start)
            assert actions.shape == (3, 7)
            assert envs.action_space.contains(actions[0])
            obs, _, start, _ = envs.step(actions)
        mean, _ = evaluate_policy(agent, envs, n_eval_episodes=3, warn=False)
        assert np.isfinite(mean)
    finally:
        envs.close()


@pytest.mark.parametrize("name", METHODS)
def test_an_environments_actions_do_not_depend_on_its_neighbours(fitted, name):
    agent = fitted[name]
    envs = [gymnasium.make(TOY) for _ in range(2)]
    firsts = [env.reset(seed=20 + i)[0] for i, env in enumerate(envs)]
    both = {"pose": np.stack([obs["pose"] for obs in firsts])}
    together, state = agent.predict(both, deterministic=True)
    again, _ = agent.predict(both, state, np.array([False, True]), deterministic=True)
    for i, obs in enumerate(firsts):
        alone, own = agent.predict(obs, deterministic=True)
        assert np.allclose(alone, together[i], atol=1e-4)
        alone, _ = agent.predict(obs, own, np.array([i == 1]), deterministic=True)
        assert np.allclose(alone, again[i], atol=1e-4)


def test_nothing_lives_on_the_agent_between_calls(fitted):
    agent = fitted["simple-policy-cem"]
    first = roll(agent)
    roll(agent, seed=9)
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    assert np.array_equal(roll(agent), first)
    assert torch.equal(before[0], torch.random.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])


def test_a_state_of_other_size_is_refused(fitted):
    agent = fitted["simple-policy"]
    obs = {"pose": np.zeros((2, 21), np.float32)}
    _, state = agent.predict(obs)
    with pytest.raises(ValueError, match="2 environments"):
        agent.predict({"pose": np.zeros((3, 21), np.float32)}, state)


def test_noise_unless_deterministic(fitted):
    agent = fitted["simple-policy"]
    obs = {"pose": np.zeros((1, 21), np.float32)}
    calm = agent.predict(obs, deterministic=True)[0]
    assert np.array_equal(calm, agent.predict(obs, deterministic=True)[0])
    assert not np.array_equal(calm, agent.predict(obs)[0])


def test_fit_writes_a_run_folder(episodes, tmp_path):
    seen = []
    agent = mbrl_agents.make_agent("simple-policy", make_toy(), **SMALL, seed=4)
    agent.fit(
        episodes[:4],
        folder=tmp_path / "run",
        progress=lambda phase, done, total, metrics: seen.append((phase, done, total)),
        overrides=["training.model_steps=150"],
    )
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert {
        "config.yaml",
        "overrides.yaml",
        "world_model.safetensors",
        "policy.safetensors",
        "calibration.safetensors",
        "training_logs.csv",
        "versions.json",
        "agent.json",
    } <= names
    assert any(name.startswith("events.out.tfevents") for name in names)
    assert ("world_model", 150, 150) in seen
    facts = json.loads((tmp_path / "run" / "agent.json").read_text())
    assert facts["seed"] == 4
    assert facts["parameters"]["world_model"] == sum(
        p.numel() for p in agent.algorithm.world_model.parameters() if p.requires_grad
    )


def test_a_finished_fit_is_not_done_again(episodes, tmp_path):
    def fresh():
        return mbrl_agents.make_agent("simple-policy", make_toy(), **SMALL)

    agent, told = fresh(), []
    agent.fit(episodes[:4], folder=tmp_path)
    again = fresh()
    metrics = again.fit(episodes[:4], folder=tmp_path, progress=lambda *log: told.append(log))
    assert not told
    assert metrics == agent.metrics
    assert np.array_equal(roll(again), roll(agent))
    # As many episodes, as long, of which one was rewarded otherwise.
    other = replace(episodes[3], rewards=episodes[3].rewards + 1)
    for data in (episodes[:3], [*episodes[:3], other]):
        with pytest.raises(ValueError, match="another training"):
            fresh().fit(data, folder=tmp_path)
    with pytest.raises(ValueError, match="no episodes"):
        fresh().fit([])


class Count(BaseCallback):
    def __init__(self, stop_after: int = 10**9) -> None:
        super().__init__()
        self.steps, self.rounds, self.stop_after = 0, 0, stop_after

    def _on_step(self) -> bool:
        self.steps += 1
        return self.steps < self.stop_after

    def _on_rollout_end(self) -> None:
        self.rounds += 1


LEARN = {
    **SMALL,
    "planner": {"horizon": 4, "hold": 1, **{k: QUICK[k] for k in ("samples", "elites")}},
    "training": {
        **SMALL["training"],
        "model_steps": 20,
        "policy_steps": 20,
        "random_steps": 200,
        "round_steps": 100,
        "refit_steps": 5,
    },
}


def test_learn_on_pendulum_with_callbacks_and_logger(tmp_path):
    env = make_vec_env("Pendulum-v1", 2, seed=0)
    agent = mbrl_agents.make_agent("simple-cem", env, **LEARN, objective={"disagreement": 0.0})
    agent.set_logger(configure(str(tmp_path / "log"), ["csv"]))
    count = Count()
    checks = CheckpointCallback(150, str(tmp_path / "checks"), name_prefix="agent")
    evaluation = EvalCallback(
        make_vec_env("Pendulum-v1", 1, seed=1),
        eval_freq=300,
        n_eval_episodes=1,
        best_model_save_path=str(tmp_path / "best"),
        verbose=0,
    )
    assert agent.learn(800, [count, checks, evaluation]) is agent
    assert (count.steps, agent.num_timesteps) == (400, 800)
    assert count.rounds >= 3
    assert len(agent.buffer.episodes()) == 4
    assert agent.fitted
    files = sorted((tmp_path / "checks").glob("*.zip"))
    assert len(files) == 2
    loaded = Agent.load(files[-1], env=env)
    obs = env.reset()
    action, _ = loaded.predict(obs)
    assert action.shape == (2, 1)
    assert (tmp_path / "best" / "best_model.zip").is_file()
    logged = (tmp_path / "log" / "progress.csv").read_text()
    # A header, a row a log and one of the evaluation: none on the axis of gradient steps.
    assert len(logged.splitlines()) == 1 + count.rounds + 1
    assert "rollout/ep_rew_mean" in logged
    assert "train/world_model/loss" in logged
    assert "held_out/optimism/reward_1" in logged
    agent.learn(100, reset_num_timesteps=False)
    assert agent.num_timesteps == 900


def test_a_callback_can_stop_learning():
    agent = mbrl_agents.make_agent("simple-cem", "Pendulum-v1", **LEARN)
    agent.learn(10_000, Count(stop_after=20))
    assert agent.num_timesteps == 20


def test_learn_adds_to_the_demonstrations(episodes):
    agent = mbrl_agents.make_agent("simple-policy-cem", make_toy(), **{**LEARN, **GUIDED})
    with pytest.raises(ValueError, match="fit it to demonstrations"):
        agent.learn(10)
    agent.fit(episodes[:4])
    agent.learn(240)
    assert len(agent.buffer.episodes()) > 4
    assert np.isnan(agent.buffer.episodes()[-1].labels).all()
    with pytest.raises(ValueError, match="needs an environment"):
        Agent(
            "simple-cem",
            observation_space=agent.observation_space,
            action_space=agent.action_space,
        ).learn(1)


def test_the_same_seed_gives_the_same_agent(episodes):
    runs = []
    for _ in range(2):
        agent = mbrl_agents.make_agent("simple-policy", make_toy(), seed=2, **SMALL)
        agent.fit(episodes[:4])
        runs.append(roll(agent))
    assert np.array_equal(*runs)


def test_the_seed_comes_from_the_settings_and_decides_the_split(episodes, monkeypatch):
    with_setting = {**SMALL, "training": {**SMALL["training"], "seed": 7}}
    assert mbrl_agents.make_agent("simple-cem", make_toy(), **with_setting).seed == 7
    agent = mbrl_agents.make_agent("simple-cem", make_toy(), seed=8, **with_setting)
    assert agent.seed == 8
    seeds = []

    def spy(episodes, holdout, seed, *others):
        seeds.append(seed)
        return split_episodes(episodes, holdout, seed, *others)

    monkeypatch.setattr(buffer, "split_episodes", spy)
    agent.fit(episodes[:4])
    assert seeds == [8]


def test_unbounded_actions_are_refused():
    space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    obs = gymnasium.spaces.Box(-1, 1, (3,), np.float32)
    with pytest.raises(ValueError, match="bounded"):
        Agent("simple-cem", observation_space=obs, action_space=space)


def test_spaces_survive_being_saved(tmp_path):
    space = gymnasium.spaces.Box(
        np.array([-1, -2], np.float32), np.array([1, 3], np.float32), dtype=np.float32
    )
    obs = gymnasium.spaces.Dict(
        {"b": gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float64), "a": space}
    )
    agent = Agent("simple-cem", observation_space=obs, action_space=space)
    agent.save(tmp_path / "a")
    again = Agent.load(tmp_path / "a")
    assert again.observation_space == obs
    assert again.action_space == space
