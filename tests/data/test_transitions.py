"""Single transitions out of recorded episodes and own experience."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces

from mbrl_agents.data.buffer import SequenceBuffer
from mbrl_agents.data.episode import Episode
from mbrl_agents.data.transitions import draw_transitions, mixed, share


def filled(recorded: bool = True) -> SequenceBuffer:
    """Episodes whose observations count 0, 1, 2, ...: a recorded one, and two of own experience."""
    episodes = []
    if recorded:
        count = np.arange(4, dtype=np.float32)[:, None]
        action = np.full((3, 1), 0.5, np.float32)
        rewards = np.arange(1, 4, dtype=np.float32)
        episodes = [Episode({"obs": count}, action, action, rewards, True, False)]
    space = spaces.Box(-np.inf, np.inf, (1,))
    buffer = SequenceBuffer(space, spaces.Box(-1, 1, (1,)), recorded=episodes)
    for episode, ended in enumerate((True, False)):
        for t in range(4):
            buffer.own.add(
                0,
                {"obs": np.array([10.0 * (episode + 1) + t])},
                np.array([-0.5]),
                float(t),
                is_first=t == 0,
                is_last=t == 3,
                terminal=t == 3 and ended,
            )
    return buffer


def stack(obs):
    return obs["obs"].float()


def test_a_transition_is_a_step_within_an_episode():
    data, _ = draw_transitions(filled(), 400, stack, torch.Generator().manual_seed(0))
    assert len(data) == 400
    assert torch.equal(data.next_obs, data.obs + 1)
    found = set(data.obs[:, 0].tolist())
    assert found == {0.0, 1.0, 2.0, 10.0, 11.0, 12.0, 20.0, 21.0, 22.0}
    assert torch.equal(data.reward, data.next_obs[:, 0] % 10)
    assert torch.equal(data.action[:, 0], torch.where(data.obs[:, 0] < 10, 0.5, -0.5))
    # The third episode was cut off: it did not end.
    ended = (data.next_obs[:, 0] == 3) | (data.next_obs[:, 0] == 13)
    assert torch.equal(data.terminal, ended)


def test_all_transitions_are_as_likely():
    data, _ = draw_transitions(filled(), 9000, stack, torch.Generator().manual_seed(1))
    _, counts = data.obs[:, 0].unique(return_counts=True)
    assert counts.min() > 850
    assert counts.max() < 1150


def test_the_generator_decides_and_names_stay_when_more_is_recorded():
    buffer = filled()

    def named(seed: int) -> dict[float, int]:
        data, names = draw_transitions(buffer, 300, stack, torch.Generator().manual_seed(seed))
        return dict(zip(data.obs[:, 0].tolist(), names.tolist(), strict=True))

    before = named(0)
    assert before == named(0)
    assert len(set(before.values())) == 9
    for t in range(4):
        buffer.own.add(
            0, {"obs": np.array([30.0 + t])}, np.zeros(1), 0.0, is_first=t == 0, is_last=t == 3
        )
    after = named(1)
    assert {key: after[key] for key in before} == before


def test_only_what_is_wanted_is_drawn():
    draws = torch.Generator().manual_seed(0)
    _, names = draw_transitions(
        filled(), 50, stack, draws, wanted=lambda names: share(names, 1) < 0.4
    )
    assert (share(names, 1) < 0.4).all()
    with pytest.raises(ValueError, match="no transition of the kind"):
        draw_transitions(filled(), 1, stack, draws, wanted=lambda names: np.zeros(len(names), bool))


def test_neighbouring_numbers_are_mixed_well():
    shares = share(np.arange(20_000, dtype=np.uint64), 3)
    counts, _ = np.histogram(shares, 20, (0, 1))
    assert counts.min() > 850
    assert abs(np.corrcoef(shares[:-1], shares[1:])[0, 1]) < 0.03
    other = share(np.arange(20_000, dtype=np.uint64), 4)
    assert abs(np.corrcoef(shares, other)[0, 1]) < 0.03
    assert len(np.unique(mixed(np.arange(1000, dtype=np.uint64)))) == 1000
