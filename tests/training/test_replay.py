"""The replay: what goes in comes out, in order, with its latents, and survives files."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import torch

from mbrl_agents.training import replay as replays
from mbrl_agents.training.replay import Replay

L = 4


def replay(capacity: int = 40, lanes: int = 2) -> Replay:
    spec = {"obs": ((1,), np.float32), "image": ((2, 2, 3), np.uint8)}
    return Replay(capacity, lanes, L, spec, 2, (3, 2, 5))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def latents(number: float) -> dict[str, torch.Tensor]:
    stoch = torch.nn.functional.one_hot(torch.tensor([int(number) % 5, 1]), 5).float()
    return {"deter": torch.full((3,), number / 1024), "stoch": stoch}


def fill(memory: Replay, steps: int, start: int = 0, episode: int = 6) -> None:
    """Step ``t`` of lane ``i`` shows ``100 i + t``."""
    for t in range(start, start + steps):
        for lane in range(memory.lanes):
            value = 100 * lane + t
            memory.add(
                lane,
                {"obs": np.array([value]), "image": np.full((2, 2, 3), value % 256)},
                np.array([t, -t]),
                float(t),
                is_first=t % episode == 0,
                is_last=t % episode == episode - 1,
                terminal=t % episode == episode - 1,
                latents=latents(value),
            )


def test_sequences_are_consecutive_and_start_from_the_latents_before_them():
    memory = replay()
    fill(memory, 18)
    assert len(memory) == 36
    assert memory.sequences == 2 * 15
    for seed in range(20):
        batch, state, place = memory.sample(5, generator(seed))
        values = batch.obs["obs"][..., 0]
        assert (values.diff(dim=1) == 1).all()
        assert torch.equal(batch.obs["image"][..., 0, 0, 0].long(), values.long() % 256)
        t = torch.from_numpy(place.start)[:, None] + torch.arange(L)
        assert torch.equal(values.long(), t + 100 * torch.from_numpy(place.lane)[:, None])
        assert torch.equal(batch.is_first, t % 6 == 0)
        assert torch.equal(batch.terminal, t % 6 == 5)
        assert torch.equal(batch.reward.long(), t)
        expected = torch.where(t % 6 == 0, 0, t)
        assert torch.equal(batch.prev_action[..., 0].long(), expected)
        before = torch.where(t[:, 0] == 0, 0, values[:, 0] - 1) / 1024
        assert torch.allclose(state["deter"][:, 0], before, atol=1e-4)


def test_new_sequences_come_first_and_once():
    memory = replay()
    fill(memory, 9)
    _, _, place = memory.sample(4, generator())
    assert sorted(zip(place.lane, place.start, strict=True)) == [(0, 0), (0, 4), (1, 0), (1, 4)]
    drawn = [tuple(memory.sample(4, generator(seed))[2].start) for seed in range(5)]
    assert len(set(drawn)) > 1
    assert not memory.fresh


def test_a_full_ring_forgets_the_oldest_and_takes_no_more_memory():
    memory = replay(capacity=20)
    sizes = [array.nbytes for array in memory._arrays().values()]
    fill(memory, 37)
    assert [array.nbytes for array in memory._arrays().values()] == sizes
    assert len(memory) == 20
    seen = set()
    for seed in range(60):
        values = memory.sample(8, generator(seed))[0].obs["obs"][..., 0]
        assert (values.diff(dim=1) == 1).all()
        seen |= set((values.long() % 100).flatten().tolist())
    assert seen == set(range(28, 37))


def test_training_replaces_the_latents():
    memory = replay()
    fill(memory, 12)
    _, _, place = memory.sample(2, generator())
    states = {
        "deter": torch.full((2, L, 3), 0.5),
        "stoch": torch.nn.functional.one_hot(torch.full((2, L, 2), 3), 5).float(),
    }
    memory.remember(place, states)
    found = memory.latents.read(place.lane, place.start + 2)
    assert (found["deter"] == 0.5).all()
    assert (found["stoch"].argmax(-1) == 3).all()


def test_an_abandoned_episode_ends_where_the_next_begins():
    memory = replay(lanes=1)
    for t in range(8):
        memory.add(0, {"obs": np.array([t])}, np.zeros(2), 0.0, is_first=t in (0, 5))
    batch, _, place = memory.sample(1, generator(1))
    while not (place.start[0] <= 4 < place.start[0] + L - 1):
        batch, _, place = memory.sample(1, generator(int(place.start[0]) + 2))
    ends = batch.is_last[0].nonzero()[:, 0] + place.start[0]
    assert 4 in ends.tolist()
    assert not batch.terminal.any()


@pytest.mark.parametrize("capacity", [200, 24])
def test_it_survives_files_and_writes_every_step_once(tmp_path, capacity):
    memory = replay(capacity)
    for round_ in range(3):
        fill(memory, 11, start=11 * round_)
        saved = memory.save(tmp_path)
        memory.tidy(tmp_path)
    memory.save(tmp_path)  # nothing new, nothing written
    files = sorted(tmp_path.iterdir())
    assert len(files) == (3 if capacity == 200 else 2)
    # A save that never was committed.
    fill(memory, 5, start=33)
    memory.save(tmp_path)
    other = replay(capacity)
    other.restore(tmp_path, *saved)
    assert len(other) == min(66, capacity // 2 * 2)
    again = replay(capacity)
    again.restore(tmp_path, *saved)
    fill(other, 7, start=33)
    fill(again, 7, start=33)
    for seed in range(5):
        a, state_a, _ = other.sample(3, generator(seed))
        b, state_b, _ = again.sample(3, generator(seed))
        assert torch.equal(a.obs["obs"], b.obs["obs"])
        assert torch.equal(state_a["deter"], state_b["deter"])
        assert (a.obs["obs"].diff(dim=1) == 1).all()


def test_too_small_and_too_early():
    with pytest.raises(ValueError, match="hold no sequence"):
        replay(capacity=8)
    with pytest.raises(ValueError, match="no sequence"):
        replay().sample(1, generator())


@pytest.mark.parametrize("lanes", [1, 3])
def test_another_number_of_environments_takes_over_what_was_recorded(lanes):
    before = replay(40, 2)
    fill(before, 23)  # rings of 20: the first episode has lost three of its six steps
    after = replay(60, lanes)
    after.take_over(before)
    assert len(after) == len(before) == 40
    assert not after.fresh
    for seed in range(10):
        batch, state, place = after.sample(6, generator(seed))
        values = batch.obs["obs"][..., 0].long()
        goes_on = ~batch.is_first[:, 1:]
        assert ((values.diff(dim=1) == 1) | ~goes_on).all()
        assert torch.equal(batch.reward.long() * ~batch.is_first, (values % 100) * ~batch.is_first)
        assert batch.is_last[:, :-1][batch.is_first[:, 1:]].all()
        index = (place.start - 1) % after.size
        known = torch.from_numpy(after.obs["obs"][place.lane, index, 0])
        inside = torch.from_numpy(place.start > 0) & ~batch.is_first[:, 0]
        expected = (known / 1024).half().float()
        assert torch.equal(state["deter"][inside][:, 0], expected[inside])
    fill(after, 6, start=24)
    batch, _, _ = after.sample(lanes, generator())
    assert (batch.obs["obs"][..., 0] % 100 >= 21).all()


def test_of_too_much_the_newest_is_kept():
    before = replay(40, 1)
    fill(before, 30)
    after = replay(20, 2)
    after.take_over(before)
    held = np.sort(np.concatenate([lane[: after.size] for lane in after.obs["obs"][..., 0]]))
    assert len(after) == 20
    assert held[-6:].tolist() == [24, 25, 26, 27, 28, 29]


@pytest.mark.parametrize("lanes", [1, 3])
def test_saving_and_reading_copy_a_part_at_a_time(lanes, tmp_path, monkeypatch):
    monkeypatch.setattr(replays, "SEGMENT_STEPS", 50)
    spec = {"obs": ((1,), np.float32), "image": ((32, 32, 3), np.uint8)}

    def build():
        return Replay(900, lanes, L, spec, 2, (3, 2, 5))

    memory = build()
    for t in range(700 // lanes):
        for lane in range(lanes):
            picture = np.full((32, 32, 3), (t + lane) % 256)
            obs = {"obs": np.array([t]), "image": picture}
            memory.add(lane, obs, np.zeros(2), 0.0, is_first=t % 30 == 0)
    held = memory.obs["image"].nbytes

    def peak(function):
        tracemalloc.start()
        result = function()
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return result, most

    (tensors, meta), most = peak(lambda: memory.save(tmp_path))
    assert most < held / 4
    assert len(meta["segments"]) == 14
    again = build()
    _, most = peak(lambda: again.restore(tmp_path, tensors, meta))
    assert most < held / 4
    assert np.array_equal(again.obs["image"], memory.obs["image"])
    assert np.array_equal(again.obs["obs"], memory.obs["obs"])
    assert np.array_equal(again.is_first, memory.is_first)
