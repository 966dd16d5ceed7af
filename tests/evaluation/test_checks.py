"""Checks during training: fresh episodes, at the steps asked for, dropped where they come again."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from typer.testing import CliRunner

from mbrl_agents.cli.main import app
from mbrl_agents.evaluation.checks import (
    CHECKS_FILE,
    FIT_CHECKS_FILE,
    CheckPoint,
    Checks,
    CheckSeries,
    held_at,
    held_at_the_end,
    play_at_once,
    read_checks,
)
from mbrl_agents.planners.policy_guided import PolicyGuidedCEM


class Countdown(gymnasium.Env):
    """Ends after as many steps as were drawn; the reward is the action."""

    observation_space, action_space = spaces.Box(0, 9, (1,)), spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = int(self.np_random.integers(1, 8))
        self.length = self.left
        return np.array([self.left], np.float32), {}

    def step(self, action):
        self.left -= 1
        end = self.left == 0
        # Odd lengths know of success, which is to be quick; a step before the end knows nothing.
        info = {"is_success": end and self.length < 4} if self.length % 2 else {}
        return np.array([self.left], np.float32), float(action), end, False, info


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
    found = play_at_once(model, envs, [1, 2, 3, 4, 5])
    lengths = []
    for seed in range(1, 6):
        env = Countdown()
        lengths.append(float(env.reset(seed=seed)[0][0]))
    assert found.lengths.tolist() == lengths
    assert found.returns.tolist() == [2 * length for length in lengths]
    assert found.successes == [length < 4 if length % 2 else None for length in lengths]
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
    assert [(p.step, p.episodes) for p in found] == [(25, 3), (50, 3)]
    assert not (tmp_path / "without" / CHECKS_FILE).exists()


def test_checks_after_a_checkpoint_are_dropped_when_training_goes_on(tmp_path):
    lines = ["env_steps,episodes,mean,std,least", "100,2,1.5,0.5,1.0", "200,2,2.5,0.5,2.0", "30"]
    (tmp_path / CHECKS_FILE).write_text("\n".join(lines))
    assert [p.step for p in read_checks(tmp_path / CHECKS_FILE)] == [100, 200]
    series = CheckSeries(tmp_path / CHECKS_FILE, Countdown, every=100, episodes=2, seed=0)
    callback = Checks(series)
    callback.num_timesteps = 150
    callback._on_training_start()
    assert [p.step for p in read_checks(tmp_path / CHECKS_FILE)] == [100]
    assert series.done == 1


def test_what_was_written_is_read_again(tmp_path):
    series = CheckSeries(tmp_path / CHECKS_FILE, Countdown, every=10, episodes=3, seed=0)
    series.begin(0)
    assert series.play(Always(), 9) is None
    played = [series.play(Always(), step) for step in (12, 20)]
    assert series.play(Always(), 25) is None
    series.close()
    assert read_checks(tmp_path / CHECKS_FILE) == played
    assert [point.step for point in played] == [12, 20]
    assert played[0].mean != played[1].mean  # other initial states
    assert all(point.mean == 2 * point.length for point in played)


def test_a_fit_is_tested_by_updates_and_is_the_same_with_and_without(tmp_path, monkeypatch):
    def calibrate(planner: PolicyGuidedCEM, errors: Any) -> None:
        trusted.append(len(errors(planner.config.horizon)))

    trusted: list[int] = []
    monkeypatch.setattr(PolicyGuidedCEM, "calibrate", calibrate)

    def run(*command: str) -> None:
        result = CliRunner().invoke(app, [str(word) for word in command])
        assert result.exit_code == 0, result.output

    data = tmp_path / "data"
    run("collect", data, "--env", "toy_reach:ToyReach-v0", "--episodes", "4", "--source", "expert")
    weights = {}
    for name, every in (("with", 30), ("without", 0)):
        run(
            "train", "simple-policy-cem", "--data", data, "--out", tmp_path / name,
            "--eval-every", every, "--eval-episodes", 2, "training.model_steps=40",
            "training.policy_steps=40", "training.log_every=20", "world_model.hidden=[16]",
            "policy.hidden=[16]", "planner.samples=12", "planner.elites=2",
            "planner.horizon=3",
        )  # fmt: skip
        weights[name] = (tmp_path / name / "policy.safetensors").read_bytes()
    assert weights["with"] == weights["without"]
    found = read_checks(tmp_path / "with" / FIT_CHECKS_FILE)
    # As often as asked, whenever training logs, and by updates of both phases.
    assert [(p.step, p.episodes) for p in found] == [(30, 2), (60, 2)]
    assert all(p.successes is not None for p in found)
    # Nothing is known of the model's errors before it is fitted; while the policy learns they are.
    assert trusted[0] == 0
    assert trusted[1] > 0
    assert (tmp_path / "with" / "fit_checks.png").stat().st_size > 1000
    assert not (tmp_path / "without" / FIT_CHECKS_FILE).exists()


def test_another_file_is_refused(tmp_path):
    (tmp_path / CHECKS_FILE).write_text("step,loss\n")
    with pytest.raises(ValueError, match="holds no checks"):
        read_checks(tmp_path / CHECKS_FILE)
