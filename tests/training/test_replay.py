"""The replay: what goes in comes out, in order, with its latents, and survives files."""

from __future__ import annotations

import numpy as np
import pytest
import torch

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
