"""Reconstructions and open-loop imagination beside what was recorded."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from mbrl_agents.data.episode import Episode
from mbrl_agents.evaluation.filmstrips import LINE
from mbrl_agents.evaluation.imagination_files import show_imagination, try_to_show_imagination
from mbrl_agents.evaluation.imagined import describe, imagine_windows, summarise_windows
from mbrl_agents.protocols import Batch, Rollout

SIDE = 16


class Sums:
    """Believes that ``x`` grows by the action, and what it sees; an image shows ``x`` as grey."""

    action_size = feature_size = 1

    def __init__(self, images: bool = True) -> None:
        self.images = images

    def initial(self, batch):
        return {"x": torch.zeros(batch, 1), "seen": torch.zeros(batch, 1)}

    def observe(self, state, obs, prev_action, is_first, *, generator=None):
        seen = torch.where(is_first[:, None], 0.0, state["seen"])
        return {"x": obs["x"].float(), "seen": seen + 1}

    def features(self, state):
        return state["x"]

    def imagine_step(self, state, action, *, generator=None):
        return {**state, "x": state["x"] + action}

    def imagine(self, state, actions, *, generator=None, keep_features=False) -> Rollout:
        x = (state["x"][:, None] + actions.cumsum(1))[..., 0]
        return Rollout(None, x, steps_to_go=10 * state["seen"].expand_as(x))

    def decode(self, state):
        found = {"x": state["x"]}
        if self.images:
            found["picture"] = state["x"][..., None, None].expand(-1, SIDE, SIDE, 3)
        return found


def episode(actions, drift: float = 0.0, first: bool = False, images: bool = True) -> Episode:
    """``x`` grows by the actions, and by ``drift`` that the model knows nothing of."""
    steps = np.asarray(actions, np.float32) + drift
    x = np.concatenate([[0.1], 0.1 + np.cumsum(steps)]).astype(np.float32)
    shape = (len(x), 3, SIDE, SIDE) if first else (len(x), SIDE, SIDE, 3)
    grey = np.broadcast_to(np.round(255 * x).reshape(-1, 1, 1, 1), shape).astype(np.uint8)
    taken = np.asarray(actions, np.float32)[:, None]
    obs = {"x": x[:, None], "picture": grey} if images else {"x": x[:, None]}
    return Episode(obs, taken, taken, x[1:], True, True)


def batch(episode: Episode) -> Batch:
    """A successful episode as one observation-aligned sequence."""
    count = len(episode) + 1
    number = torch.arange(count)
    return Batch(
        obs={key: torch.tensor(value) for key, value in episode.observations.items()},
        prev_action=torch.cat([torch.zeros(1, 1), torch.tensor(episode.actions)]),
        reward=torch.cat([torch.zeros(1), torch.tensor(episode.rewards)]),
        is_first=number == 0,
        is_last=number == count - 1,
        terminal=number == count - 1,
        steps_to_go=torch.arange(count - 1.0, -1.0, -1.0),
        label=torch.full((count, 1), torch.nan),
        mask=torch.ones(count, dtype=torch.bool),
    )


def recording(actions, drift: float = 0.0, first: bool = False) -> Batch:
    return batch(episode(actions, drift, first))


def places(windows) -> list[tuple[int, int, int]]:
    """Episode, start and imagined steps of each window."""
    steps = windows.length - windows.context
    return [tuple(map(int, row)) for row in zip(windows.episode, windows.start, steps, strict=True)]


class TestWindows:
    def test_imagination_takes_the_actions_that_led_to_each_frame(self):
        rng = np.random.default_rng(0)
        found = imagine_windows(
            Sums(), [recording(rng.uniform(0, 0.05, 12))], context=3, horizon=10
        )
        assert places(found) == [(0, 0, 10)]
        np.testing.assert_allclose(found.imagined["x"], found.truth["x"], atol=1e-6)
        np.testing.assert_allclose(*found.outcomes["reward"], atol=1e-6)
        np.testing.assert_array_equal(found.outcomes["steps_to_go"][0], [np.arange(9, -1, -1)])
        assert found.errors()["open_loop"]["picture"].max() < (0.51 / 255) ** 2
        assert found.images == ["picture"]

    @pytest.mark.parametrize("first", [False, True])
    def test_an_error_that_grows_is_measured_at_each_step(self, first):
        actions = np.zeros(20)
        windows = imagine_windows(
            Sums(),
            [recording(actions, 0.02, first), recording(actions, 0.0, first)],
            context=5,
            horizon=15,
        )
        assert windows.rank().tolist() == [1, 0]
        grown = (0.02 * np.arange(1, 16)) ** 2
        errors = windows.errors()
        np.testing.assert_allclose(errors["open_loop"]["x"][0], grown, rtol=1e-4)
        np.testing.assert_allclose(errors["still"]["x"][0], grown, rtol=1e-4)
        np.testing.assert_allclose(errors["open_loop"]["picture"][0], grown, atol=2e-3)
        assert errors["reconstruction"]["x"].max() == 0
        summary = summarise_windows(windows)
        assert summary["open_loop"]["x"]["per_step"] == pytest.approx(grown / 2, rel=1e-4)
        assert summary["reconstruction"]["x"] == 0
        assert summary["steps_to_go"]["mean"] > 0
        assert json.loads(json.dumps(describe(windows, 0)))["episode"] == 0

    def test_windows_tile_an_episode_and_short_ends_are_left_out(self):
        found = imagine_windows(Sums(), [recording(np.zeros(34))], context=5, horizon=10)
        assert places(found) == [(0, 0, 10), (0, 10, 10), (0, 20, 10)]
        short = recording(np.zeros(5))
        found = imagine_windows(Sums(), [recording(np.zeros(14)), short], context=5, horizon=45)
        assert places(found) == [(0, 0, 10)]
        assert places(imagine_windows(Sums(), [short], context=5, horizon=9)) == [(0, 0, 1)]
        assert imagine_windows(Sums(), [short], context=6) is None
        assert imagine_windows(Sums(), []) is None
        many = imagine_windows(Sums(), [recording(np.zeros(100))], horizon=10, limit=4)
        assert many.start.tolist() == [0, 30, 60, 90]
        with pytest.raises(ValueError, match="at least 1"):
            imagine_windows(Sums(), [short], context=0)

    def test_the_model_has_seen_the_episode_from_its_first_frame_and_nothing_before(self):
        long, short = recording(np.full(25, 0.01)), recording(np.full(12, 0.01))
        found = imagine_windows(Sums(), [long, short], context=2, horizon=10)
        assert places(found) == [(0, 0, 10), (0, 10, 10), (1, 0, 10)]
        # `Sums` predicts ten times the number of frames it has seen as steps to go.
        assert found.outcomes["steps_to_go"][1][:, 0].tolist() == [20, 120, 20]

    def test_what_lies_beyond_a_shorter_window_counts_nowhere(self):
        episodes = [recording(np.zeros(14)), recording(np.zeros(9), 0.02)]
        found = imagine_windows(Sums(), episodes, context=5, horizon=10)
        assert places(found) == [(0, 0, 10), (1, 0, 5)]
        grown = (0.02 * np.arange(1, 6)) ** 2
        error = found.errors()["open_loop"]["x"][1]
        np.testing.assert_allclose(error[:5], grown, rtol=1e-4)
        assert np.isnan(error[5:]).all()
        summary = summarise_windows(found)
        expected = [*(grown / 2), *np.zeros(5)]
        assert summary["open_loop"]["x"]["per_step"] == pytest.approx(expected, rel=1e-4)
        assert len(describe(found, 1)["reward"]) == 5


class Agent(SimpleNamespace):
    """What `show_imagination` reads of an agent."""

    def __init__(self, model: Sums, own: Sequence[Episode] = ()) -> None:
        modules = {"world_model": nn.Dropout()}
        super().__init__(
            algorithm=SimpleNamespace(world_model=model, modules=modules),
            config=SimpleNamespace(training=SimpleNamespace(holdout=0.5)),
            own=own,
            seed=0,
            num_timesteps=7,
        )

    def recordings(self, episodes: Sequence[Episode] = (), count: int = 8) -> list[Batch]:
        return [batch(episode) for episode in (episodes or self.own)[:count]]


def many(count: int, **changes: bool) -> list[Episode]:
    return [episode(np.full(30, 0.01), 0.001 * i, **changes) for i in range(count)]


def test_files_of_a_run_that_was_fitted(tmp_path):
    agent = Agent(Sums())
    summary = show_imagination(agent, tmp_path, many(6), horizon=20)
    assert agent.algorithm.modules["world_model"].training
    assert (summary["source"], summary["episodes"]) == ("held-out episodes", 3)
    out = tmp_path / "imagination"
    names = {path.stem: path.suffix for path in out.iterdir() if path.suffix in (".mp4", ".gif")}
    assert set(names) == {"best", "worst", "best-reconstruction", "worst-reconstruction"}
    for name in names:
        image = Image.open(out / f"{name}.png")
        assert image.size == (64 + 16 * 64, LINE + 3 * 64)
    assert (out / "worst-curves.png").is_file()
    stored = json.loads((out / "metrics.json").read_text())
    assert stored == json.loads(json.dumps(summary))
    assert len(stored["open_loop"]["picture"]["per_step"]) == 20
    assert len(stored["worst"]["predicted_reward"]) == len(stored["worst"]["reward"]) == 20
    assert stored["best"]["predicted_steps_to_go"]
    events = EventAccumulator(str(tmp_path), size_guidance={"images": 0}).Reload()
    assert {"imagination/best", "imagination/worst-video"} <= set(events.Tags()["images"])
    assert "imagination/open_loop_error/picture" in events.Tags()["scalars"]
    video = events.Images("imagination/best-video")[0].encoded_image_string
    assert video.startswith(b"GIF89a")


def test_edges_tell_what_was_seen_from_what_was_imagined(tmp_path):
    show_imagination(Agent(Sums()), tmp_path, many(2), context=4, horizon=20)
    picture = np.asarray(Image.open(tmp_path / "imagination" / "best.png"))
    strip = picture[LINE + 64]
    numbers = picture[:LINE, 64:].reshape(LINE, 16, 64, 3)
    assert numbers.any(axis=(0, 2, 3)).all()  # each frame's step stands above it
    assert len({column.tobytes() for column in numbers.swapaxes(0, 1)}) == 16
    edges = [tuple(map(int, strip[64 + 64 * i])) for i in range(16)]
    assert edges[0] == (60, 200, 90)
    assert edges[-1] == (220, 60, 60)
    strip = np.asarray(Image.open(tmp_path / "imagination" / "best-reconstruction.png"))[LINE + 64]
    assert tuple(map(int, strip[-1])) == (60, 200, 90)


def test_vectors_become_curves(tmp_path):
    episodes = many(2, images=False)
    summary = show_imagination(Agent(Sums(images=False)), tmp_path, episodes, unseen=True)
    assert summary["source"] == "episodes it was not trained on"
    names = {path.name for path in (tmp_path / "imagination").iterdir()}
    assert names == {"best-curves.png", "worst-curves.png", "metrics.json"}


class Doubtful(Sums):
    """An ensemble that believes ``x`` to be anything within 0.1 to the one and 0.3 to the other."""

    def imagine(self, state, actions, *, generator=None, keep_features=False) -> Rollout:
        rollout = super().imagine(state, actions)
        x = rollout.reward[..., None]
        return dataclasses.replace(rollout, bounds=lambda: ({"x": x - 0.1}, {"x": x + 0.3}))


def test_an_ensembles_range_is_shown_beside_what_came(tmp_path):
    # Drift adds to what came: of the second kind all of it, of the first none is left out.
    for drift, inside in ((0.0, 1.0), (-2.0, 0.0)):
        episodes = [batch(episode([0.5] * 8, drift, images=False))]
        windows = imagine_windows(Doubtful(images=False), episodes, context=2, horizon=6)
        found = summarise_windows(windows)["per_dimension"]["x"]
        assert found["range"] == pytest.approx([0.4])
        assert found["inside"] == [inside]
        assert found["error"][0] == pytest.approx(0.0 if inside else 7.0, abs=1e-5)
    show_imagination(Agent(Doubtful(images=False)), tmp_path, many(2, images=False), unseen=True)
    events = EventAccumulator(str(tmp_path), size_guidance={"images": 0}).Reload()
    shown = set(events.Tags()["images"])
    assert shown == {"imagination/best-curves", "imagination/worst-curves"}
    alone = imagine_windows(Sums(images=False), [batch(episode([0.5] * 8, images=False))])
    assert set(summarise_windows(alone)["per_dimension"]["x"]) == {"error"}


def test_own_experience_is_taken_where_no_episodes_are_given(tmp_path):
    summary = show_imagination(Agent(Sums(), many(3)), tmp_path, horizon=8, limit=2)
    assert (summary["source"], summary["episodes"]) == ("replayed episodes", 2)
    assert (tmp_path / "imagination" / "best.png").is_file()


def test_nothing_is_written_where_no_episode_is_long_enough(tmp_path):
    assert show_imagination(Agent(Sums()), tmp_path / "none", many(2), context=90) is None
    assert not (tmp_path / "none").exists()


def test_a_failure_does_not_cost_the_training(tmp_path):
    def broken(state):
        raise RuntimeError("no decoder today")

    agent = Agent(Sums())
    agent.algorithm.world_model.decode = broken
    with pytest.warns(UserWarning, match="no decoder today"):
        try_to_show_imagination(agent, tmp_path, many(2))
    assert agent.algorithm.modules["world_model"].training
