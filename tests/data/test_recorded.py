"""Recorded episodes: alignment of rows, windows and their masks, what is held out."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from gymnasium import spaces

import toy_grasp
from mbrl_agents.data.actions import ActionCodec
from mbrl_agents.data.episode import Episode
from mbrl_agents.data.recorded import RecordedEpisodes, split_episodes
from mbrl_agents.data.rows import EpisodeRows

CODEC = ActionCodec(spaces.Box(-1.0, 1.0, (1,), np.float32))
GRASP_CODEC = ActionCodec(spaces.Box(-1.0, 1.0, (7,), np.float32))


def test_sequences_run_across_episodes():
    episodes = toy_grasp.demonstrations(3, noise=0.0)
    data = RecordedEpisodes(episodes, GRASP_CODEC)
    got = data.sequences(torch.tensor([0]), data.rows)
    assert data.rows == sum(len(e) + 1 for e in episodes) == len(data) + 3
    seen = np.concatenate([e.observations["pose"] for e in episodes])
    assert torch.equal(got.obs["pose"][0], torch.from_numpy(seen))
    assert torch.equal(got.is_first[0].nonzero()[:, 0], data.first)
    ends = data.first + data.length
    assert torch.equal(got.is_last[0].nonzero()[:, 0], ends)
    assert torch.equal(got.terminal[0].nonzero()[:, 0], ends)
    assert (got.steps_to_go[0, ends] == 0).all()
    assert torch.equal(got.steps_to_go[0, data.first], data.length.float())
    for episode, first in zip(episodes, data.first.tolist(), strict=True):
        arrived = slice(first + 1, first + 1 + len(episode))
        assert torch.equal(got.prev_action[0, arrived], torch.from_numpy(episode.actions))
        assert torch.equal(got.reward[0, arrived], torch.from_numpy(episode.rewards))
        decided = slice(first, first + len(episode))
        assert torch.equal(got.label[0, decided], torch.from_numpy(episode.labels))
    assert not got.prev_action[0, data.first].any()
    assert not got.reward[0, data.first].any()
    assert got.label[0, ends].isnan().all(), "nothing was decided where an episode ended"


def episode(steps: int, offset: float, success: bool = True) -> Episode:
    """Observation, action and reward say which step of which episode they belong to."""
    count = np.arange(steps + 1, dtype=np.float32)[:, None] + offset
    return Episode(
        {"obs": count},
        actions=(count[:-1] - offset) / 10,
        labels=np.full((steps, 1), np.nan, np.float32),
        rewards=count[:-1, 0],
        terminated=success,
        success=success,
    )


@pytest.fixture
def data() -> RecordedEpisodes:
    return RecordedEpisodes([episode(3, 100), episode(5, 200, success=False)], CODEC)


def test_entries_of_one_index_belong_together(data):
    batch = data.windows(data.steps, 1, 0)
    assert batch.obs["obs"][:, 0, 0].tolist() == [100, 101, 102, 200, 201, 202, 203, 204]
    assert torch.equal(batch.obs["obs"][:, 1], batch.obs["obs"][:, 0] + 1)
    # The reward of a step is its observation, and comes with the next.
    assert batch.reward[:, 1].tolist() == batch.obs["obs"][:, 0, 0].tolist()
    assert batch.is_first[:, 0].nonzero()[:, 0].tolist() == [0, 3]
    assert not batch.is_first[:, 1].any()
    assert batch.is_last[:, 1].nonzero()[:, 0].tolist() == [2, 7]
    assert batch.terminal[:, 1].nonzero()[:, 0].tolist() == [2]
    assert batch.steps_to_go[:3].tolist() == [[3, 2], [2, 1], [1, 0]]
    assert batch.steps_to_go[3:].isnan().all()
    expected = [0, 0.1, 0.2, 0, 0.1, 0.2, 0.3, 0.4]
    assert batch.prev_action[:, 1, 0].tolist() == pytest.approx(expected)
    assert batch.prev_action[:, 0, 0].tolist() == pytest.approx([0, 0, 0.1, 0, 0, 0.1, 0.2, 0.3])
    assert batch.label.isnan().all()
    assert batch.mask.all()


def test_windows_never_leave_their_episode(data):
    batch = data.windows(data.steps, 4, 1)
    assert batch.mask[0].tolist() == [False, True, True, True, True]
    assert batch.is_first[0].tolist() == [True, True, False, False, False]
    assert batch.mask[2].tolist() == [True, True, True, False, False]
    assert batch.obs["obs"][2, :, 0].tolist() == [101, 102, 103, 103, 103]
    assert batch.terminal[2].tolist() == [False, False, True, True, True]
    assert batch.mask[3].tolist() == [False, True, True, True, True]
    assert batch.obs["obs"][3, :, 0].tolist() == [200, 200, 201, 202, 203]


def test_whole_episodes_are_padded_to_the_longest(data):
    batch = data.whole(torch.tensor([0, 1]))
    assert batch.mask.shape == (2, 6)
    assert batch.mask.sum(1).tolist() == [4, 6]
    assert (batch.is_first & batch.mask).sum(1).tolist() == [1, 1]
    assert (batch.is_last & batch.mask).sum(1).tolist() == [1, 1]


def test_draws_follow_the_generator_and_reach_every_step(data):
    a, b = (
        data.draw_windows(6, 2, 1, torch.Generator().manual_seed(1)).obs["obs"] for _ in range(2)
    )
    assert torch.equal(a, b)
    drawn = data.draw_windows(300, 2, 1, torch.Generator().manual_seed(1)).obs["obs"][:, 1, 0]
    assert set(drawn.tolist()) == {100, 101, 102, 200, 201, 202, 203, 204}


def test_each_bound_of_the_environment_reaches_the_recorded_rows():
    """Bounds that are not symmetric, and different from one dimension to the next."""
    space = spaces.Box(np.array([0.0, -3.0]), np.array([0.2, 1.0]), dtype=np.float64)
    made = episode(3, 0)
    steps = np.array([[0.0, -3.0], [0.1, -1.0], [0.2, 1.0]], np.float32)
    made = Episode(made.observations, steps, steps[::-1].copy(), made.rewards, True, True)
    data = RecordedEpisodes([made], ActionCodec(space))
    wanted = torch.tensor([[-1.0, -1.0], [0.0, 0.0], [1.0, 1.0]])
    assert torch.allclose(data.prev_action[1:], wanted, atol=1e-6)
    assert torch.allclose(data.actions, wanted, atol=1e-6)
    assert torch.allclose(data.label[:-1], wanted.flip(0), atol=1e-6)
    # Nothing was done before the first observation: a 0 that was not made of the bounds.
    assert not data.prev_action[0].any()


def test_discrete_actions_are_one_hot_rows():
    actions, labels = np.array([[3], [1], [2]]), np.array([[1], [np.nan], [3]])
    seen = {"obs": np.zeros((4, 2), np.float32)}
    made = Episode(
        seen, actions.astype(np.float32), labels.astype(np.float32), np.zeros(3), True, True
    )
    data = RecordedEpisodes([made], ActionCodec(spaces.Discrete(3, start=1)))
    assert torch.equal(data.actions, torch.eye(3)[[2, 0, 1]])
    assert not data.prev_action[0].any()
    assert data.labelled.tolist() == [True, False, True, False]
    assert torch.equal(data.labels, torch.eye(3)[[0, 2]])
    batch = data.windows(data.steps, 1, 0)
    assert torch.equal(batch.prev_action[:, 1], data.actions)


def test_unusable_episodes_are_refused():
    with pytest.raises(ValueError, match="no episodes"):
        RecordedEpisodes([], CODEC)
    other = Episode(
        {"pose": np.zeros((2, 1))}, np.zeros((1, 1)), np.zeros((1, 1)), np.zeros(1), True, True
    )
    with pytest.raises(ValueError, match="'obs'"):
        RecordedEpisodes([episode(3, 0), other], CODEC)
    with pytest.raises(ValueError, match="expected actions"):
        RecordedEpisodes([episode(3, 0)], GRASP_CODEC)


@pytest.fixture
def seen() -> list[Episode]:
    """Episodes with images, in arrays that nobody may write to."""
    random = np.random.default_rng(0)
    episodes = []
    for steps in (5, 1, 9, 3):
        images = random.integers(0, 256, (steps + 1, 20, 20, 3), dtype=np.uint8)
        images.flags.writeable = False
        plain = episode(steps, 10 * steps)
        plain.observations["obs"].flags.writeable = False
        observations = {"image": images, **plain.observations}
        episodes.append(
            Episode(observations, plain.actions, plain.labels, plain.rewards, True, True)
        )
    return episodes


def test_images_are_read_from_the_episodes_as_from_one_tensor(seen):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data, gathered = RecordedEpisodes(seen, CODEC), RecordedEpisodes(seen, CODEC)
    gathered.obs = {
        key: torch.tensor(np.concatenate([e.observations[key] for e in seen])) for key in data.obs
    }
    assert isinstance(data.obs["image"], EpisodeRows)
    assert data.obs["image"].arrays[0] is seen[0].observations["image"], "nothing is copied"
    for seed in range(20):
        found: list[list[torch.Tensor]] = []
        for one in (data, gathered):
            draws = torch.Generator().manual_seed(seed)
            windows = one.draw_windows(6, 4, 1, draws)
            starts = torch.randint(one.starts(7), (7,), generator=draws)
            batches = [windows, one.sequences(starts, 7), one.whole(starts % 4)]
            found.append([value for batch in batches for value in batch.obs.values()])
        for ours, theirs in zip(*found, strict=True):
            assert ours.dtype == theirs.dtype
            assert torch.equal(ours, theirs)


def test_rows_are_indexed_like_a_tensor(seen):
    arrays = [e.observations["image"] for e in seen]
    rows, tensor = EpisodeRows(arrays), torch.tensor(np.concatenate(arrays))
    assert rows.shape == tensor.shape
    assert len(rows) == len(tensor)
    mask = torch.arange(len(tensor)) % 3 == 0
    for index in (
        slice(None),
        slice(3, 15, 2),
        4,
        -1,
        mask,
        torch.tensor(7),
        torch.zeros(0).long(),
    ):
        assert torch.equal(rows[index], tensor[index])
    table = torch.tensor([[3, 21, 0], [20, 20, 6]])
    assert torch.equal(rows[table], tensor[table])
    for outside in (22, -1):
        with pytest.raises(IndexError):
            rows[torch.tensor([0, outside])]
    mixed = EpisodeRows([np.zeros((2, 3), np.float32), np.ones((1, 3))])
    assert torch.equal(mixed[:], torch.tensor([[0.0] * 3, [0.0] * 3, [1.0] * 3]).double())


def test_whole_episodes_are_held_out():
    episodes = [episode(3, 100 * i) for i in range(10)]
    train, held = split_episodes(episodes, 0.2, seed=0)
    assert (len(train), len(held)) == (8, 2)
    assert not {id(e) for e in train} & {id(e) for e in held}
    assert [id(e) for e in split_episodes(episodes, 0.2, seed=0)[1]] == [id(e) for e in held]
    assert len(split_episodes(episodes[:2], 0.01, seed=0)[1]) == 1
    assert split_episodes(episodes[:1], 0.5, seed=0)[1] == []
    assert split_episodes(episodes, 0.0, seed=0)[1] == []


@pytest.mark.parametrize("holdout", [0.03, 0.1, 0.3, 0.5, 0.8])
def test_episodes_stay_on_their_side_when_more_are_added(holdout):
    episodes = [episode(3, 100 * i) for i in range(100)]
    for seed in range(3):
        held = {id(e) for e in split_episodes(episodes, holdout, seed)[1]}
        assert len(held) == pytest.approx(100 * holdout, abs=1)
        for count in range(2, 100):
            train, fewer = split_episodes(episodes[:count], holdout, seed)
            assert train
            assert fewer
            assert {id(e) for e in fewer} == held & {id(e) for e in episodes[:count]}
    sides = [{id(e) for e in split_episodes(episodes, holdout, seed)[1]} for seed in (0, 1)]
    assert sides[0] != sides[1]
