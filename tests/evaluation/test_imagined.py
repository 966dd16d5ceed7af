"""Reconstructions and open-loop imagination beside what was recorded."""

from __future__ import annotations

import json
import warnings
from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import mbrl_agents
import toy_grasp
from mbrl_agents.data.episode import Episode
from mbrl_agents.evaluation.imagination_files import show_imagination, try_to_show_imagination
from mbrl_agents.evaluation.imagined import (
    Recording,
    describe,
    imagine_windows,
    rank,
    summarise_windows,
)
from mbrl_agents.protocols import Rollout
from mbrl_agents.training.replay import Replay

SIDE = 16
SMALL = {"deter": 32, "hidden": 16, "units": 16, "depth": 2, "stoch": 4, "classes": 4}


class Sums(torch.nn.Module):
    """Believes that ``x`` grows by the action, and what it sees; a picture shows ``x`` as grey."""

    action_size = feature_size = 1

    def __init__(self) -> None:
        super().__init__()
        self.anchor = torch.nn.Parameter(torch.zeros(1))

    def initial(self, batch):
        return {"x": torch.zeros(batch, 1)}

    def observe(self, state, obs, prev_action, is_first):
        return {"x": obs["x"].float()}

    def features(self, state):
        return state["x"]

    def imagine(self, state, actions, *, keep_features=False) -> Rollout:
        x = state["x"][:, None] + actions.cumsum(1)
        return Rollout(x, x[..., 0], torch.ones_like(x[..., 0]), steps_to_go=10 * x[..., 0])

    def decode(self, features):
        picture = features[..., None, None].expand(*features.shape[:-1], SIDE, SIDE, 3)
        return {"x": features, "picture": picture}


def recording(actions, drift: float = 0.0, first: bool = False) -> Recording:
    """``x`` grows by the actions, and by ``drift`` that the model knows nothing of."""
    steps = np.asarray(actions, np.float32) + drift
    x = np.concatenate([[0.1], 0.1 + np.cumsum(steps)]).astype(np.float32)
    shape = (len(x), 3, SIDE, SIDE) if first else (len(x), SIDE, SIDE, 3)
    grey = np.broadcast_to(np.round(255 * x).reshape(-1, 1, 1, 1), shape)
    episode = Episode(
        {"x": x[:, None], "picture": grey.astype(np.uint8)},
        np.asarray(actions, np.float32)[:, None],
        np.asarray(actions, np.float32)[:, None],
        x[1:],
        True,
        True,
    )
    return Recording.of_episode(episode, episode.actions)


class TestWindows:
    def test_imagination_takes_the_actions_that_led_to_each_frame(self):
        rng = np.random.default_rng(0)
        (window,) = imagine_windows(
            Sums(), [recording(rng.uniform(0, 0.05, 12))], context=3, horizon=10
        )
        assert (window.start, window.context, len(window.reward)) == (0, 3, 10)
        np.testing.assert_allclose(window.imagined["x"], window.truth["x"], atol=1e-6)
        np.testing.assert_allclose(window.predicted_reward, window.reward, atol=1e-6)
        np.testing.assert_array_equal(window.steps_to_go, np.arange(9, -1, -1))
        assert window.open_loop_error("picture").max() < (0.51 / 255) ** 2
        assert window.pictures == ["picture"]

    @pytest.mark.parametrize("first", [False, True])
    def test_an_error_that_grows_is_measured_at_each_step(self, first):
        actions = np.zeros(20)
        windows = imagine_windows(
            Sums(),
            [recording(actions, 0.02, first), recording(actions, 0.0, first)],
            context=5,
            horizon=15,
        )
        best, worst = rank(windows)
        assert (best.episode, worst.episode) == (1, 0)
        grown = (0.02 * np.arange(1, 16)) ** 2
        np.testing.assert_allclose(worst.open_loop_error("x"), grown, rtol=1e-4)
        np.testing.assert_allclose(worst.still_error("x"), grown, rtol=1e-4)
        np.testing.assert_allclose(worst.open_loop_error("picture"), grown, atol=2e-3)
        assert worst.reconstruction_error("x").max() == 0
        summary = summarise_windows(windows)
        assert summary["open_loop"]["x"]["per_step"] == pytest.approx(grown / 2, rel=1e-4)
        assert summary["reconstruction"]["x"] == 0
        assert summary["steps_to_go"]["mean"] > 0
        assert json.loads(json.dumps(describe(worst)))["episode"] == 0

    def test_windows_tile_an_episode_and_short_ends_are_left_out(self):
        found = imagine_windows(Sums(), [recording(np.zeros(34))], context=5, horizon=10)
        assert [(w.start, len(w.reward)) for w in found] == [(0, 10), (10, 10), (20, 10)]
        short = recording(np.zeros(5))
        found = imagine_windows(Sums(), [recording(np.zeros(14)), short], context=5, horizon=45)
        assert [(w.episode, len(w.reward)) for w in found] == [(0, 10)]
        assert [w.start for w in imagine_windows(Sums(), [short], context=5, horizon=9)] == [0]
        assert imagine_windows(Sums(), [short], context=6) == []
        assert imagine_windows(Sums(), []) == []
        many = imagine_windows(Sums(), [recording(np.zeros(100))], horizon=10, limit=4)
        assert [w.start for w in many] == [0, 30, 60, 90]
        with pytest.raises(ValueError, match="at least 1"):
            imagine_windows(Sums(), [short], context=0)


def see(pose: np.ndarray) -> dict[str, np.ndarray]:
    image = np.zeros((SIDE, SIDE, 3), np.uint8)
    image[:, int(np.clip((pose[0] + 0.4) * 20, 0, SIDE - 1))] = 255
    return {"image": image, "pose": pose[:7]}


class Pictures(gymnasium.ObservationWrapper):
    """The toy as a bar where its hand is, beside the hand's pose."""

    def __init__(self) -> None:
        super().__init__(gymnasium.make("toy_grasp:ToyGrasp-v0"))
        box = spaces.Box(0, 255, (SIDE, SIDE, 3), np.uint8)
        pose = spaces.Box(-np.inf, np.inf, (7,), np.float32)
        self.observation_space = spaces.Dict({"image": box, "pose": pose})

    def observation(self, observation):
        return see(observation["pose"])


@pytest.fixture(scope="module")
def episodes():
    episodes = toy_grasp.demonstrations(6)
    for episode in episodes:
        frames = [see(pose) for pose in episode.observations.pop("pose")]
        episode.observations.update({k: np.stack([f[k] for f in frames]) for k in frames[0]})
    return episodes


def test_files_of_a_run_that_was_fitted(episodes, tmp_path):
    agent = mbrl_agents.make_agent("dreamer-policy", Pictures(), world_model=SMALL)
    agent.policy.world_model.train()
    summary = show_imagination(agent, tmp_path, episodes, horizon=20)
    assert agent.policy.world_model.training
    assert summary["source"] == "held-out episodes"
    out = tmp_path / "imagination"
    names = {path.stem: path.suffix for path in out.iterdir() if path.suffix in (".mp4", ".gif")}
    assert set(names) == {"best", "worst", "best-reconstruction", "worst-reconstruction"}
    for name in names:
        picture = Image.open(out / f"{name}.png")
        assert picture.size == (64 + 16 * 64, 3 * 64)
    assert (out / "worst-curves.png").is_file()
    stored = json.loads((out / "metrics.json").read_text())
    assert stored == json.loads(json.dumps(summary))
    assert len(stored["open_loop"]["image"]["per_step"]) == 20
    assert len(stored["worst"]["predicted_reward"]) == len(stored["worst"]["reward"])
    assert stored["best"]["predicted_steps_to_go"]
    events = EventAccumulator(str(tmp_path), size_guidance={"images": 0}).Reload()
    assert {"imagination/best", "imagination/worst-film"} <= set(events.Tags()["images"])
    assert "imagination/open_loop_error/image" in events.Tags()["scalars"]
    film = events.Images("imagination/best-film")[0].encoded_image_string
    assert film.startswith(b"GIF89a")


def test_vectors_become_curves_and_a_model_that_does_not_decode_shows_nothing(tmp_path):
    episodes = toy_grasp.demonstrations(2)
    env = gymnasium.make("toy_grasp:ToyGrasp-v0")
    agent = mbrl_agents.make_agent("dreamer-cem", env, world_model=SMALL)
    summary = show_imagination(agent, tmp_path / "vectors", episodes, unseen=True)
    assert summary["source"] == "episodes it was not trained on"
    names = {path.name for path in (tmp_path / "vectors" / "imagination").iterdir()}
    assert names == {"best-curves.png", "worst-curves.png", "metrics.json"}
    agent = mbrl_agents.make_agent("simple-cem", env)
    assert show_imagination(agent, tmp_path / "none", episodes) is None
    assert not (tmp_path / "none").exists()


def test_own_experience_is_taken_from_the_replay(tmp_path):
    agent = mbrl_agents.make_agent(
        "dreamer",
        Pictures(),
        world_model=SMALL,
        behaviour={"imagination": 2},
        training={"batch_size": 2, "sequence_length": 4, "train_ratio": 0.5},
    )
    agent.learn(130)
    summary = show_imagination(agent, tmp_path, horizon=8)
    assert summary["source"] == "replayed episodes"
    assert summary["steps_to_go"] is None
    assert (tmp_path / "imagination" / "best.png").is_file()


def test_a_failure_does_not_cost_the_training(tmp_path):
    def broken(features):
        raise RuntimeError("no decoder today")

    model = Sums()
    model.decode = broken
    policy = SimpleNamespace(world_model=model, from_env=lambda actions: actions)
    config = SimpleNamespace(training=SimpleNamespace(holdout=0.0))
    agent = SimpleNamespace(policy=policy, config=config, seed=0, num_timesteps=0)
    zeros = np.zeros((8, 1), np.float32)
    episode = Episode({"x": np.zeros((9, 1))}, zeros, zeros, zeros[:, 0], False, False)
    with pytest.warns(UserWarning, match="no decoder today"):
        try_to_show_imagination(agent, tmp_path, [episode])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try_to_show_imagination(SimpleNamespace(policy=SimpleNamespace()), tmp_path)


def test_a_replay_gives_its_newest_whole_episodes():
    replay = Replay(20, 2, 4, {"obs": ((1,), np.float32)}, 1, (2, 1, 2))

    def add(lane, number, is_first):
        replay.add(lane, {"obs": np.array([number])}, np.array([number]), number, is_first=is_first)

    for number in range(13):  # episodes of 5, 5 and 3; the ring of 10 has lost the first's start
        add(0, number, number % 5 == 0)
    for number in range(100, 102):
        add(1, number, number == 100)
    found = [entry["obs"]["obs"][:, 0].tolist() for entry in replay.episodes(9)]
    assert found == [[10, 11, 12], [100, 101], [5, 6, 7, 8, 9]]
    assert [len(entry["reward"]) for entry in replay.episodes(1, 3)] == [3]
    first = replay.episodes(1)[0]
    assert first["prev_action"][:, 0].tolist() == [0, 11, 12]
    assert first["steps_to_go"].isnan().all()
