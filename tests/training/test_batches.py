"""Sequence batches: alignment, padding, masks, targets."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

import toy_grasp
from mbrl_agents.data.episode import Episode
from mbrl_agents.training.batches import EpisodeTensors, split_episodes
from mbrl_agents.training.rows import EpisodeRows


def test_arrivals_run_across_episodes():
    data = EpisodeTensors(toy_grasp.demonstrations(3, noise=0.0))
    rows = len(data.action)
    got = data.arrivals(torch.tensor([0]), rows)
    assert torch.equal(got.obs["pose"][0], data.obs["pose"])
    assert torch.equal(got.is_first[0].nonzero()[:, 0], data.first)
    ends = data.first + data.length
    assert torch.equal(got.is_last[0].nonzero()[:, 0], ends)
    assert torch.equal(got.terminal[0].nonzero()[:, 0], ends)
    assert (got.steps_to_go[0, ends] == 0).all()
    assert torch.equal(got.prev_action[0, ends], data.action[ends - 1])
    assert torch.equal(got.reward[0, ends], data.reward[ends - 1])
    assert not got.prev_action[0, data.first].any()
    assert not got.reward[0, data.first].any()


def episode(steps: int, offset: float, success: bool = True) -> Episode:
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
def data() -> EpisodeTensors:
    return EpisodeTensors([episode(3, 100), episode(5, 200, success=False)])


def test_entries_of_one_index_belong_together(data):
    batch = data.sequences(data.steps, 1, 0)
    assert batch.obs["obs"][:, 0, 0].tolist() == [100, 101, 102, 200, 201, 202, 203, 204]
    assert torch.equal(batch.next_obs["obs"], batch.obs["obs"] + 1)
    assert batch.reward[:, 0].tolist() == batch.obs["obs"][:, 0, 0].tolist()
    assert batch.is_first[:, 0].nonzero()[:, 0].tolist() == [0, 3]
    assert batch.terminated[:, 0].nonzero()[:, 0].tolist() == [2]
    assert batch.steps_to_go[:3, 0].tolist() == [2, 1, 0]
    assert batch.steps_to_go[3:].isnan().all()
    assert batch.prev_action[:, 0, 0].tolist() == pytest.approx([0, 0, 0.1, 0, 0, 0.1, 0.2, 0.3])
    assert batch.label.isnan().all()


def test_sequences_never_leave_their_episode(data):
    batch = data.sequences(data.steps, 4, 1)
    assert batch.mask[0].tolist() == [False, True, True, True]
    assert batch.is_first[0].tolist() == [False, True, False, False]
    assert batch.mask[2].tolist() == [True, True, False, False]
    assert batch.obs["obs"][2, :, 0].tolist() == [101, 102, 102, 102]
    assert batch.terminated[2].tolist() == [False, True, False, False]
    assert batch.mask[3].tolist() == [False, True, True, True]
    assert batch.obs["obs"][3, :, 0].tolist() == [200, 200, 201, 202]


def test_whole_episodes_are_padded_to_the_longest(data):
    batch = data.whole(torch.tensor([0, 1]))
    assert batch.mask.sum(1).tolist() == [3, 5]
    assert batch.is_first.sum(1).tolist() == [1, 1]


def test_samples_follow_the_generator(data):
    a, b = (
        data.sample(6, 2, generator=torch.Generator().manual_seed(1)).obs["obs"] for _ in range(2)
    )
    assert torch.equal(a, b)


def test_actions_are_scaled_from_their_bounds():
    data = EpisodeTensors([episode(3, 0)], low=np.array([0.0]), high=np.array([0.2]))
    assert data.action[:3, 0].tolist() == pytest.approx([-1.0, 0.0, 1.0], abs=1e-6)


def test_unusable_episodes_are_refused():
    with pytest.raises(ValueError, match="no episodes"):
        EpisodeTensors([])
    other = Episode(
        {"pose": np.zeros((2, 1))}, np.zeros((1, 1)), np.zeros((1, 1)), np.zeros(1), True, True
    )
    with pytest.raises(ValueError, match="'obs'"):
        EpisodeTensors([episode(3, 0), other])


@pytest.fixture
def seen() -> list[Episode]:
    """Episodes with pictures, in arrays that nobody may write to."""
    random = np.random.default_rng(0)
    episodes = []
    for steps in (5, 1, 9, 3):
        pictures = random.integers(0, 256, (steps + 1, 20, 20, 3), dtype=np.uint8)
        pictures.flags.writeable = False
        plain = episode(steps, 10 * steps)
        plain.observations["obs"].flags.writeable = False
        observations = {"image": pictures, **plain.observations}
        episodes.append(
            Episode(observations, plain.actions, plain.labels, plain.rewards, True, True)
        )
    return episodes


def test_pictures_are_read_from_the_episodes_as_from_one_tensor(seen):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data, gathered = EpisodeTensors(seen), EpisodeTensors(seen)
    gathered.obs = {
        key: torch.tensor(np.concatenate([e.observations[key] for e in seen])) for key in data.obs
    }
    assert isinstance(data.obs["image"], EpisodeRows)
    assert data.obs["image"].arrays[0] is seen[0].observations["image"], "nothing is copied"
    for seed in range(20):
        found: list[list[torch.Tensor]] = []
        for one in (data, gathered):
            draws = torch.Generator().manual_seed(seed)
            batch = one.sample(6, 4, generator=draws)
            rows = torch.randint(len(one.action) - 6, (7,), generator=draws)
            entries = [
                batch.obs,
                batch.next_obs,
                one.arrivals(rows, 7).obs,
                one.whole(rows % 4).obs,
            ]
            found.append([value for entry in entries for value in entry.values()])
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
