"""The replay: what goes in comes out, in order, with its latents, and survives files."""

from __future__ import annotations

import copy
import errno
import json
import math
import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch

from mbrl_agents.training import steps as stores
from mbrl_agents.training.replay import Replay

L = 4


SPEC = {"obs": ((1,), np.float32), "image": ((2, 2, 3), np.uint8)}


def replay(capacity: int = 40, lanes: int = 2, folder: Path | None = None) -> Replay:
    return Replay(capacity, lanes, L, SPEC, 2, (3, 2, 5), folder)


@pytest.fixture(params=["memory", "files"])
def place(request, tmp_path) -> Path | None:
    """Where a replay records."""
    return None if request.param == "memory" else tmp_path / "replay"


def held(memory: Replay, name: str, lane: int) -> np.ndarray:
    """What the replay has of one field and environment, the oldest first."""
    count = int(memory.count[lane])
    return memory.steps.read(lane, max(0, count - memory.size), count)[name]


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


def test_sequences_are_consecutive_and_start_from_the_latents_before_them(place):
    memory = replay(folder=place)
    fill(memory, 18)
    assert len(memory) == 36
    assert memory.sequences == 2 * 15
    for seed in range(20):
        batch, state, at = memory.sample(5, generator(seed))
        values = batch.obs["obs"][..., 0]
        assert (values.diff(dim=1) == 1).all()
        assert torch.equal(batch.obs["image"][..., 0, 0, 0].long(), values.long() % 256)
        t = torch.from_numpy(at.start)[:, None] + torch.arange(L)
        assert torch.equal(values.long(), t + 100 * torch.from_numpy(at.lane)[:, None])
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


def test_a_full_ring_forgets_the_oldest_and_takes_no_more_room(place):
    memory = replay(capacity=20, folder=place)
    fill(memory, 37)
    assert len(memory) == 20
    seen = set()
    for seed in range(60):
        values = memory.sample(8, generator(seed))[0].obs["obs"][..., 0]
        assert (values.diff(dim=1) == 1).all()
        seen |= set((values.long() % 100).flatten().tolist())
    assert seen == set(range(28, 37))
    if place is not None:
        memory.save(place)
        memory.tidy()
        taken = len(list(place.iterdir()))
        for start in range(37, 137, 10):
            fill(memory, 10, start)
            memory.save(place)
            memory.tidy()
            assert len(list(place.iterdir())) <= taken + 1


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


def same(first: Replay, second: Replay, seeds: int = 8) -> bool:
    """Whether two replays hold and draw the same; what is fresh stays so."""
    if first.fresh != second.fresh:
        return False
    first, second = copy.copy(first), copy.copy(second)
    first.fresh, second.fresh = first.fresh.copy(), second.fresh.copy()
    for seed in range(seeds):
        a, state_a, place_a = first.sample(3, generator(seed))
        b, state_b, place_b = second.sample(3, generator(seed))
        pairs = [(a.obs[key], b.obs[key]) for key in a.obs]
        pairs += [(a.prev_action, b.prev_action), (a.reward, b.reward), (a.is_last, b.is_last)]
        pairs += [(state_a[key], state_b[key]) for key in state_a]
        if not all(torch.equal(x, y) for x, y in pairs):
            return False
        if not np.array_equal(place_a.start, place_b.start):
            return False
    return len(first) == len(second)


@pytest.mark.parametrize("capacity", [200, 24])
@pytest.mark.parametrize("torn", [1, 5, 30])
def test_from_a_checkpoint_it_goes_on_as_if_nothing_had_happened(tmp_path, capacity, torn):
    whole, memory = replay(capacity), replay(capacity, folder=tmp_path)
    for round_ in range(3):
        fill(whole, 11, start=11 * round_)
        fill(memory, 11, start=11 * round_)
        tensors, meta = memory.save(tmp_path)
        # As a checkpoint writes them.
        saved = (
            {key: value.clone() for key, value in tensors.items()},
            json.loads(json.dumps(meta)),
        )
        memory.tidy()
    # Steps and files that no checkpoint lists, of which nothing may come back.
    fill(memory, torn, start=500)
    (tmp_path / ".000099.steps.abcdefgh").write_bytes(b"half a file")
    for _ in range(2):
        again = replay(capacity, folder=tmp_path)
        again.restore(tmp_path, *saved)
        again.tidy()
        assert len(list(tmp_path.iterdir())) == len(saved[1]["steps"]["files"])
        for lane in range(2):
            for name in memory.steps.fields:
                assert np.array_equal(held(again, name, lane), held(whole, name, lane))
        fill(again, torn, start=600)
    again = replay(capacity, folder=tmp_path)
    again.restore(tmp_path, *saved)
    for start in (33, 40):
        fill(whole, 7, start)
        fill(again, 7, start)
        assert same(whole, again)


def test_a_step_is_written_once(tmp_path):
    """What was saved once is in the same bytes of the same file later."""
    memory = replay(200, folder=tmp_path)
    fill(memory, 20)
    memory.save(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    changed = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    fill(memory, 60, start=20)
    memory.save(tmp_path)
    full = sorted(before)[:-1]
    assert full
    assert all((tmp_path / name).read_bytes() == before[name] for name in full)
    assert all((tmp_path / name).stat().st_mtime_ns == changed[tmp_path / name] for name in full)
    size = sum(math.prod(shape) * dtype.itemsize for shape, dtype in memory.steps.fields.values())
    taken = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert taken < 1.5 * size * len(memory)


@pytest.mark.parametrize("start", ["memory", "elsewhere"])
def test_recorded_elsewhere_it_moves_with_the_first_save(tmp_path, start):
    memory = replay(24, folder=tmp_path / "elsewhere" if start == "elsewhere" else None)
    whole = replay(24)
    fill(memory, 21)
    fill(whole, 21)
    saved = memory.save(tmp_path / "run")
    shutil.rmtree(tmp_path / "elsewhere", ignore_errors=True)
    again = replay(24)
    again.restore(tmp_path / "run", *saved)
    for one in (whole, memory, again):
        fill(one, 4, start=21)
    assert same(whole, memory)
    assert same(whole, again)


def test_what_it_cannot_go_on_from_is_named(tmp_path):
    memory = replay(folder=tmp_path)
    fill(memory, 12)
    tensors, meta = memory.save(tmp_path)
    with pytest.raises(ValueError, match=r"format 1.*expected format 2"):
        replay().restore(tmp_path, tensors, {"count": [12, 12], "segments": [], "fresh": []})
    other = Replay(40, 2, L, {"obs": ((2,), np.float32)}, 2, (3, 2, 5))
    with pytest.raises(ValueError, match="expected"):
        other.restore(tmp_path, tensors, meta)
    (tmp_path / "000001.steps").unlink()
    with pytest.raises(ValueError, match=r"000001\.steps is missing"):
        replay().restore(tmp_path, tensors, meta)


def test_a_full_disk_is_an_error_before_anything_is_written(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(stores.os, "posix_fallocate", full)
    with pytest.raises(OSError, match="no room for another 0 MB of recorded steps"):
        fill(replay(folder=tmp_path), 1)
    assert not list(tmp_path.iterdir())


def test_too_small_and_too_early():
    with pytest.raises(ValueError, match="hold no sequence"):
        replay(capacity=8)
    with pytest.raises(ValueError, match="no sequence"):
        replay().sample(1, generator())


@pytest.mark.parametrize("lanes", [1, 3])
def test_another_number_of_environments_takes_over_what_was_recorded(lanes, tmp_path):
    before = replay(40, 2)
    fill(before, 23)  # rings of 20: the first episode has lost three of its six steps
    after = replay(60, lanes, tmp_path)
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
        known = after.steps.gather(place.lane, np.maximum(place.start - 1, 0), 1)["obs.obs"]
        known = torch.from_numpy(known[:, 0, 0])
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
    kept = np.sort(np.concatenate([held(after, "obs.obs", lane)[:, 0] for lane in range(2)]))
    assert len(after) == 20
    assert kept[-6:].tolist() == [24, 25, 26, 27, 28, 29]


@pytest.mark.parametrize("lanes", [1, 3])
def test_saving_moving_and_reading_copy_nothing_into_memory(lanes, tmp_path, monkeypatch):
    monkeypatch.setattr(stores, "BLOCK_BYTES", 150_000)
    spec = {"obs": ((1,), np.float32), "image": ((32, 32, 3), np.uint8)}

    def build(folder):
        return Replay(900, lanes, L, spec, 2, (3, 2, 5), folder)

    memory = build(tmp_path / "one")
    for t in range(700 // lanes):
        for lane in range(lanes):
            picture = np.full((32, 32, 3), (t + lane) % 256)
            obs = {"obs": np.array([t]), "image": picture}
            memory.add(lane, obs, np.zeros(2), 0.0, is_first=t % 30 == 0)
    pictures = 700 * 32 * 32 * 3

    def peak(function):
        tracemalloc.start()
        result = function()
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return result, most

    again = build(tmp_path / "one")
    for folder in ("one", "two"):
        (tensors, meta), most = peak(lambda to=folder: memory.save(tmp_path / to))
        assert most < pictures / 10
        assert len(meta["steps"]["files"]) > 8
        _, most = peak(lambda to=folder, s=(tensors, meta): again.restore(tmp_path / to, *s))
        assert most < pictures / 10
        for lane in range(lanes):
            for name in memory.steps.fields:
                assert np.array_equal(held(again, name, lane), held(memory, name, lane))
    other = build(tmp_path / "three")
    _, most = peak(lambda: other.take_over(memory))
    assert most < pictures / 2
