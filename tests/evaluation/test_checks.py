"""Checks during training: fresh episodes, at the steps asked for, dropped where they come again."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from mbrl_agents.evaluation.checks import (
    CHECKS_FILE,
    CheckPoint,
    Checks,
    held_at,
    held_at_the_end,
    read_checks,
    returns_of,
)


class Countdown(gymnasium.Env):
    """Ends after as many steps as were drawn; the reward is the action."""

    observation_space, action_space = spaces.Box(0, 9, (1,)), spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = int(self.np_random.integers(1, 8))
        self.begun = seed
        return np.array([self.left], np.float32), {}

    def step(self, action):
        self.left -= 1
        return np.array([self.left], np.float32), float(action), self.left == 0, False, {}


class Always:
    """A model that does the same, and counts in its state."""

    def __init__(self) -> None:
        self.starts: list[list[bool]] = []

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        assert deterministic
        self.starts.append(episode_start.tolist())
        return np.full(len(observation), 2), (0 if state is None else state + 1)


def test_returns_are_of_one_whole_episode_each():
    envs, model = [Countdown() for _ in range(5)], Always()
    found = returns_of(model, envs, [1, 2, 3, 4, 5])
    lengths = []
    for seed in range(1, 6):
        env = Countdown()
        lengths.append(float(env.reset(seed=seed)[0][0]))
    assert found.tolist() == [2 * length for length in lengths]
    assert model.starts[0] == [True] * 5
    assert not any(map(any, model.starts[1:]))


def points(*means: float) -> list[CheckPoint]:
    return [CheckPoint(100 * (i + 1), 10, mean, 0.0, mean) for i, mean in enumerate(means)]


def test_three_checks_in_a_row_count_and_the_last_of_them_says_when():
    assert held_at(points(9, 9, 1, 9, 9, 9, 1), 5) == 600
    assert held_at(points(9, 9, 1, 9, 9), 5) is None
    assert held_at(points(5, 5, 5), 5) == 300
    assert held_at_the_end(points(1, 9, 9, 9), 5)
    assert not held_at_the_end(points(9, 9, 9, 1), 5)
    assert not held_at_the_end(points(9, 9), 5)


def test_a_trained_run_has_them_and_they_change_nothing(tmp_path):
    from mbrl_agents.runs.spec import RunSpec
    from mbrl_agents.runs.training import train_run

    small = (
        "world_model.members=2", "world_model.elites=1", "world_model.hidden=[8]",
        "world_model.end_hidden=[8]", "model_free.hidden=[8]", "training.random_steps=20",
        "training.first_updates=2", "training.refit_updates=2", "training.rollouts=8",
        "training.updates_per_step=0.2",
    )  # fmt: skip
    runs = {}
    for name, every in (("with", 25), ("without", 0)):
        spec = RunSpec("mbpo", "CartPole-v1", overrides=small, steps=60, seed=1,
                       check_every=every, check_episodes=3)  # fmt: skip
        train_run(spec, tmp_path / name)
        runs[name] = (tmp_path / name / "learner.safetensors").read_bytes()
    assert runs["with"] == runs["without"]
    found = read_checks(tmp_path / "with" / CHECKS_FILE)
    assert [(p.env_steps, p.episodes) for p in found] == [(25, 3), (50, 3)]
    assert not (tmp_path / "without" / CHECKS_FILE).exists()


def test_checks_after_a_checkpoint_are_dropped_when_training_goes_on(tmp_path):
    lines = ["env_steps,episodes,mean,std,least", "100,2,1.5,0.5,1.0", "200,2,2.5,0.5,2.0", "30"]
    (tmp_path / CHECKS_FILE).write_text("\n".join(lines))
    assert [p.env_steps for p in read_checks(tmp_path / CHECKS_FILE)] == [100, 200]
    callback = Checks(tmp_path, Countdown, every=100, episodes=2, seed=0)
    callback.num_timesteps = 150
    callback._on_training_start()
    assert [p.env_steps for p in read_checks(tmp_path / CHECKS_FILE)] == [100]
    assert callback.done == 1


def test_another_file_is_refused(tmp_path):
    (tmp_path / CHECKS_FILE).write_text("step,loss\n")
    with pytest.raises(ValueError, match="holds no checks"):
        read_checks(tmp_path / CHECKS_FILE)
