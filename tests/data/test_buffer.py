"""The sequence buffer: recorded episodes and own experience drawn, split and kept together."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces
from numbered_steps import (
    BOX,
    DISCRETE,
    OWN,
    RECORDED,
    L,
    act,
    built,
    numbers,
    recorded,
    seeded,
    shown,
)

from mbrl_agents.data.buffer import SequenceBuffer
from mbrl_agents.data.episode import Episode
from mbrl_agents.data.extras import KNOWN


def test_recorded_episodes_and_own_experience_are_drawn_in_proportion():
    buffer = built(recorded(), n_envs=2)
    act(buffer, 33)
    starts = {False: 20 - L + 1, True: 2 * (33 - L + 1)}
    assert len(buffer) == 17 + 66
    found = numbers(buffer.sample(7700, L, seeded()))
    assert (found.diff(dim=1) == 1).all(), "a sequence goes on where the last step led"
    own = (found[:, 0] >= OWN).float().mean().item()
    assert own == pytest.approx(starts[True] / sum(starts.values()), abs=0.015)
    # Each of them, and not only the first episode or env.
    assert len(found[:, 0].unique()) == sum(starts.values())


def test_entries_of_both_belong_to_the_same_observation():
    buffer = built(recorded())
    act(buffer, 20)
    sample = buffer.sample(64, L, seeded(1))
    number, batch = numbers(sample), sample.batch
    assert {key: value.dtype for key, value in batch.obs.items()} == {
        "pose": torch.float32,
        "image": torch.uint8,
    }
    assert torch.equal(batch.obs["image"][..., 0, 0, 0].long(), number % 256)
    own = number >= OWN
    # Own rewards are their numbers, recorded ones those of the observation they were earned at.
    wanted = (torch.where(own, number, number - 1) * ~batch.is_first).float()
    assert torch.equal(batch.reward, wanted)
    assert torch.equal(batch.is_first[own], (number[own] - OWN) % 6 == 0)
    assert set(number[~own & batch.is_first].tolist()) == {1000, 1006, 1015}
    assert set(number[~own & batch.terminal].tolist()) == {1005, 1014, 1019}
    assert batch.label[own].isnan().all()
    assert batch.steps_to_go[own].isnan().all()
    # Half of the way from 0 to 4 is 0, from -1 to 3 likewise: (1, 3) is (-0.5, 1).
    inside = ~own & ~batch.is_first
    assert torch.equal(batch.prev_action[inside], torch.tensor([-0.5, 1.0]).expand(inside.sum(), 2))


def test_what_training_computed_comes_back_before_the_next_sequence():
    buffer = built(recorded(), n_envs=2)
    act(buffer, 20)
    for seed in range(30):
        sample = buffer.sample(16, L, seeded(seed))
        latent = (numbers(sample) / 8192)[..., None].expand(-1, -1, 2)
        buffer.remember(sample.place, {"latent": latent})
    known = 0
    for seed in range(30, 40):
        sample = buffer.sample(16, L, seeded(seed))
        first, before = numbers(sample)[:, 0], sample.before
        begins = torch.isin(first, torch.tensor([RECORDED, OWN, OWN + 1000]))
        assert not before[KNOWN][begins].any(), "nothing lies before the first step of all"
        inside = before[KNOWN]
        wanted = ((first[inside] - 1) / 8192).half()
        assert torch.equal(before["latent"][inside], wanted[:, None].expand(-1, 2))
        assert not before["latent"][begins].any()
        known += int(inside[first < OWN].sum())
    assert known > 0, "of recorded episodes too"


def test_recorded_steps_are_unknown_until_training_passed_there():
    buffer = built(recorded())
    assert not buffer.sample(64, L, seeded()).before[KNOWN].any()
    act(buffer, 20)
    sample = buffer.sample(64, L, seeded())
    first = numbers(sample)[:, 0]
    assert torch.equal(sample.before[KNOWN], first > OWN)


def test_new_experience_is_given_out_once_first():
    buffer = built(recorded())
    act(buffer, 9)
    sample = buffer.sample(8, L, seeded(), fresh=True)
    found = numbers(sample)[:, 0]
    for row in (OWN, OWN + 4):
        assert row in found
    count = len(sample.place[0].start)
    assert found[count : count + 2].tolist() == [OWN, OWN + 4]
    assert (found[:count] < OWN).all()
    buffer.remember(sample.place, {"latent": (numbers(sample) / 8192)[..., None].expand(-1, -1, 2)})
    # Once: from now on by chance alone.
    a, b = buffer.sample(8, L, seeded(3), fresh=True), buffer.sample(8, L, seeded(3))
    assert torch.equal(numbers(a), numbers(b))


def test_it_says_when_there_is_too_little():
    buffer = built()
    assert not buffer.ready(1)
    assert not buffer.has_episodes()
    with pytest.raises(ValueError, match="no sequence of 4 observations"):
        buffer.sample(1, L, seeded())
    act(buffer, 3)
    assert buffer.ready(3)
    assert not buffer.ready(L)
    assert not buffer.has_episodes()
    with pytest.raises(ValueError, match="no episodes"):
        buffer.split(0.0, 0)
    act(buffer, 3, start=3)
    assert buffer.ready(L)
    assert buffer.has_episodes()
    assert not buffer.has_labels()
    assert built(recorded()).has_labels()
    with pytest.raises(ValueError, match="bounded Box or a Discrete"):
        built(actions=spaces.MultiBinary(3))


def test_a_plain_box_is_recorded_under_one_key():
    buffer = SequenceBuffer(spaces.Box(-1, 1, (3,), np.float32), BOX)
    for t in range(5):
        buffer.own.add(0, {"obs": np.full(3, t)}, np.zeros(2), 0.0, is_first=t == 0)
    assert buffer.sample(2, 5, seeded()).batch.obs["obs"].shape == (2, 5, 3)
    assert buffer.sample(2, 5, seeded()).before == {}


class TestEpisodes:
    def test_own_episodes_are_like_recorded_ones(self):
        buffer = built(recorded(), n_envs=2)
        act(buffer, 15)
        episodes = buffer.episodes()
        assert [len(e) for e in episodes] == [5, 8, 4, *[5] * 4], "the unfinished are left out"
        for episode in episodes[3:]:
            first = int(episode.observations["pose"][0, 0])
            for key, value in shown(first, 6).items():
                assert np.array_equal(episode.observations[key], value)
            assert episode.rewards.tolist() == list(range(first + 1, first + 6))
            assert episode.terminated
            assert episode.success == (first < OWN + 1000)
            assert np.isnan(episode.labels).all()
            # The environment's own units: normalised (1, 0) in [0, 4] x [-1, 3].
            assert np.array_equal(episode.actions, np.tile([4.0, 1.0], (5, 1)))
        train, held = buffer.split(0.0, 0)
        assert held is None
        assert len(train) == 17 + 20
        own = train.obs["pose"][:, 0] >= OWN
        taken = own & ~train.is_first
        assert torch.equal(train.prev_action[taken], torch.tensor([[1.0, 0.0]]).expand(20, 2))
        assert train.steps_to_go[own & (train.obs["pose"][:, 0] >= OWN + 1000)].isnan().all()
        assert (train.steps_to_go[own & (train.obs["pose"][:, 0] < OWN + 1000)] <= 5).all()

    def test_a_share_of_own_experience_can_be_drawn(self):
        buffer = built(recorded(), n_envs=2)
        act(buffer, 15)
        train, _ = buffer.split(0.0, 0)
        assert (train.obs["pose"][train.own_from :, 0] >= OWN).all()
        assert (train.obs["pose"][: train.own_from, 0] < OWN).all()
        assert train.own_from == 17 + 3
        batch = train.draw_windows(40, 2, 0, seeded(), own_share=0.5)
        first = batch.obs["pose"][:, 0, 0]
        assert (first[:20] >= OWN).all()
        assert (first[20:] < OWN).any()
        same = train.draw_windows(40, 2, 0, seeded()).obs["pose"][20:, 0, 0]
        assert torch.equal(first[20:], same)
        alone = built(recorded()).split(0.0, 0)[0]
        assert alone.own_from == alone.rows
        alone.draw_windows(4, 2, 0, seeded(), own_share=1.0)

    def test_successful_own_episodes_are_labelled_where_asked(self):
        buffer = built(recorded(), n_envs=2, label_successes=True)
        act(buffer, 15)
        for episode in buffer.episodes()[3:]:
            if episode.success:
                assert np.array_equal(episode.labels, episode.actions)
            else:
                assert np.isnan(episode.labels).all()
        assert {e.success for e in buffer.episodes()[3:]} == {True, False}

    def sides(self, buffer: SequenceBuffer, holdout: float = 0.3) -> tuple[set[int], set[int]]:
        """The first numbers of the episodes that are trained on, and of those held out."""
        train, held = buffer.split(holdout, 0)
        assert held is not None
        first, other = (set(x.obs["pose"][x.first, 0].long().tolist()) for x in (train, held))
        assert not first & other
        return first, other

    @pytest.mark.parametrize("n_envs", [1, 2])
    def test_own_episodes_are_held_out_as_well(self, n_envs):
        buffer = built(recorded(), n_envs=n_envs)
        act(buffer, 60)
        train, held = self.sides(buffer)
        assert len(train) + len(held) == 3 + 10 * n_envs
        assert {number < OWN for number in held} == {True, False}
        assert len(held) == pytest.approx(0.3 * (3 + 10 * n_envs), abs=1)

    def test_an_episode_never_changes_sides(self):
        """Also where environments end their episodes at different times, and the old are lost."""
        buffer = built(recorded(), n_envs=2, capacity=120)
        where: dict[int, bool] = {}
        clock, lengths = [0, 0], [3, 11]
        for _ in range(200):
            for env in range(2):
                t = clock[env]
                length = lengths[env]
                buffer.own.add(
                    env,
                    {key: value[0] for key, value in shown(OWN + 1000 * env + t).items()},
                    np.zeros(2),
                    0.0,
                    is_first=t % length == 0,
                    is_last=t % length == length - 1,
                )
                clock[env] += 1
            if min(clock) % 10 == 0:
                train, held = self.sides(buffer)
                found = dict.fromkeys(train, False) | dict.fromkeys(held, True)
                changed = {key for key in found.keys() & where.keys() if found[key] != where[key]}
                assert not changed
                where |= found
        assert sum(where.values()) == pytest.approx(0.3 * len(where), abs=3)

    def test_a_split_is_made_anew_only_where_something_was_added(self):
        buffer = built(recorded())
        first = buffer.split(0.3, 0)
        assert buffer.split(0.3, 0) is first
        assert buffer.split(0.3, 1) is not first
        act(buffer, 12)
        assert len(buffer.split(0.3, 1)[0].first) > len(first[0].first)


class TestDiscreteActions:
    def test_they_are_one_hot_in_sequences_and_numbers_in_episodes(self):
        chosen = np.array([[5], [7], [6], [7], [5]])
        buffer = built(recorded((5,), chosen), DISCRETE)
        act(buffer, 14)
        batch = buffer.sample(200, L, seeded()).batch
        own = batch.obs["pose"][..., 0] >= OWN
        taken = ~batch.is_first
        assert torch.equal(batch.prev_action.sum(-1), taken.float())
        assert (batch.prev_action[own & taken].argmax(-1) == 0).all()
        number = batch.obs["pose"][..., 0].long() - RECORDED
        arrived = ~own & taken
        wanted = torch.from_numpy(chosen[:, 0] - 5)[number[arrived] - 1]
        assert torch.equal(batch.prev_action[arrived].argmax(-1), wanted)
        label = batch.label[~own & ~batch.is_last]
        assert torch.equal(label.sum(-1), torch.ones(len(label)))
        own_episode = buffer.episodes()[1]
        assert own_episode.actions.tolist() == [[5.0]] * 5
        assert own_episode.labels.shape == (5, 1)
        train, _ = buffer.split(0.0, 0)
        assert torch.equal(train.actions[:5].argmax(-1), torch.from_numpy(chosen[:, 0] - 5))
        assert torch.equal(train.actions[5:], torch.eye(3)[[0] * 10])


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("width", [4, 6])
def test_images_recorded_with_channels_elsewhere_are_drawn_as_the_environment_shows_them(
    first, width
):
    """Vectorised environments show channels first, episode folders hold them last."""
    last, front = (6, width, 3), (3, 6, width)
    shown, recorded = (front, last) if first else (last, front)
    steps, box = 5, spaces.Box(-1.0, 1.0, (2,), np.float32)
    images = np.random.default_rng(0).integers(0, 256, (steps + 1, *recorded), np.uint8)
    actions = np.zeros((steps, 2), np.float32)
    observations = {"image": images, "unshown": np.zeros((steps + 1, 1), np.float32)}
    rewards = np.zeros(steps, np.float32)
    episode = Episode(observations, actions, actions, rewards, True, True)
    space = spaces.Dict({"image": spaces.Box(0, 255, shown, np.uint8)})
    buffer = SequenceBuffer(space, box, recorded=[episode])
    expected = images.transpose(0, 3, 1, 2) if first else images.transpose(0, 2, 3, 1)
    for t in range(4):
        seen = {"image": expected[t]}
        buffer.own.add(0, seen, actions[0], 0.0, is_first=t == 0, is_last=t == 3)
    for seed in range(8):
        batch = buffer.sample(4, 3, torch.Generator().manual_seed(seed)).batch
        assert batch.obs["image"].shape == (4, 3, *shown)
        assert set(batch.obs) == {"image"}
        for sequence in batch.obs["image"].numpy():
            assert any(np.array_equal(sequence, expected[i : i + 3]) for i in range(steps - 1))
    # A refit trains on both as on recorded episodes.
    train, held = buffer.split(0.0, 0)
    assert held is None
    both = train.whole(torch.arange(2)).obs["image"].numpy()
    assert np.array_equal(both[0], images)
    assert np.array_equal(both[1, :4], images[:4])


def test_images_of_another_size_are_refused():
    actions = np.zeros((2, 2), np.float32)
    images = {"image": np.zeros((3, 8, 4, 3), np.uint8)}
    episode = Episode(images, actions, actions, np.zeros(2, np.float32), True, True)
    space = spaces.Dict({"image": spaces.Box(0, 255, (3, 4, 4), np.uint8)})
    with pytest.raises(ValueError, match="record episodes in this environment"):
        SequenceBuffer(space, spaces.Box(-1.0, 1.0, (2,), np.float32), recorded=[episode])
