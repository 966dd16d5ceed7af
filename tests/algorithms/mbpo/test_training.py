"""Training MBPO: who sees which data, elites, rollouts, mixing, the row without a model."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces

from mbrl_agents.algorithms.mbpo import MBPO
from mbrl_agents.algorithms.mbpo.learning import ImaginedStep, n_step_transitions
from mbrl_agents.config import resolve_config
from mbrl_agents.data.buffer import SequenceBuffer
from mbrl_agents.data.transitions import draw_transitions

SMALL = [
    "world_model.members=3",
    "world_model.elites=2",
    "world_model.hidden=[8]",
    "world_model.end_hidden=[8]",
    "model_free.hidden=[8]",
    "model_free.batch_size=20",
    "training.batch_size=16",
    "training.rollouts=30",
    "training.rollout_length=[2,4,20,40]",
    "training.rollout_every=10",
    "training.random_steps=20",
    "training.check_every=2",
]


def build(*overrides: str, seed: int = 0, discrete: bool = True) -> MBPO:
    config = resolve_config("mbpo", [*SMALL, *overrides])
    actions = spaces.Discrete(2) if discrete else spaces.Box(-1, 1, (1,))
    space = spaces.Box(-np.inf, np.inf, (3,))
    return MBPO(config.sections, space, actions, seed=seed)


def filled(discrete: bool = True, steps: int = 90) -> SequenceBuffer:
    """Observations move by the action; each of nine steps ends an episode."""
    actions = spaces.Discrete(2) if discrete else spaces.Box(-1, 1, (1,))
    buffer = SequenceBuffer(spaces.Box(-np.inf, np.inf, (3,)), actions)
    draws, obs = np.random.default_rng(0), np.zeros(3)
    for t in range(steps):
        action = np.eye(2)[draws.integers(2)] if discrete else draws.uniform(-1, 1, 1)
        obs = draws.normal(size=3) if t % 9 == 0 else obs + 0.1 * action[0]
        buffer.own.add(
            0, {"obs": obs}, action, 1.0,
            is_first=t % 9 == 0, is_last=t % 9 == 8, terminal=t % 9 == 8,
        )  # fmt: skip
    return buffer


def test_phases_come_in_the_order_in_which_data_are_used():
    algorithm = build()
    assert [phase.name for phase in algorithm.phases] == ["model", "rollouts", "policy"]
    model, rollouts, policy = (phase.schedule for phase in algorithm.phases)
    assert (model.start, model.every, model.first) == (20, 250, 800)
    # A set of rollouts with every fit, at once after it: neither before it nor without.
    assert (rollouts.start, rollouts.every, rollouts.per_turn, rollouts.first) == (20, 10, 1.0, 1)
    assert (policy.start, policy.every, policy.per_turn) == (20, 1, 10.0)


def test_without_imagined_data_there_are_the_same_updates_and_no_model():
    algorithm = build("training.real_ratio=1.0")
    (policy,) = algorithm.phases
    assert policy.schedule == build().phases[2].schedule
    before = {k: v.clone() for k, v in algorithm.model.state_dict().items()}
    policy.begin(filled(), 2, seed=0, refit=False)
    policy.update(filled())
    assert all(torch.equal(v, before[k]) for k, v in algorithm.model.state_dict().items())


def test_members_see_different_shares_of_the_data_and_always_the_same():
    phase = build().phases[0]
    names = draw_transitions(
        filled(), 4000, phase.model.layout.stacked_vectors, torch.Generator().manual_seed(0)
    )[1]
    counts = phase.counts(names)
    assert counts.shape == (3, 4000)
    assert np.array_equal(counts, phase.counts(names))
    some = np.arange(20_000, dtype=np.uint64)
    many = phase.counts(some)
    # Bootstraps: each transition once on average, and a member does without 37 % of them.
    assert np.abs(many.mean(1) - 1.0).max() < 0.03
    assert np.abs((many == 0).mean(1) - np.exp(-1)).max() < 0.02
    assert np.abs(np.corrcoef(many) - np.eye(3)).max() < 0.03


def test_held_out_transitions_train_nobody():
    phase, names = build().phases[0], np.arange(5000, dtype=np.uint64)
    held = phase._held(names)
    assert abs(held.mean() - 0.2) < 0.03
    drawn = phase._draw(filled(), 300, torch.Generator().manual_seed(0), phase._kept)[1]
    assert not phase._held(drawn).any()


def test_a_fit_keeps_each_members_best_weights_and_elects_the_best_members():
    phase, buffer = build("training.learning_rate=0.01").phases[0], filled()
    phase.begin(buffer, 12, seed=0, refit=False)
    errors, weights = [], []

    def look(buffer) -> None:
        type(phase)._check(phase, buffer)
        errors.append(phase.best_error.clone())
        weights.append({k: v.clone() for k, v in phase.model.state_dict().items()})

    phase._check = look
    for _ in range(12):
        phase.update(buffer)
    found = phase.end(buffer)
    assert len(errors) == 7
    assert all((b <= a).all() for a, b in zip(errors[:-1], errors[1:], strict=True))
    elites = errors[-1].argsort()[:2]
    assert set(phase.model.elites.tolist()) == set(elites.tolist())
    assert found["error"] == pytest.approx(float(errors[-1][elites].mean()))
    name = "dynamics.output.weight"
    for member in range(3):
        best = next(i for i, e in enumerate(errors) if e[member] == errors[-1][member])
        kept = phase.model.state_dict()[name][member]
        assert torch.equal(kept, weights[best][name][member])


def test_rollouts_begin_at_real_states_and_stop_at_ends():
    algorithm, buffer = build("training.n_step=1"), filled()
    model, rollouts, _ = algorithm.phases
    model.begin(buffer, 1, seed=0, refit=False)
    ends = iter([torch.tensor([1.0, 0.0] * 15), torch.zeros(30)])
    algorithm.model.ending = lambda obs: next(ends)
    rollouts.update(buffer)
    found = rollouts.imagined
    # Two steps each, but for the half that ended after the first.
    assert len(found) == 45
    assert found.terminal.tolist() == [True, False] * 15 + [False] * 15
    assert torch.equal(found.obs[30:], found.next_obs[1:30:2])
    real = {tuple(x) for x in draw_transitions(
        buffer, 2000, algorithm.model.layout.stacked_vectors, torch.Generator().manual_seed(0)
    )[0].obs.tolist()}  # fmt: skip
    assert {tuple(x) for x in found.obs[:30].tolist()} <= real


def test_rollouts_grow_longer_with_the_environment_steps():
    config = build().phases[0].config
    assert [config.length_after(steps) for steps in (0, 20, 30, 40, 99)] == [2, 2, 3, 4, 4]


def test_the_last_sets_of_rollouts_are_kept():
    algorithm, buffer = build("training.retained=2"), filled()
    algorithm.model.ending = lambda obs: torch.zeros(len(obs))
    rollouts, sets = algorithm.phases[1], []
    for _ in range(3):
        rollouts.update(buffer)
        size = rollouts.sizes[-1]
        sets.append(rollouts.imagined[-size:].obs)
    assert rollouts.sizes == [len(sets[1]), len(sets[2])]
    assert torch.equal(rollouts.imagined.obs, torch.cat(sets[1:]))


def imagined(rows: int = 40, length: int = 6) -> list[ImaginedStep]:
    """Rollouts of which some end and some act at random now and then."""
    draws, path = torch.Generator().manual_seed(4), []
    obs, alive = torch.randn(rows, 3, generator=draws), torch.ones(rows).bool()
    for _ in range(length):
        following = torch.randn(rows, 3, generator=draws)
        action, reward = torch.randn(rows, 2, generator=draws), torch.randn(rows, generator=draws)
        terminal, own = (torch.rand(rows, generator=draws) < p for p in (0.15, 0.8))
        path.append(ImaginedStep(obs, action, reward, following, terminal, alive, own))
        obs, alive = following, alive & ~terminal
    return path


@pytest.mark.parametrize("n_step", [1, 3, 10])
def test_imagined_rewards_are_summed_until_an_end_a_random_action_or_n_steps(n_step):
    path, discount = imagined(), 0.9
    expected = []
    for start, first in enumerate(path):
        for row in range(40):
            if not first.alive[row]:
                continue
            total, last = 0.0, start
            for t in range(start, min(start + n_step, len(path))):
                if t > start and not path[t].own[row]:
                    break
                total, last = total + discount ** (t - start) * float(path[t].reward[row]), t
                if path[t].terminal[row]:
                    break
            following, ends = path[last].next_obs[row], bool(path[last].terminal[row])
            expected.append((first.obs[row], total, following, ends, last - start + 1))
    found = n_step_transitions(path, n_step, discount)
    assert len(found) == len(expected) > 150
    obs, rewards, following, ends, steps = zip(*expected, strict=True)
    assert torch.equal(found.obs, torch.stack(obs))
    torch.testing.assert_close(found.reward, torch.tensor(rewards))
    assert torch.equal(found.next_obs, torch.stack(following))
    assert found.terminal.tolist() == list(ends)
    assert found.steps.tolist() == list(steps)
    assert max(steps) == min(n_step, 6)


@pytest.mark.parametrize("ratio", [0.0, 0.25, 1.0])
def test_a_batch_holds_the_share_of_real_transitions_that_is_asked_for(ratio):
    algorithm, buffer = build(f"training.real_ratio={ratio}"), filled()
    policy, seen = algorithm.phases[-1], []
    if ratio < 1:
        algorithm.phases[1].update(buffer)
        algorithm.phases[1].imagined.reward[:] = -7.0  # real ones are 1
    algorithm.learner.update = lambda data, draws: seen.append(data.reward) or {}
    policy.begin(buffer, 3, seed=0, refit=False)
    for _ in range(3):
        policy.update(buffer)
    assert [int((rewards == 1).sum()) for rewards in seen] == [round(20 * ratio)] * 3
    assert all(len(rewards) == 20 for rewards in seen)


@pytest.mark.parametrize("discrete", [True, False])
def test_it_learns_a_model_of_what_it_saw(discrete):
    algorithm, buffer = build("training.learning_rate=0.01", discrete=discrete), filled(discrete)
    phase = algorithm.phases[0]
    phase.begin(buffer, 300, seed=0, refit=False)
    first = float(phase.update(buffer)["squared_error"])
    for _ in range(299):
        last = phase.update(buffer)
    phase.end(buffer)
    assert float(last["squared_error"]) < 0.2 * first


def test_it_acts_by_the_learner():
    algorithm = build()
    obs = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    first = torch.ones(4, dtype=torch.bool)
    action, carry = algorithm.act(algorithm.initial(4), {"obs": obs}, torch.zeros(4, 2), first)
    assert torch.equal(action, algorithm.learner.act(obs))
    assert torch.equal(carry["obs"], obs)
