"""One run on several tasks: its episodes, its training, its tests."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from mbrl_agents.data.collect import Collection, collect, collect_to_folder
from mbrl_agents.data.episode import Episode, check_spaces
from mbrl_agents.data.parallel import make_env
from mbrl_agents.runs.data import count_run_episodes, env_of_data, read_run_episodes
from mbrl_agents.runs.loading import load_run
from mbrl_agents.runs.spec import RunInfo, RunSpec
from mbrl_agents.runs.tasks import as_observed, one_at_a_time, several_tasks, tasks_of
from mbrl_agents.runs.training import train_run

TOY = "toy_tasks:ToyTasks-v0"
QUICK = ("training.model_steps=10", "training.policy_steps=10")


def space_of(**keywords: Any) -> spaces.Dict:
    space = make_env(TOY, keywords).observation_space
    assert isinstance(space, spaces.Dict)
    return space


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two episodes of each task, recorded task by task."""
    folder = str(tmp_path_factory.mktemp("data") / "all")
    collect_to_folder(folder, Collection(TOY, {"obs": "pose"}, episodes=2, tasks=[0, 1, 2]))
    return folder


@pytest.mark.parametrize(
    ("keywords", "several"),
    [({"task": None}, True), ({"task": [0, 2]}, True), ({"task": 0}, False), ({}, False)],
)
def test_what_a_run_on_several_tasks_is(keywords: dict[str, Any], several: bool) -> None:
    assert several_tasks(keywords) is several


def test_tests_go_through_the_tasks_of_a_run() -> None:
    assert tasks_of(TOY, {"task": None}) == [0, 1, 2]
    assert tasks_of(TOY, {"task": (0, 2)}) == [0, 2]
    assert tasks_of("mbrl/LiberoSpatial-v0", {"task": None}) == list(range(10))
    assert one_at_a_time({"task": None, "obs": "pose"}) == {"obs": "pose", "one_hot_task": True}
    bare = {"task": None, "one_hot_task": False}
    assert one_at_a_time(bare) == {"one_hot_task": False}
    for run in ({"task": None}, {"task": [0, 2]}, bare):
        for task in range(3):
            assert space_of(**one_at_a_time(run), task=task) == space_of(**run)


def test_episodes_of_single_tasks_become_what_the_environment_of_all_shows(data: str) -> None:
    space = space_of(task=None)
    episodes = read_run_episodes(data, {"task": None}, None, space)
    check_spaces(episodes, space, make_env(TOY, {}).action_space)
    recorded = read_run_episodes(data, {"task": None}, None)
    for number, (episode, before) in enumerate(zip(episodes, recorded, strict=True)):
        task = number // 2
        assert episode.observations["task"].dtype == np.float32
        expected = np.tile(np.eye(3)[task], (len(episode) + 1, 1))
        np.testing.assert_array_equal(episode.observations["task"], expected)
        size = before.observations["pose"].shape[1]
        assert size == (21 if task == 2 else 14)
        pose = episode.observations["pose"]
        np.testing.assert_array_equal(pose[:, :size], before.observations["pose"])
        assert not pose[:, size:].any()
    assert as_observed(recorded, space)[0].actions is recorded[0].actions  # no copy of the rest


def test_episodes_that_show_their_task_serve_a_specialist_too(data: str) -> None:
    shown = collect(Collection(TOY, {"one_hot_task": True}, episodes=1, tasks=[1]))
    assert as_observed(shown, space_of(task=None))[0] is shown[0]
    (alone,) = as_observed(shown, space_of(task=1))
    assert set(alone.observations) == {"pose"}
    assert alone.observations["pose"].shape[1] == 14
    # What is no padding is not cut off: the environment refuses it.
    other = collect(Collection(TOY, {"one_hot_task": True}, episodes=1, tasks=[2]))
    assert as_observed(other, space_of(task=1))[0].observations["pose"].shape[1] == 21


def test_an_episode_that_does_not_say_its_task_is_refused(data: str) -> None:
    space = space_of(task=None)
    (episode, *_) = read_run_episodes(data, {"task": 1}, 1)

    def said(**info: Any) -> Episode:
        return replace(episode, info=info)

    with pytest.raises(ValueError, match="episode 1 does not say its task"):
        as_observed([episode, said()], space)
    with pytest.raises(ValueError, match="task 3, but the environment has 3 tasks"):
        as_observed([said(task=3)], space)
    plain = spaces.Box(-1.0, 1.0, (3,))
    assert as_observed([said()], plain)[0].observations is episode.observations


def test_a_limit_is_of_each_task(data: str) -> None:
    def tasks(env_kwargs: dict[str, Any], limit: int | None) -> list[Any]:
        found = read_run_episodes(data, env_kwargs, limit)
        assert count_run_episodes(data, env_kwargs, limit) == len(found)
        return [episode.info["task"] for episode in found]

    assert tasks({"task": None}, 1) == [0, 1, 2]
    assert tasks({"task": [2, 0]}, None) == [0, 0, 2, 2]
    assert tasks({"task": 1}, 1) == [1]


def test_data_of_several_tasks_say_what_can_be_done(data: str) -> None:
    with pytest.raises(ValueError, match=r"choose one with --task, or .* --task all"):
        env_of_data(data)
    assert env_of_data(data, "all") == (TOY, {"obs": "pose", "task": None})
    assert env_of_data(data, [0, 1])[1]["task"] == [0, 1]
    with pytest.raises(ValueError, match="no episodes of task 7"):
        read_run_episodes(data, {"task": [1, 7]}, None)


def test_one_run_learns_all_tasks_from_several_folders(tmp_path: Path) -> None:
    folders = tuple(str(tmp_path / f"task-{task}") for task in (0, 2))
    for task, folder in zip((0, 2), folders, strict=True):
        collect_to_folder(folder, Collection(TOY, {"task": task}, episodes=2))
    spec = RunSpec("simple-policy-cem", TOY, {"task": [0, 2]}, QUICK, data=folders)
    info = train_run(spec, tmp_path / "run")
    assert info.spec.data_episodes == 4
    again = RunInfo.read(tmp_path / "run")
    assert again.spec.folders == again.spec.data == folders
    assert train_run(spec, tmp_path / "run").train_seconds == info.train_seconds  # finished
    env = make_env(TOY, {"task": 2, "one_hot_task": True})
    action, _ = load_run(tmp_path / "run").predict(env.reset(seed=0)[0], deterministic=True)
    assert env.action_space.contains(action)


@pytest.mark.parametrize("method", ["sb3-ppo", "dreamer"])
def test_own_experience_is_of_drawn_tasks(method: str, tmp_path: Path) -> None:
    tiny = {
        "sb3-ppo": ("baseline.n_steps=16",),
        "dreamer": (
            "world_model.deter=32",
            "world_model.hidden=16",
            "world_model.units=16",
            "world_model.stoch=4",
            "training.batch_size=4",
            "training.sequence_length=8",
            "training.learning_starts=40",
            "training.train_ratio=2",
            "actor_critic.imagination=3",
        ),
    }
    info = train_run(RunSpec(method, TOY, {"task": None}, tiny[method], steps=64), tmp_path)
    assert json.loads((tmp_path / "run.json").read_text())["spec"]["env_kwargs"] == {"task": None}
    assert info.env_steps >= 64
