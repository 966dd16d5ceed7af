"""Collection: sources, labels, seeds, worker processes, resuming."""

from __future__ import annotations

import json
from dataclasses import replace

import gymnasium
import numpy as np
import pytest

from mbrl_agents.data.collect import Collection, collect, collect_to_folder
from mbrl_agents.data.dataset import count_episodes, read_episodes, write_episodes
from mbrl_agents.data.episode import Episode
from mbrl_agents.data.noise import Disturbance, NoiseConfig
from mbrl_agents.data.recording import run_episode
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


def test_an_episode_says_how_its_pose_describes_the_robot() -> None:
    env = gymnasium.make(TOY)
    seed = np.random.SeedSequence(0)
    assert "robot_state" not in run_episode(env, source="expert", seed=seed).info
    env.unwrapped.robot_state = "libero8"  # type: ignore[attr-defined]
    assert run_episode(env, source="expert", seed=seed).info["robot_state"] == "libero8"


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


def test_a_folder_recorded_under_other_conditions_is_refused(tmp_path, monkeypatch) -> None:
    told = {"image_convention": "upright", "renderer": "EGL one"}
    monkeypatch.setattr(ToyReach, "conditions", told, raising=False)
    collect_to_folder(tmp_path, collection(episodes=1))
    monkeypatch.setattr(ToyReach, "conditions", told | {"renderer": "EGL two"})
    assert collect_to_folder(tmp_path, collection(episodes=2)) == 1
    monkeypatch.setattr(ToyReach, "conditions", told | {"image_convention": "raw"})
    with pytest.raises(ValueError, match="image_convention='upright', not 'raw'; use another"):
        collect_to_folder(tmp_path, collection(episodes=3))
    assert count_episodes(tmp_path) == 2


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


class Line(gymnasium.Env):
    """Walk to 3 along a line: -1, 0 or 1 a step.  The observation is one array, written anew."""

    def __init__(self) -> None:
        self.observation_space = gymnasium.spaces.Box(-9, 9, (1,), np.float32)
        self.action_space = gymnasium.spaces.Discrete(3, start=-1)
        self._place = np.zeros(1, np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._place[:] = 0.0
        return self._place, {}

    def step(self, action):
        assert self.action_space.contains(action)
        self._place += action
        success = bool(self._place[0] == 3)
        return self._place, float(success), success, False, {"is_success": success}

    def expert_action(self) -> int:
        return 1


gymnasium.register("Line-v0", entry_point=Line, max_episode_steps=20)


class _Left:
    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        return np.array(-1), None


def build_left(env: object) -> _Left:
    return _Left()


def test_discrete_actions_are_recorded_as_numbers_and_read_back(tmp_path) -> None:
    line = {"env_id": "Line-v0", "episodes": 2}
    expert = collect(collection(**line))
    assert [e.actions.tolist() for e in expert] == [[[1.0]] * 3] * 2
    assert expert[0].actions.dtype == expert[0].labels.dtype == np.float32
    assert expert[0].observations["obs"][:, 0].tolist() == [0, 1, 2, 3]
    np.testing.assert_array_equal(expert[0].labels, expert[0].actions)
    drawn = collect(collection(**line, source="random"))
    assert {x for e in drawn for x in e.actions.ravel()} == {-1.0, 0.0, 1.0}
    assert all(np.isnan(e.labels).all() for e in drawn)
    own = collect(collection(**line, source="agent", label=True), factory=build_left)
    assert (own[0].actions == -1).all()
    assert (own[0].labels == 1).all()
    episodes = [*expert, *drawn, *own]
    write_episodes(tmp_path, episodes)
    for written, read in zip(episodes, read_episodes(tmp_path), strict=True):
        for name in ("actions", "labels", "rewards"):
            np.testing.assert_array_equal(getattr(read, name), getattr(written, name))
        assert read.actions.shape == (len(written), 1)


def test_environments_without_a_demonstrator_give_random_discrete_actions() -> None:
    episode = collect(collection(env_id="CartPole-v1", source="random", episodes=1))[0]
    assert set(np.unique(episode.actions)) == {0.0, 1.0}


def test_noise_of_discrete_actions_is_refused() -> None:
    with pytest.raises(ValueError, match=r"not of Discrete\(3.*'expert', 'random' or 'agent'"):
        collect(collection(env_id="Line-v0", source="noisy_expert"))
    with pytest.raises(ValueError, match="Box or Discrete"):
        run_episode(_MultiBinary(), source="random", seed=np.random.SeedSequence(0))


class _MultiBinary(Line):
    def __init__(self) -> None:
        super().__init__()
        self.action_space = gymnasium.spaces.MultiBinary(2)


ARM = (1.0, 1.0, 1.0, 0.25, 0.25, 0.25, 0.0)
QUIET = {"clean": 0.0, "both": 0.0, "bursts": 0.0, "flip_probability": 0.0, "std": (0.0, 0.0)}


def disturbed(
    action: np.ndarray, steps: int, gripper: int | None = None, **changes: object
) -> np.ndarray:
    """``(steps, A)`` what is executed in place of a constant action."""
    config = NoiseConfig(**{**QUIET, **changes})  # type: ignore[arg-type]
    bound = np.ones(len(action)) * 9
    scale = ARM if len(action) == len(ARM) else None
    rng = np.random.default_rng(0)
    disturb = Disturbance(config, -bound, bound, rng, scale=scale, gripper=gripper)
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
    changes = {"flip_probability": 0.2, "flip_steps": (3, 3)}
    executed = disturbed(np.full(7, 0.5), 200, gripper=6, **changes)
    assert (executed[:, :6] == 0.5).all()
    assert set(np.unique(executed[:, 6])) == {-9.0, 0.5}
    assert (disturbed(np.full(7, 0.5), 200, **changes) == 0.5).all()


class Arm(ToyReach):
    """An environment that says how its actions may be disturbed."""

    noise_scale = ARM
    gripper_dim = 6


gymnasium.register("Arm-v0", entry_point=Arm, max_episode_steps=40)


def test_the_environment_says_which_dimensions_are_disturbed_and_which_flips() -> None:
    noise = NoiseConfig(clean=0.0, both=1.0, flip_probability=0.5)

    def off(env_id: str, noise: NoiseConfig) -> np.ndarray:
        wanted = collection(env_id=env_id, source="noisy_expert", noise=noise)
        gaps = [np.abs(e.actions - e.labels) for e in collect(wanted)]
        return np.concatenate(gaps)

    assert set(np.unique(off("Arm-v0", noise)[:, 6])) == {0.0, 1.0}
    assert len(np.unique(off(TOY, noise)[:, 6])) > 10  # everywhere alike, and nothing flips
    still = replace(noise, scale=(0.0,) * 7, flip_probability=0.0)
    assert (off("Arm-v0", still) == 0.0).all()
    with pytest.raises(ValueError, match="each of 7 action dimensions"):
        off("Arm-v0", replace(noise, scale=(1.0, 1.0)))


def test_a_collection_of_an_earlier_version_is_known_again(tmp_path) -> None:
    spec = collection(source="noisy_expert")
    assert "scale" not in json.loads(spec.signature())["noise"]
    former = json.loads(spec.signature())
    former["noise"]["scale"] = list(ARM)
    stored = json.dumps(former, sort_keys=True)
    write_episodes(
        tmp_path, [replace(e, info={**e.info, "collection": stored}) for e in collect(spec)]
    )
    assert collect_to_folder(tmp_path, spec) == 0
    assert collect_to_folder(tmp_path, replace(spec, noise=NoiseConfig(scale=ARM))) == 0
    other = replace(spec, noise=NoiseConfig(scale=(0.5,) * 7))
    assert collect_to_folder(tmp_path, other) == 3


def test_settings_out_of_range_are_refused() -> None:
    for change in ({"clean": 1.5}, {"correlation": 1.0}, {"std": (0.5, 0.1)}):
        with pytest.raises(ValueError, match=next(iter(change))):
            NoiseConfig(**change)  # type: ignore[arg-type]


LIBERO = Collection(
    env_id="mbrl/LiberoSpatial-v0",
    env_kwargs={"task": 2, "assets": "primitive", "obs": "image", "max_episode_steps": 12},
    source="noisy_expert",
    episodes=2,
)


def test_views_are_what_an_environment_of_their_own_would_have_recorded(tmp_path) -> None:
    images, poses, alone = tmp_path / "images", tmp_path / "poses", tmp_path / "alone"
    # A kill may leave a view behind: what it lacks is recorded, and nothing twice.
    assert collect_to_folder(images, replace(LIBERO, episodes=1)) == 1
    assert collect_to_folder(images, LIBERO, views={"pose": poses}) == 2
    assert [e.info["number"] for e in read_episodes(images)] == [0, 1]
    collect_to_folder(alone, LIBERO.seen_as("pose"))
    # Or ahead.
    ahead = tmp_path / "ahead"
    assert collect_to_folder(ahead, LIBERO, views={"pose": alone}, workers=2) == 2
    assert collect_to_folder(ahead, LIBERO, views={"pose": alone}) == 0
    assert_same(read_episodes(ahead), read_episodes(images))

    own, separate = read_episodes(poses), read_episodes(alone)
    assert_same(own, separate)
    for a, b, shown in zip(own, separate, read_episodes(images), strict=True):
        assert a.observations.keys() == b.observations.keys() == {"pose"}
        assert "image" in shown.observations
        np.testing.assert_array_equal(a.rewards, b.rewards)
        np.testing.assert_array_equal(a.actions, shown.actions)


def test_an_environment_without_views_says_so(tmp_path) -> None:
    with pytest.raises(ValueError, match=r"ToyReach has no view 'image' \(valid: none\)"):
        collect_to_folder(tmp_path / "a", collection(), views={"image": tmp_path / "b"})
    assert not list(tmp_path.rglob("*.parquet"))
