"""The sequence buffer on disk: what was saved is gone on from, bit for bit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from numbered_steps import OWN, L, act, built, numbers, recorded, seeded

from mbrl_agents.data.buffer import SequenceBuffer
from mbrl_agents.data.extras import KNOWN


class TestFiles:
    def same(self, first: SequenceBuffer, second: SequenceBuffer) -> bool:
        for seed in range(6):
            a, b = (x.sample(8, L, seeded(seed), fresh=True) for x in (first, second))
            if not torch.equal(numbers(a), numbers(b)):
                return False
            if not all(torch.equal(a.before[key], b.before[key]) for key in a.before):
                return False
        return len(first) == len(second)

    @pytest.mark.parametrize("start", ["memory", "files"])
    def test_it_goes_on_from_what_was_saved(self, tmp_path, start):
        folder = tmp_path / "steps"
        buffer, whole = built(recorded(), n_envs=2), built(recorded(), n_envs=2)
        if start == "files":
            buffer.record_into(2, folder)
        for one in (buffer, whole):
            act(one, 20)
            sample = one.sample(8, L, seeded(5))
            one.remember(sample.place, {"latent": torch.rand(8, L, 2, generator=seeded(7))})
        tensors, meta = buffer.save(folder)
        saved = {k: v.clone() for k, v in tensors.items()}, json.loads(json.dumps(meta))
        buffer.tidy()
        act(buffer, 7, start=500)  # of which nothing may come back
        again = built(recorded(), n_envs=2)
        again.restore(folder, *saved)
        again.tidy()
        for one in (whole, again):
            act(one, 4, start=20)
        assert self.same(whole, again)
        assert {id(e) for e in again.episodes()[:3]} == {id(e) for e in again.episodes_given}

    def test_extras_of_recorded_episodes_alone_can_be_taken_back(self):
        """An offline fit has no own experience."""
        buffer, again = built(recorded()), built(recorded())
        sample = buffer.sample(8, L, seeded())
        buffer.remember(sample.place, {"latent": torch.rand(8, L, 2, generator=seeded(1))})
        again.restore(None, {k: v.clone() for k, v in buffer.recorded_extras().items()}, None)
        assert self.same(buffer, again)
        assert again.sample(64, L, seeded()).before[KNOWN].any()

    @pytest.mark.parametrize("n_envs", [1, 2, 3])
    def test_it_goes_on_with_other_environments_and_folders(self, n_envs, tmp_path):
        buffer = built(recorded(), n_envs=2)
        act(buffer, 18)

        def held() -> list[int]:
            firsts = [int(e.observations["pose"][0, 0]) for e in buffer.episodes()]
            return sorted(firsts)

        def files(folder: Path) -> int:
            return len(list(folder.iterdir()))

        before = held()
        buffer.record_into(n_envs, tmp_path / "one")
        assert buffer.own.n_envs == n_envs
        assert held() == before
        assert files(tmp_path / "one")
        buffer.record_into(n_envs, tmp_path / "two")
        assert held() == before
        left = {path.name: path.read_bytes() for path in (tmp_path / "one").iterdir()}
        act(buffer, 6, start=18)
        added = {OWN + 1000 * env + 18 for env in range(n_envs)}
        assert set(held()) - set(before) == added
        now = {path.name: path.read_bytes() for path in (tmp_path / "one").iterdir()}
        assert now == left, "another training's files stay as they are"
        sample = buffer.sample(64, L, seeded())
        first = numbers(sample)[:, 0]
        inside = sample.before[KNOWN] & ~sample.batch.is_first[:, 0]
        wanted = ((first[inside] - 1) / 8192).half()
        assert torch.equal(sample.before["latent"][inside][:, 0], wanted)
        assert inside.any()
        same = buffer.own
        buffer.record_into(n_envs, tmp_path / "two")
        assert buffer.own is same
