"""Collection: sources, labels, seeds, worker processes, resuming."""

from __future__ import annotations

import numpy as np
import pytest

from mbrl_agents.data.collect import Collection, collect, collect_to_folder
from mbrl_agents.data.dataset import count_episodes, read_episodes
from mbrl_agents.data.episode import Episode
from mbrl_agents.data.noise import Disturbance, NoiseConfig
from toy_reach import ToyReach

TOY = "toy_reach:ToyReach-v0"


def collection(**changes: object) -> Collection:
    return Collection(**{"env_id": TOY, "episodes": 3, "source": "expert", **changes})  # type: ignore[arg-type]


def assert_same(first: list[Episode], second: list[Episode]) -> None:
    assert len(first) == len(second)
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a.observations["pose"], b.observations["pose"])
        np.testing.assert_array_equal(a.actions, b.actions)
        np.testing.assert_array_equal(a.labels, b.labels)
        assert a.info == b.info


def test_expert_episodes_succeed_and_are_labelled_with_what_was_executed() -> None:
    for episode in collect(collection()):
        assert episode.success
        assert episode.terminated
        np.testing.assert_array_equal(episode.labels, episode.actions)
        assert episode.info["task_name"] == "reach"


def test_noisy_expert_records_the_correction_not_the_disturbance() -> None:
    noise = NoiseConfig(clean=0.0, both=1.0)
    disturbed = 0
    for episode in collect(collection(source="noisy_expert", noise=noise, episodes=5)):
        assert not np.isnan(episode.labels).any()
        pose = episode.observations["pose"][:-1]
        wanted = np.clip((pose[:, 7:10] - pose[:, :3]) / 0.05, -1, 1)
        np.testing.assert_allclose(episode.labels[:, :3], wanted, atol=1e-4)
        disturbed += int((episode.labels != episode.actions).any())
        assert np.abs(episode.actions).max() <= 1.0
    assert disturbed == 5


def test_random_episodes_have_no_label_unless_asked_for() -> None:
    assert np.isnan(collect(collection(source="random"))[0].labels).all()
    assert not np.isnan(collect(collection(source="random", label=True))[0].labels).any()


def test_result_does_not_depend_on_the_number_of_workers() -> None:
    spec = collection(source="noisy_expert", tasks=[0, 1])
    assert_same(collect(spec, workers=1), collect(spec, workers=2))


def test_seed_decides_the_episodes() -> None:
    first, second = collect(collection(seed=1)), collect(collection(seed=2))
    assert (first[0].observations["pose"][0] != second[0].observations["pose"][0]).any()
    assert_same(first, collect(collection(seed=1)))


def test_resuming_adds_only_what_is_missing(tmp_path) -> None:
    assert collect_to_folder(tmp_path, collection(episodes=2)) == 2
    assert collect_to_folder(tmp_path, collection(episodes=5)) == 3
    assert collect_to_folder(tmp_path, collection(episodes=5)) == 0
    assert_same(read_episodes(tmp_path), collect(collection(episodes=5)))


def test_interrupted_collection_keeps_finished_episodes(tmp_path) -> None:
    def interrupt(episode: Episode) -> None:
        if episode.info["number"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        collect_to_folder(tmp_path, collection(episodes=5), on_episode=interrupt)
    assert count_episodes(tmp_path) == 3
    assert collect_to_folder(tmp_path, collection(episodes=5)) == 2


def test_folder_of_another_environment_is_refused(tmp_path) -> None:
    collect_to_folder(tmp_path, collection(episodes=1))
    with pytest.raises(ValueError, match="env_id"):
        collect_to_folder(tmp_path, Collection("Pendulum-v1", source="random", episodes=1))


def test_folder_of_another_reward_or_assets_is_refused(tmp_path, monkeypatch) -> None:
    collect_to_folder(tmp_path, collection(episodes=1))
    with pytest.raises(ValueError, match="reward"):
        collect_to_folder(tmp_path, collection(env_kwargs={"reward": "dense"}))
    with pytest.raises(ValueError, match="assets"):
        collect_to_folder(tmp_path, collection(env_kwargs={"assets": "official"}))
    # Where the keyword does not say, the environment does.
    monkeypatch.setattr(ToyReach, "assets_kind", "official", raising=False)
    with pytest.raises(ValueError, match="assets"):
        collect_to_folder(tmp_path, collection(episodes=2))
    assert count_episodes(tmp_path) == 1


def test_another_agent_is_another_collection(tmp_path) -> None:
    first = collection(source="agent", episodes=1, agent="a")
    assert collect_to_folder(tmp_path, first, factory=build_still) == 1
    assert collect_to_folder(tmp_path, first, factory=build_still) == 0
    second = collection(source="agent", episodes=1, agent="b")
    assert collect_to_folder(tmp_path, second, factory=build_still) == 1


def test_test_states_are_never_collected() -> None:
    with pytest.raises(ValueError, match="test set"):
        collection(env_kwargs={"init": "benchmark"})


def test_missing_demonstrator_is_said() -> None:
    with pytest.raises(ValueError, match="demonstrator"):
        collect(collection(env_kwargs={"has_expert": False}))
    with pytest.raises(ValueError, match="noisy_expert"):
        collection(source="exprt")


class _Still:
    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        assert (state is None) == bool(episode_start[0])
        return np.zeros(7, np.float32), "state"


def build_still(env: object) -> _Still:
    return _Still()


def test_agent_episodes_carry_the_state_and_can_be_labelled() -> None:
    episode = collect(collection(source="agent", label=True, episodes=1), factory=build_still)[0]
    assert not episode.success
    assert len(episode) == 40
    assert (episode.actions == 0).all()
    assert (episode.labels[:, :3] != 0).any()


QUIET = {"clean": 0.0, "both": 0.0, "bursts": 0.0, "flip_probability": 0.0, "std": (0.0, 0.0)}


def disturbed(action: np.ndarray, steps: int, **changes: object) -> np.ndarray:
    """``(steps, A)`` what is executed in place of a constant action."""
    config = NoiseConfig(**{**QUIET, **changes})  # type: ignore[arg-type]
    bound = np.ones(len(action)) * 9
    disturb = Disturbance(config, -bound, bound, np.random.default_rng(0))
    return np.stack([disturb(action) for _ in range(steps)])


def test_gaussian_noise_has_the_configured_size_and_correlation() -> None:
    noise = disturbed(np.zeros(1), 5000, std=(0.2, 0.2), correlation=0.5)[:, 0]
    assert noise.std() == pytest.approx(0.2, rel=0.05)
    assert np.corrcoef(noise[1:], noise[:-1])[0, 1] == pytest.approx(0.5, abs=0.05)


def test_bursts_hold_a_random_action_and_leave_the_gripper_alone() -> None:
    executed = disturbed(np.full(7, 0.5), 200, bursts=1.0, burst_probability=0.2)
    assert (executed[:, 6] == 0.5).all()
    in_burst = executed[:, 0] != 0.5
    assert 0 < in_burst.sum() < 200
    held = (executed[1:, 0] == executed[:-1, 0])[in_burst[1:]]
    assert held.mean() > 0.5


def test_flips_hold_the_gripper_at_the_opposite_and_leave_the_arm_alone() -> None:
    executed = disturbed(np.full(7, 0.5), 200, flip_probability=0.2, flip_steps=(3, 3))
    assert (executed[:, :6] == 0.5).all()
    assert set(np.unique(executed[:, 6])) == {-9.0, 0.5}


def test_settings_out_of_range_are_refused() -> None:
    for change in ({"clean": 1.5}, {"correlation": 1.0}, {"std": (0.5, 0.1)}):
        with pytest.raises(ValueError, match=next(iter(change))):
            NoiseConfig(**change)  # type: ignore[arg-type]
