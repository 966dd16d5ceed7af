"""``mbrl eval --policy``: policies of other projects."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from typer.testing import CliRunner, Result

import mbrl_agents  # noqa: F401  (registers the environments)
from mbrl_agents.cli.main import app
from mbrl_agents.evaluation.third_party import ThirdPartyPredictor

TOY = "toy_reach:ToyReach-v0"
CHEAP = ["env.assets=primitive", "env.rendering=fast", "env.image_size=32"]

MODULE = '''
import numpy as np
import torch


class Replay:
    """Actions of a file, one after the other, as LeRobot's policies are asked for them."""

    observation_format = "lerobot"

    def __init__(self, path, strict=True):
        self.actions, self.strict = np.load(path), strict

    def reset(self):
        self.step = 0

    def select_action(self, observation):
        assert set(observation) == {
            "observation.images.image", "observation.images.image2", "observation.state", "task",
        }
        assert observation["observation.images.image"].shape == (1, 3, 32, 32)
        assert observation["observation.state"].shape == (1, 8)
        assert observation["task"][0].startswith("pick up the black bowl from table center")
        action = self.actions[min(self.step, len(self.actions) - 1)]
        self.step += 1
        return torch.from_numpy(action)[None]


class Still:
    """Does nothing, as Stable-Baselines3's models are asked."""

    observation_format = "openvla"

    def predict(self, observation, state=None, episode_start=None, deterministic=True):
        assert observation["full_image"].shape == (224, 224, 3)
        return np.array([0, 0, 0, 0, 0, 0, -1.0]), state


class Wide:
    def predict(self, observation, state=None, episode_start=None, deterministic=True):
        return np.zeros(11), None


class Nothing:
    pass


class Counting:
    """Its state travels from call to call and starts anew with every episode."""

    def predict(self, observation, state=None, episode_start=None, deterministic=True):
        assert (state is None) == bool(episode_start[0])
        return np.zeros(SIZE, np.float32), (state or 0) + 1


class Heavy:
    built = []

    def __init__(self, size=1, options=None):
        self.built.append(size)

    def predict(self, observation, state=None, episode_start=None, deterministic=True):
        return np.zeros(SIZE, np.float32), None
'''


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module of policies in the current folder."""
    space = gym.make(TOY).action_space
    text = MODULE + f"\n\nSIZE = {space.shape[0]}\n"
    (tmp_path / "their_policies.py").write_text(text, encoding="utf-8")
    (tmp_path / "their_needs.py").write_text("import not_to_be_had\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield "their_policies"
    for name in ("their_policies", "their_needs"):
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def picks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demonstrator's actions from the first official init state of task 2."""
    env: Any = gym.make("mbrl/LiberoSpatial-v0", task=2, assets="primitive")
    env.reset(seed=0, options={"init_state": 0})
    actions, over = [], False
    while not over:
        actions.append(env.unwrapped.expert_action())
        _, _, terminated, truncated, _ = env.step(actions[-1])
        over = terminated or truncated
    env.close()
    assert terminated
    path = tmp_path_factory.mktemp("picks") / "picks.npy"
    np.save(path, np.stack(actions))
    return path


def evaluate(*arguments: object) -> Result:
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, ["eval", *[str(a) for a in arguments]])


@pytest.mark.libero
def test_a_policy_that_solves_the_task_in_lerobots_format(
    module: str, picks: Path, tmp_path: Path
) -> None:
    out = tmp_path / "results"
    result = evaluate(
        "--policy", f"{module}:Replay", f"policy.path={picks}", *CHEAP,
        "--task", 2, "--episodes", 1, "--out", out, "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    summary = json.loads((out / "evaluation.json").read_text())
    assert (summary["method"], summary["observation_format"]) == (f"{module}:Replay", "lerobot")
    assert (summary["successes"], summary["episodes"], summary["init"]) == (1, 1, "benchmark")
    assert summary["ci95"][1] == 1.0
    record = json.loads((out / "episodes.jsonl").read_text())
    assert (record["task"], record["init_state"], record["success"]) == (2, 0, True)
    assert record["steps"] == len(np.load(picks))


@pytest.mark.libero
def test_a_policy_that_fails_reaches_openvlas_limit(module: str) -> None:
    result = evaluate(
        "--policy", f"{module}:Still", *CHEAP, "env.max_episode_steps=20",
        "--task", 2, "--episodes", 1, "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert (summary["successes"], summary["observation_format"]) == (0, "openvla")
    assert summary["steps_mean"] == 20


def test_state_and_workers_are_those_of_every_evaluation(module: str) -> None:
    arguments = ["--policy", f"{module}:Counting", "--env", TOY, "--episodes", 2, "--json"]
    one, two = evaluate(*arguments), evaluate(*arguments, "--workers", 2)
    assert one.exit_code == two.exit_code == 0, one.output + two.output
    figures = [json.loads(result.stdout) for result in (one, two)]
    for figure in figures:
        del figure["plan_ms_p50"], figure["plan_ms_p95"]
    assert figures[0] == figures[1]
    assert figures[0]["observation_format"] == "mbrl"


def test_a_policy_is_built_once_for_all_tasks(module: str) -> None:
    arguments = ["--policy", f"{module}:Heavy", "--env", TOY, "--task", "0,1,0", "--json"]
    result = evaluate(*arguments, "--episodes", 2)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["episodes"] == 6
    assert sys.modules[module].Heavy.built == [1]


def test_a_kept_policy_sees_the_environment_at_hand(module: str) -> None:
    envs = [gym.make(TOY, task=task) for task in (0, 1)]
    predictor = ThirdPartyPredictor(f"{module}:Heavy", (("options", {"a": [1]}), ("size", 2)))
    first, second = (predictor(env) for env in envs)
    assert (first._env, second._env) == tuple(envs)
    assert first._policy is second._policy
    other = ThirdPartyPredictor(f"{module}:Heavy", (("options", {"a": [2]}), ("size", 3)))
    assert other(envs[0])._policy is not first._policy
    assert sys.modules[module].Heavy.built == [2, 3]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--policy", "nowhere_to_be:Found"], "no module 'nowhere_to_be'"),
        (["--policy", "their_policies:Lost"], "has no 'Lost'; its classes: Replay"),
        (["--policy", "their_policies"], "write MODULE:CLASS"),
        (["--policy", ".their_policies:Still"], "'.their_policies:Still' is relative"),
        (["runs/first", "--policy", "their_policies:Still"], "either 'runs/first'"),
        (["random", "--policy", "their_policies:Still"], "not both"),
        (["--policy", "their_policies:Still", "env.fixture=random"], "mean 'fixtures'?"),
        (["--policy", "their_policies:SIZE"], "not a class"),
        (["--policy", "their_policies:Nothing"], "predict and select_action"),
        (["--policy", "their_needs:Policy"], "imports 'not_to_be_had'"),
        (["--policy", "their_policies:Replay"], "path"),
        (["--policy", "their_policies:Replay", "policy.pth=x"], "(path, strict=True)"),
        (["--policy", "their_policies:Still", "planner.samples=3"], "begin with policy."),
        (["--policy", "their_policies:Still", "--format", "octo"], "mbrl, lerobot, openvla"),
        (["--policy", "their_policies:Still", "--env", TOY], "mbrl/LiberoSpatial-v0"),
        (["--policy", "their_policies:Still", "--method", "random"], "--method"),
        (["random", "--format", "lerobot"], "go with --policy"),
        ([], "--policy MODULE:CLASS"),
    ],
)
def test_what_cannot_be_evaluated_is_a_usage_error(
    module: str, arguments: list[str], message: str
) -> None:
    result = evaluate(*arguments)
    assert result.exit_code == 2, result.output
    assert message in result.stderr


def test_an_answer_that_is_no_action_is_named(module: str) -> None:
    result = evaluate("--policy", f"{module}:Wide", "--env", TOY, "--episodes", 1)
    assert result.exit_code == 1
    assert "their_policies:Wide returned an action of shape (11,)" in result.stderr
