"""LIBERO's states put through the simulator give back what our environment had shown."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from mbrl_agents.data.formats import DamagedData, ReadOptions, episodes_of
from mbrl_agents.data.parallel import make_env
from recordings import BOWL, write_demonstrations

pytestmark = [pytest.mark.libero, pytest.mark.slow]


def test_states_become_poses_and_rewards(tmp_path: Path) -> None:
    keywords = {"obs": "pose", "reward": "dense", "assets": "primitive", "task": 2}
    env = make_env("mbrl/LiberoSpatial-v0", keywords)
    libero = env.unwrapped
    rng = np.random.default_rng(0)
    observation, _ = env.reset(seed=3)
    states, actions, poses, rewards = [], [], [observation["pose"]], []
    for _ in range(6):
        data = libero.simulation.data
        states.append(np.concatenate([[data.time], data.qpos, data.qvel]))
        actions.append(rng.uniform(-1, 1, 7).astype(np.float32))
        observation, reward, *_ = env.step(actions[-1])
        poses.append(observation["pose"])
        rewards.append(reward)
    env.close()
    file = tmp_path / f"{BOWL}_demo.hdf5"
    write_demonstrations(file, [np.stack(states)], [np.stack(actions)])
    options = ReadOptions(replay=True, reward="dense", assets="primitive")
    ((_, episode),) = episodes_of(file, options)
    np.testing.assert_array_equal(episode.actions, np.stack(actions))
    np.testing.assert_allclose(episode.observations["pose"][:-1], np.stack(poses)[:-1], atol=1e-6)
    # The gripper's command is no part of a state: the very last step may differ a little.
    np.testing.assert_allclose(episode.observations["pose"][-1], poses[-1], atol=0.02)
    np.testing.assert_allclose(episode.rewards[:-1], rewards[:-1], atol=1e-4)
    assert (episode.success, episode.terminated) == (False, False)
    assert (episode.info["assets"], episode.info["task"]) == ("primitive", 2)
    with h5py.File(file, "a") as opened:
        del opened["data/demo_0/states"]
        opened["data/demo_0/states"] = np.zeros((6, 11))
    with pytest.raises(DamagedData, match=r"states have shape \(6, 11\)"):
        list(episodes_of(file, options))


def test_fixtures_stand_where_the_demonstration_has_them() -> None:
    from mbrl_agents.envs.libero.replay import fixture_poses

    env = make_env("mbrl/LiberoSpatial-v0", {"assets": "primitive", "task": 2})
    simulation = env.unwrapped.simulation
    body = next(iter(simulation.fixtures.compiled))
    name = simulation.model.body(body).name
    xml = (
        f'<mujoco><worldbody><body name="{name}" pos="1 2 3" quat="0 1 0 0"/></worldbody></mujoco>'
    )
    ((found, (position, quaternion)),) = fixture_poses(simulation, xml).items()
    assert (found, position.tolist(), quaternion.tolist()) == (body, [1, 2, 3], [0, 1, 0, 0])
    with pytest.raises(ValueError, match="no XML"):
        fixture_poses(simulation, "<mujoco")
    env.close()
