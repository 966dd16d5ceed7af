"""An agent that learns from its own experience: learning, files, exact resumption."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

import mbrl_agents
import toy_grasp
from mbrl_agents.agents.agent import Agent
from mbrl_agents.agents.saving import CHECKPOINT
from mbrl_agents.config import resolve_config
from mbrl_agents.training.checkpoints import load_meta
from mbrl_agents.training.trainer import FIT, LEARN

TINY = {
    "world_model": {"deter": 32, "hidden": 16, "units": 16, "depth": 2, "stoch": 4, "classes": 4},
    "training": {
        "batch_size": 4,
        "sequence_length": 8,
        "train_ratio": 4.0,
        "learning_starts": 40,
        "checkpoint_every": 60,
        "log_every": 50,
        "warmup": 5,
        "learning_rate": 1e-3,
    },
    "actor_critic": {"imagination": 4},
}


class Line(gymnasium.Env):
    """Walk to the right end of a line; images or vectors, discrete or continuous steps."""

    def __init__(self, image: bool = False, discrete: bool = True) -> None:
        self.image = image
        self.observation_space = (
            spaces.Box(0, 255, (16, 16, 3), np.uint8)
            if image
            else spaces.Box(-1.0, 1.0, (3,), np.float32)
        )
        self.action_space = (
            spaces.Discrete(2, start=1) if discrete else spaces.Box(-2.0, 2.0, (1,), np.float32)
        )

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.steps = float(self.np_random.uniform(-0.5, 0.5)), 0
        return self._see(), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        move = 2.0 * action - 3.0 if isinstance(self.action_space, spaces.Discrete) else action[0]
        self.place = float(np.clip(self.place + 0.15 * move, -1, 1))
        self.steps += 1
        done = self.place >= 1
        return self._see(), self.place, done, self.steps >= 15 and not done, {}

    def _see(self):
        if self.image:
            image = np.zeros((16, 16, 3), np.uint8)
            image[:, round((self.place + 1) * 7.5)] = 255
            return image
        return np.array([self.place, self.place**2, 1.0], np.float32)


def build(env=None, **overrides) -> Agent:
    return mbrl_agents.make_agent("dreamer", env or Line(), **{**TINY, **overrides})


def updates(agent) -> int:
    return agent.trainer.phases["dreamer"].updates


def weights(agent) -> dict[str, torch.Tensor]:
    return {k: v.clone() for k, v in agent.policy.state_dict().items()}


def same(a, b) -> bool:
    return all(torch.equal(a[key], b[key]) for key in a) and a.keys() == b.keys()


@pytest.mark.parametrize(
    ("size", "image", "expected"),
    [("1M", False, 638_868), ("1M", True, 687_040), ("12M", False, 9_730_068),
     ("12M", True, 10_494_928)],
)  # fmt: skip
def test_parameters(size, image, expected):
    box = (
        spaces.Box(0, 255, (64, 64, 3), np.uint8)
        if image
        else spaces.Box(-np.inf, np.inf, (7,), np.float32)
    )
    agent = Agent(
        resolve_config("dreamer", {"size": size}),
        observation_space=box,
        action_space=spaces.Box(-1, 1, (7,), np.float32),
    )
    assert sum(p.numel() for p in agent.policy.parameters() if p.requires_grad) == expected
    assert sum(agent.policy.parameter_counts().values()) == expected


@pytest.mark.parametrize("image", [False, True])
@pytest.mark.parametrize("discrete", [False, True])
def test_it_learns_from_its_own_experience(image, discrete):
    agent = build(make_vec_env(lambda: Line(image, discrete), 2))
    before = weights(agent)
    agent.learn(80)
    assert agent.num_timesteps == 80
    assert updates(agent) > 0
    assert not same(before, weights(agent))
    assert np.isfinite(list(agent.metrics.values())).all()
    mean, _ = evaluate_policy(agent, agent.env, n_eval_episodes=2)
    assert np.isfinite(mean)


def test_updates_keep_the_train_ratio():
    agent = build()
    agent.learn(200)
    first = updates(agent)
    # 4 trained steps per step, 32 a batch: one update every eight steps once it has started.
    assert abs(first - (200 - 40) / 8) <= 2
    agent.learn(80, reset_num_timesteps=False)
    assert agent.num_timesteps == 280
    assert abs(updates(agent) - first - 10) <= 1


def test_predict_carries_its_state_and_is_repeatable():
    agent, env = build(), Line()
    obs, _ = env.reset(seed=0)

    def roll(deterministic):
        state, start, found = None, np.ones(1, bool), []
        for _ in range(6):
            action, state = agent.predict(obs, state, start, deterministic=deterministic)
            start = np.zeros(1, bool)
            found.append(int(action))
        return found, state

    actions, state = roll(False)
    assert roll(False)[0] == actions
    assert set(actions) <= {1, 2}
    assert state.calls.tolist() == [6]
    batch, _ = agent.predict(np.stack([obs, obs]), None, np.ones(2, bool))
    assert batch.shape == (2,)
    with pytest.raises(ValueError, match="belongs to 1 environments"):
        agent.predict(np.stack([obs, obs]), state)
    before = state.carry
    again = agent.predict(obs, state, np.ones(1, bool), deterministic=True)[1]
    fresh = agent.predict(obs, None, np.ones(1, bool), deterministic=True)[1]
    assert torch.equal(again.carry["deter"], fresh.carry["deter"])
    assert not torch.equal(before["deter"], fresh.carry["deter"])


def test_saved_and_loaded_it_acts_the_same(tmp_path):
    agent = build(Line(image=True))
    agent.learn(70)
    agent.save(tmp_path / "agent")
    agent.save_run(tmp_path / "run")
    for place in ("agent", "run"):
        loaded = mbrl_agents.load(tmp_path / place, Line(image=True))
        assert isinstance(loaded, Agent)
        assert same(weights(agent), weights(loaded))
        obs, _ = Line(image=True).reset(seed=1)
        assert loaded.predict(obs)[0] == agent.predict(obs)[0]
        loaded.learn(20)


class Kill(BaseCallback):
    """Stops like a kill would: by an exception in the middle of a step."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at

    def _on_step(self) -> bool:
        if self.num_timesteps >= self.at:
            raise KeyboardInterrupt
        return True


@pytest.mark.parametrize("n_envs", [1, 2])
def test_killed_twice_it_ends_with_the_same_weights(tmp_path, n_envs):
    total = 300

    def fresh():
        return build(make_vec_env(Line, n_envs, seed=3))

    whole = fresh()
    whole.learn(total, folder=tmp_path / "whole")
    kills = np.random.default_rng(n_envs).integers([70, 180], [170, 280])
    for kill in kills:
        with pytest.raises(KeyboardInterrupt):
            fresh().learn(total, callback=Kill(int(kill)), folder=tmp_path / "killed")
        assert (tmp_path / "killed" / CHECKPOINT).is_file()
    resumed = fresh()
    resumed.learn(total, folder=tmp_path / "killed")
    assert resumed.num_timesteps == whole.num_timesteps
    assert updates(resumed) == updates(whole)
    assert same(weights(whole), weights(resumed))
    loaded = mbrl_agents.load(tmp_path / "killed")
    assert same(weights(whole), weights(loaded))
    other = build(make_vec_env(Line, n_envs, seed=3), actor_critic={"imagination": 3})
    with pytest.raises(ValueError, match="another training"):
        other.learn(total, folder=tmp_path / "killed")


@pytest.mark.parametrize("n_envs", [1, 2])
def test_a_fitted_method_that_is_killed_ends_with_the_same_weights(tmp_path, n_envs):
    """Refits to all episodes so far, with a planner, come to the same as well."""

    def learn(run, callback=None):
        agent = mbrl_agents.make_agent(
            "simple-cem",
            make_vec_env(Line, n_envs, seed=3),
            world_model={"hidden": [8], "head_hidden": [8], "outcome_hidden": [8]},
            planner={"horizon": 3, "hold": 1, "samples": 6, "elites": 2, "iterations": 1},
            training={
                "model_steps": 20, "refit_steps": 6, "random_steps": 50, "round_steps": 40,
                "batch_size": 12, "checkpoint_every": 50, "log_every": 30,
            },
        )  # fmt: skip
        return agent.learn(260, callback, folder=run)

    whole = learn(tmp_path / "whole")
    for kill in (40, 115, 240):
        with pytest.raises(KeyboardInterrupt):
            learn(tmp_path / "killed", Kill(kill))
    resumed = learn(tmp_path / "killed")
    assert resumed.trainer.turns == whole.trainer.turns == {"world_model": 6, "optimism": 6}
    assert same(weights(whole), weights(resumed))
    logs = [(tmp_path / name / "training_logs.csv").read_text() for name in ("whole", "killed")]
    assert logs[0] == logs[1]


def test_the_first_checkpoints_do_not_wait_for_the_tenth_thousand_of_steps(tmp_path):
    """By default many steps lie between checkpoints; who stops early has one all the same."""

    class Kept(BaseCallback):
        def _on_step(self) -> bool:
            file = tmp_path / "run" / CHECKPOINT
            if file.is_file():
                kept.add(load_meta(file)["facts"]["num_timesteps"])
            return True

    def learn(run, callback=None):
        agent = mbrl_agents.make_agent(
            "simple-cem", make_vec_env(Line, 1, seed=3), training={"random_steps": 10_000}
        )
        agent.learn(2200, callback, folder=run)
        return agent.num_timesteps

    kept: set[int] = set()
    with pytest.raises(KeyboardInterrupt):
        learn(tmp_path / "killed", Kill(700))
    begun = load_meta(tmp_path / "killed" / CHECKPOINT)["facts"]["num_timesteps"]
    assert 500 <= begun < 600
    assert learn(tmp_path / "killed") == learn(tmp_path / "run", Kept()) == 2200
    assert [round(step, -2) for step in sorted(kept)] == [500, 1000, 2000]


def test_it_learns_from_recorded_episodes_and_resumes(tmp_path):
    episodes = toy_grasp.demonstrations(3)
    settings = {**TINY["training"], "updates": 24, "checkpoint_every": 10, "log_every": 8}

    def fresh():
        env = gymnasium.make("toy_grasp:ToyGrasp-v0")
        return build(env, training=settings)

    whole = fresh()
    metrics = whole.fit(episodes)
    assert np.isfinite(list(metrics.values())).all()

    def stop(phase, done, total, row):
        if done == 16:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fresh().fit(episodes, folder=tmp_path, progress=stop)
    resumed = fresh()
    resumed.fit(episodes, folder=tmp_path)
    assert same(weights(whole), weights(resumed))


@pytest.mark.parametrize("phase", ["fit", "learn"])
def test_interrupted_in_either_phase_it_ends_with_the_same_weights(tmp_path, phase):
    episodes = toy_grasp.demonstrations(3)
    settings = {**TINY["training"], "updates": 24, "checkpoint_every": 10, "log_every": 8}

    def fresh():
        return build(gymnasium.make("toy_grasp:ToyGrasp-v0"), training=settings)

    def train(agent, folder, progress=None, callback=None):
        agent.fit(episodes, folder=folder, progress=progress)
        assert agent.metrics
        agent.learn(90, folder=folder, callback=callback)

    def stop(name, done, total, row):
        if done == 16:
            raise KeyboardInterrupt

    whole = fresh()
    train(whole, tmp_path / "whole")
    run = tmp_path / "killed"
    kills = {"fit": [{"progress": stop}], "learn": [{"callback": Kill(5)}, {"callback": Kill(80)}]}
    for kill in kills[phase]:
        with pytest.raises(KeyboardInterrupt):
            train(fresh(), run, **kill)
    assert load_meta(run / CHECKPOINT)["stage"] == (LEARN if phase == "learn" else FIT)
    rows = (run / "training_logs.csv").read_text().count("dreamer,24")
    assert bool(rows) == (phase == "learn")
    resumed = fresh()
    train(resumed, run)
    assert updates(resumed) == updates(whole)
    assert same(weights(whole), weights(resumed))
    with pytest.raises(ValueError, match="another training"):
        train(Agent("dreamer", gymnasium.make("toy_grasp:ToyGrasp-v0")), run)


def test_recorded_episodes_stay_with_another_number_of_environments(tmp_path):
    episodes = toy_grasp.demonstrations(3)
    recorded = sum(len(episode) + 1 for episode in episodes)
    settings = {**TINY["training"], "updates": 6, "checkpoint_every": 30}

    def train(folder, callback=None):
        agent = build(
            make_vec_env(lambda: gymnasium.make("toy_grasp:ToyGrasp-v0"), 2, seed=1),
            training=settings,
        )
        agent.fit(episodes, folder=folder)
        agent.learn(100, folder=folder, callback=callback)
        return agent

    whole = train(tmp_path / "whole")
    assert whole.buffer.own.n_envs == 2
    assert whole.buffer.recorded.rows == recorded
    assert len(whole.buffer.own) >= 100
    killed = tmp_path / "killed"
    for kill in (10, 75):
        with pytest.raises(KeyboardInterrupt):
            train(killed, Kill(kill))
    resumed = train(killed)
    assert len(resumed.buffer) == len(whole.buffer)
    assert same(weights(whole), weights(resumed))
    assert (killed / "replay-2").is_dir()
    assert not (killed / "replay").exists()


def test_time_before_an_interruption_counts(tmp_path):
    episodes = toy_grasp.demonstrations(2)
    settings = {**TINY["training"], "updates": 20, "checkpoint_every": 10, "log_every": 5}

    def stop(name, done, total, row):
        if done == 15:
            raise KeyboardInterrupt

    env = gymnasium.make("toy_grasp:ToyGrasp-v0")
    with pytest.raises(KeyboardInterrupt):
        build(env, training=settings).fit(episodes, folder=tmp_path, progress=stop)
    meta = load_meta(tmp_path / CHECKPOINT)
    assert meta["facts"]["training_seconds"] > 0
    resumed = build(env, training=settings)
    resumed.fit(episodes, folder=tmp_path)
    assert resumed.training_seconds > meta["facts"]["training_seconds"]


def test_short_names_of_settings():
    agent = mbrl_agents.make_agent("dreamer", Line(), size="12M")
    assert agent.config.world_model.width("deter") == 2048
    assert resolve_config("dreamer", ["size=25M"]).world_model.size == "25M"
    with pytest.raises(ValueError, match="no setting"):
        mbrl_agents.make_agent("simple-cem", gymnasium.make("toy_grasp:ToyGrasp-v0"), size="1M")


def test_what_is_recorded_goes_to_the_folder_of_the_call(tmp_path):
    """A buffer is kept between calls; files of one training are not another one's."""
    agent = build()
    agent.learn(60, folder=tmp_path / "a")
    files = sorted((tmp_path / "a" / "replay").iterdir())
    before = {path.name: path.read_bytes() for path in files}
    assert before
    agent.learn(200, reset_num_timesteps=False)
    assert agent.buffer.own.steps.folder is None
    agent.learn(60, reset_num_timesteps=False, folder=tmp_path / "b")
    assert agent.buffer.own.steps.folder == (tmp_path / "b" / "replay")
    assert {p.name: p.read_bytes() for p in (tmp_path / "a" / "replay").iterdir()} == before
