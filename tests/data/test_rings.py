"""Rings of own experience: in comes out, in order, with its extras, and survives files."""

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

from mbrl_agents.data import steps as stores
from mbrl_agents.data.extras import KNOWN
from mbrl_agents.data.recorded import Place
from mbrl_agents.data.rings import Rings
from mbrl_agents.protocols import Batch

L = 4


OBSERVATIONS = {"obs": ((1,), np.float32), "image": ((2, 2, 3), np.uint8)}
EXTRAS = {"deter": ((3,), np.float16), "stoch": ((2,), np.uint8)}


def rings(capacity: int = 40, n_envs: int = 2, folder: Path | None = None) -> Rings:
    return Rings(capacity, n_envs, OBSERVATIONS, 2, EXTRAS, folder)


def draw(memory: Rings, size: int, seed: int) -> tuple[Batch, dict[str, torch.Tensor], Place]:
    """Sequences of ``L`` steps, the extras before them, and where they lie."""
    total = int(memory.starts(L).sum())
    numbers = torch.randint(total, (size,), generator=torch.Generator().manual_seed(seed))
    place = memory.place(numbers.numpy(), L)
    return memory.sequences(place, L), memory.before(place), place


@pytest.fixture(params=["memory", "files"])
def folder(request, tmp_path) -> Path | None:
    """Where rings record."""
    return None if request.param == "memory" else tmp_path / "replay"


def held(memory: Rings, name: str, env: int) -> np.ndarray:
    """What rings have of one field and environment, the oldest first."""
    count = int(memory.count[env])
    return memory.steps.read(env, max(0, count - memory.size), count)[name]


def extras_of(number: float) -> dict[str, torch.Tensor]:
    return {
        "deter": torch.full((3,), number / 1024),
        "stoch": torch.tensor([int(number) % 5, 1]),
    }


def fill(memory: Rings, steps: int, start: int = 0, episode: int = 6) -> None:
    """Step ``t`` of env ``i`` shows ``100 i + t``."""
    for t in range(start, start + steps):
        for env in range(memory.n_envs):
            value = 100 * env + t
            memory.add(
                env,
                {"obs": np.array([value]), "image": np.full((2, 2, 3), value % 256)},
                np.array([t, -t]),
                float(t),
                is_first=t % episode == 0,
                is_last=t % episode == episode - 1,
                terminal=t % episode == episode - 1,
                extras=extras_of(value),
            )


def test_sequences_are_consecutive_and_start_from_the_extras_before_them(folder):
    memory = rings(folder=folder)
    fill(memory, 18)
    assert len(memory) == 36
    assert memory.starts(L).tolist() == [15, 15]
    for seed in range(20):
        batch, before, at = draw(memory, 5, seed)
        values = batch.obs["obs"][..., 0]
        assert (values.diff(dim=1) == 1).all()
        assert torch.equal(batch.obs["image"][..., 0, 0, 0].long(), values.long() % 256)
        t = torch.from_numpy(at.start)[:, None] + torch.arange(L)
        assert torch.equal(values.long(), t + 100 * torch.from_numpy(at.env)[:, None])
        assert torch.equal(batch.is_first, t % 6 == 0)
        assert torch.equal(batch.is_last, t % 6 == 5)
        assert torch.equal(batch.terminal, t % 6 == 5)
        # Nothing led to an episode's first observation.
        expected = torch.where(t % 6 == 0, 0, t)
        assert torch.equal(batch.reward.long(), expected)
        assert torch.equal(batch.prev_action[..., 0].long(), expected)
        begins = t[:, 0] == 0
        assert torch.equal(before[KNOWN], ~begins)
        wanted = torch.where(begins, 0, values[:, 0] - 1)
        assert torch.allclose(before["deter"][:, 0].float(), wanted / 1024, atol=1e-4)
        assert torch.equal(before["stoch"][:, 0].long(), wanted.long() % 5)


def test_every_sequence_can_be_drawn():
    memory = rings()
    fill(memory, 9)
    place = memory.place(np.arange(12), L)
    found = sorted(zip(place.env.tolist(), place.start.tolist(), strict=True))
    assert found == [(env, start) for env in range(2) for start in range(6)]


def test_new_sequences_are_given_out_once_the_oldest_first():
    memory = rings()
    fill(memory, 9)
    place = memory.fresh(3, L)
    assert list(zip(place.env, place.start, strict=True)) == [(0, 0), (1, 0), (0, 4)]
    place = memory.fresh(8, L)
    assert list(zip(place.env, place.start, strict=True)) == [(1, 4)], "the ninth step waits"
    assert len(memory.fresh(8, L).env) == 0
    fill(memory, 3, start=9)
    assert sorted(memory.fresh(8, L).start) == [8, 8]


def test_what_fell_out_before_it_was_given_out_is_not_given_out():
    memory = rings(capacity=20)
    fill(memory, 37)
    place = memory.fresh(20, L)
    assert sorted(place.start) == [28, 28, 32, 32]
    values = memory.sequences(place, L).obs["obs"][..., 0]
    assert (values.diff(dim=1) == 1).all()


def test_a_full_ring_forgets_the_oldest_and_takes_no_more_room(folder):
    memory = rings(capacity=20, folder=folder)
    fill(memory, 37)
    assert len(memory) == 20
    seen = set()
    for seed in range(60):
        batch, before, place = draw(memory, 8, seed)
        values = batch.obs["obs"][..., 0]
        assert (values.diff(dim=1) == 1).all()
        assert (before["deter"][:, 0].float() * 1024 - values[:, 0] + 1).abs().max() < 0.2
        assert (place.start >= 28).all(), "the extras before it are still there"
        seen |= set((values.long() % 100).flatten().tolist())
    assert seen == set(range(28, 37))
    if folder is not None:
        memory.save(folder)
        memory.tidy()
        taken = len(list(folder.iterdir()))
        for start in range(37, 137, 10):
            fill(memory, 10, start)
            memory.save(folder)
            memory.tidy()
            assert len(list(folder.iterdir())) <= taken + 1


def test_training_replaces_the_extras():
    memory = rings()
    fill(memory, 12)
    _, _, place = draw(memory, 2, 0)
    found = {"deter": torch.full((2, L, 3), 0.5), "stoch": torch.full((2, L, 2), 3)}
    memory.remember(place, found)
    later = memory.before(Place(place.env, place.start + 3))
    assert (later["deter"] == 0.5).all()
    assert (later["stoch"] == 3).all()


def test_extras_that_nobody_computed_are_not_known():
    """A ring comes round to where the extras of another step lie."""
    memory = rings(capacity=10, n_envs=1)
    fill(memory, 10)
    for t in range(10, 15):
        memory.add(0, {"obs": np.array([t]), "image": np.zeros((2, 2, 3))}, np.zeros(2), 0.0,
                   is_first=False)  # fmt: skip
    known = memory.before(Place(np.zeros(9, int), np.arange(6, 15)))[KNOWN]
    assert known.tolist() == [True] * 5 + [False] * 4


def test_without_extras_there_is_nothing_before_a_sequence():
    memory = Rings(20, 1, {"obs": ((1,), np.float32)}, 2)
    for t in range(8):
        memory.add(0, {"obs": np.array([t])}, np.zeros(2), 0.0, is_first=t == 0)
    assert memory.before(Place(np.zeros(2, int), np.array([0, 3]))) == {}


def test_an_abandoned_episode_ends_where_the_next_begins():
    memory = rings(n_envs=1)
    image = np.zeros((2, 2, 3))
    for t in range(8):
        obs = {"obs": np.array([t]), "image": image}
        memory.add(0, obs, np.zeros(2), 0.0, is_first=t in (0, 5))
    batch = memory.sequences(Place(np.zeros(5, int), np.arange(5)), L)
    for start in range(5):
        # It may go on after the last step of a sequence, which nobody can know.
        ends = [4] if start <= 4 < start + L - 1 else []
        assert (batch.is_last[start].nonzero()[:, 0] + start).tolist() == ends
    assert not batch.terminal.any()


def test_episodes_that_ended_are_given_whole():
    memory = rings(capacity=40)
    fill(memory, 27)  # rings of 20: four episodes of six begun at 7, the first without its start
    found = memory.episodes()
    assert [len(fields["reward"]) for fields in found] == [6] * 4
    firsts = [int(fields["obs.obs"][0, 0]) for fields in found]
    assert firsts == [112, 12, 118, 18] or firsts == [12, 112, 18, 118]
    assert all(fields["is_last"][-1] and fields["is_first"][0] for fields in found)


def same(first: Rings, second: Rings, seeds: int = 8) -> bool:
    """Whether two rings hold and draw the same; what is given out stays so."""
    first, second = copy.copy(first), copy.copy(second)
    if len(first) != len(second):
        return False
    new = [memory.fresh(100, L) for memory in (first, second)]
    if not all(np.array_equal(getattr(new[0], x), getattr(new[1], x)) for x in ("env", "start")):
        return False
    for seed in range(seeds):
        a, before_a, place_a = draw(first, 3, seed)
        b, before_b, place_b = draw(second, 3, seed)
        pairs = [(a.obs[key], b.obs[key]) for key in a.obs]
        pairs += [(a.prev_action, b.prev_action), (a.reward, b.reward), (a.is_last, b.is_last)]
        pairs += [(before_a[key], before_b[key]) for key in before_a]
        if not all(torch.equal(x, y) for x, y in pairs):
            return False
        if not np.array_equal(place_a.start, place_b.start):
            return False
    return True


@pytest.mark.parametrize("capacity", [200, 24])
@pytest.mark.parametrize("torn", [1, 5, 30])
def test_from_a_checkpoint_it_goes_on_as_if_nothing_had_happened(tmp_path, capacity, torn):
    whole, memory = rings(capacity), rings(capacity, folder=tmp_path)
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
    (tmp_path / ".000099.steps.abcdefgh.partial").write_bytes(b"half a file")
    for _ in range(2):
        again = rings(capacity, folder=tmp_path)
        again.restore(tmp_path, *saved)
        again.tidy()
        assert len(list(tmp_path.iterdir())) == len(saved[1]["steps"]["files"])
        for env in range(2):
            for name in memory.steps.fields:
                assert np.array_equal(held(again, name, env), held(whole, name, env))
        fill(again, torn, start=600)
    again = rings(capacity, folder=tmp_path)
    again.restore(tmp_path, *saved)
    for start in (33, 40):
        fill(whole, 7, start)
        fill(again, 7, start)
        assert same(whole, again)


def test_a_step_is_written_once(tmp_path):
    """What was saved once is in the same bytes of the same file later."""
    memory = rings(200, folder=tmp_path)
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
    memory = rings(24, folder=tmp_path / "elsewhere" if start == "elsewhere" else None)
    whole = rings(24)
    fill(memory, 21)
    fill(whole, 21)
    saved = memory.save(tmp_path / "run")
    shutil.rmtree(tmp_path / "elsewhere", ignore_errors=True)
    again = rings(24)
    again.restore(tmp_path / "run", *saved)
    for one in (whole, memory, again):
        fill(one, 4, start=21)
    assert same(whole, memory)
    assert same(whole, again)


def test_what_it_cannot_go_on_from_is_named(tmp_path):
    memory = rings(folder=tmp_path)
    fill(memory, 12)
    tensors, meta = memory.save(tmp_path)
    with pytest.raises(ValueError, match=r"format 1.*expected format 3"):
        rings().restore(tmp_path, tensors, {"count": [12, 12], "segments": [], "fresh": []})
    other = Rings(40, 2, {"obs": ((2,), np.float32)}, 2, EXTRAS)
    with pytest.raises(ValueError, match="expected"):
        other.restore(tmp_path, tensors, meta)
    (tmp_path / "000001.steps").unlink()
    with pytest.raises(ValueError, match=r"000001\.steps is missing"):
        rings().restore(tmp_path, tensors, meta)


def test_a_full_disk_is_an_error_before_anything_is_written(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(stores.os, "posix_fallocate", full)
    with pytest.raises(OSError, match="no room for another 0 MB of recorded steps"):
        fill(rings(folder=tmp_path), 1)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("n_envs", [1, 3])
def test_another_number_of_environments_takes_over_what_was_recorded(n_envs, tmp_path):
    before = rings(40, 2)
    fill(before, 23)  # rings of 20: the first episode has lost three of its six steps
    after = rings(60, n_envs, tmp_path)
    after.take_over(before)
    assert len(after) == len(before) == 40
    assert not len(after.fresh(1, L).env), "nothing of it is new"
    for seed in range(10):
        batch, extras, place = draw(after, 6, seed)
        values = batch.obs["obs"][..., 0].long()
        goes_on = ~batch.is_first[:, 1:]
        assert ((values.diff(dim=1) == 1) | ~goes_on).all()
        assert torch.equal(batch.reward.long(), (values % 100) * ~batch.is_first)
        assert batch.is_last[:, :-1][batch.is_first[:, 1:]].all()
        known = after.steps.gather(place.env, np.maximum(place.start - 1, 0), 1)["obs.obs"]
        known = torch.from_numpy(known[:, 0, 0])
        inside = torch.from_numpy(place.start > 0)
        assert torch.equal(extras[KNOWN], inside)
        assert torch.equal(extras["deter"][inside][:, 0], (known / 1024).half()[inside])
    fill(after, 6, start=24)
    new = after.sequences(after.fresh(n_envs, L), L)
    assert (new.obs["obs"][..., 0] % 100 >= 24).all()


def test_of_too_much_the_newest_is_kept():
    before = rings(40, 1)
    fill(before, 30)
    after = rings(20, 2)
    after.take_over(before)
    kept = np.sort(np.concatenate([held(after, "obs.obs", env)[:, 0] for env in range(2)]))
    assert len(after) == 20
    assert kept[-6:].tolist() == [24, 25, 26, 27, 28, 29]


@pytest.mark.parametrize("n_envs", [1, 3])
def test_saving_moving_and_reading_copy_nothing_into_memory(n_envs, tmp_path, monkeypatch):
    monkeypatch.setattr(stores, "BLOCK_BYTES", 150_000)
    observations = {"obs": ((1,), np.float32), "image": ((32, 32, 3), np.uint8)}

    def build(folder):
        return Rings(900, n_envs, observations, 2, EXTRAS, folder)

    memory = build(tmp_path / "one")
    for t in range(700 // n_envs):
        for env in range(n_envs):
            image = np.full((32, 32, 3), (t + env) % 256)
            obs = {"obs": np.array([t]), "image": image}
            memory.add(env, obs, np.zeros(2), 0.0, is_first=t % 30 == 0)
    recorded = 700 * 32 * 32 * 3

    def peak(function):
        tracemalloc.start()
        result = function()
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return result, most

    again = build(tmp_path / "one")
    for folder in ("one", "two"):
        (tensors, meta), most = peak(lambda to=folder: memory.save(tmp_path / to))
        assert most < recorded / 10
        assert len(meta["steps"]["files"]) > 8
        _, most = peak(lambda to=folder, s=(tensors, meta): again.restore(tmp_path / to, *s))
        assert most < recorded / 10
        for env in range(n_envs):
            for name in memory.steps.fields:
                assert np.array_equal(held(again, name, env), held(memory, name, env))
    other = build(tmp_path / "three")
    _, most = peak(lambda: other.take_over(memory))
    assert most < recorded / 2
