"""SimpleWorldModel: what it reads, that it learns, and what imagining gives."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor

from mbrl_agents import make_world_model
from mbrl_agents.algorithms.simple import SimpleFit
from mbrl_agents.algorithms.simple.vectors import relative_pairs
from mbrl_agents.data.actions import ActionCodec
from mbrl_agents.data.buffer import SequenceBuffer
from mbrl_agents.data.episode import Episode
from mbrl_agents.data.recorded import RecordedEpisodes
from mbrl_agents.protocols import tree_map
from mbrl_agents.training.fit import FitSettings
from toy_grasp import demonstrations

ACTIONS = spaces.Box(-1.0, 1.0, (7,), np.float32)
POSES = spaces.Dict({"pose": spaces.Box(-np.inf, np.inf, (21,), np.float32)})
SMALL = {"hidden": (64,), "head_hidden": (64,), "outcome_hidden": (32,)}


@pytest.fixture(scope="module")
def buffer() -> SequenceBuffer:
    return SequenceBuffer(POSES, ACTIONS, recorded=demonstrations(8))


@pytest.fixture(scope="module")
def data(buffer) -> RecordedEpisodes:
    return buffer.recorded


def fit(model, buffer, steps, **settings):
    """Fit a model to all episodes."""
    settings = FitSettings(holdout=0.0, **settings)
    phase = SimpleFit(model, settings, seed=0)
    phase.begin(buffer, steps, seed=0, refit=False)
    for _ in range(steps):
        phase.update(buffer)
    phase.end(buffer)


def observed(model, data, count=4):
    """States at the first observations of ``count`` steps."""
    batch = data.at(data.steps[:count])
    first = torch.ones(count, dtype=torch.bool)
    return model.observe(model.initial(count), batch.obs, batch.prev_action, first)


def test_it_overfits_one_batch(data):
    model = make_world_model("simple", POSES, ACTIONS, **SMALL)
    generator = torch.Generator().manual_seed(0)
    batch = data.draw_windows(48, 4, 1, generator)
    model.fit_statistics(data.draw_windows(500, 2, 1, generator))
    model.train()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    first = None
    for _ in range(300):
        loss, parts = model.compute_loss(batch)
        first = first or parts
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for name in ("dynamics", "reward", "continue", "steps"):
        assert parts[name] < 0.15 * first[name], name


def test_long_imagination_follows_the_environment(buffer):
    model = make_world_model("simple", POSES, ACTIONS, **SMALL)
    fit(model, buffer, 600, batch_size=192)
    data = buffer.recorded
    batch = data.windows(data.first, 10, 0)
    poses, actions = batch.obs["pose"], batch.prev_action[:, 1:]
    start = {"obs": poses[:, 0], "prev_obs": poses[:, 0]}
    with torch.no_grad():
        state = start
        for step in range(10):
            state = model.imagine_step(state, actions[:, step])
        rollout = model.imagine(start, actions)
        decoded = model.decode(state)
    moved = (poses[:, -1, :3] - poses[:, 0, :3]).norm(dim=-1)
    missed = (decoded["pose"][:, :3] - poses[:, -1, :3]).norm(dim=-1)
    assert missed.mean() < 0.25 * moved.mean()
    assert torch.allclose(rollout.features[:, -1], model.features(state), atol=1e-4)


def test_a_rollout_has_what_planners_need(data):
    model = make_world_model("simple", POSES, ACTIONS, **SMALL)
    rollout = model.imagine(observed(model, data), torch.zeros(4, 6, 7))
    assert rollout.features.shape == (4, 6, model.feature_size)
    for name in ("reward", "continues", "value", "disagreement", "steps_to_go"):
        assert getattr(rollout, name).shape == (4, 6)
    assert (rollout.disagreement > 0).all()
    assert ((rollout.value > 0) & (rollout.value <= 1)).all()
    assert torch.allclose(rollout.value, 0.99**rollout.steps_to_go)


def test_one_member_has_no_disagreement(data):
    model = make_world_model("simple", POSES, ACTIONS, ensemble=1, **SMALL)
    assert model.imagine(observed(model, data), torch.zeros(4, 2, 7)).disagreement is None


def test_disagreement_grows_away_from_the_data(buffer, data):
    model = make_world_model("simple", POSES, ACTIONS, **SMALL)
    fit(model, buffer, 600)
    state = observed(model, data)
    # Sideways alone would not do: only relative positions are seen.
    shift = 0.8 * torch.ones(21)
    shift[7:14] *= -1.0
    away = {key: value + shift for key, value in state.items()}
    actions = torch.zeros(4, 3, 7)
    near, far = (model.imagine(s, actions).disagreement.mean() for s in (state, away))
    assert far > 2 * near


def test_velocity_is_visible_and_forgotten_when_an_episode_begins(data):
    model = make_world_model("simple", POSES, ACTIONS, **SMALL)
    obs = {"pose": torch.randn(2, 21)}
    before = {"obs": torch.zeros(2, 21), "prev_obs": torch.zeros(2, 21)}
    after = model.observe(before, obs, torch.zeros(2, 7), torch.tensor([True, False]))
    assert torch.equal(after["prev_obs"][0], obs["pose"][0])
    assert torch.equal(after["prev_obs"][1], torch.zeros(21))


def test_relative_positions_come_from_the_pose_layout():
    box = lambda n: spaces.Box(-1, 1, (n,), np.float32)  # noqa: E731
    assert relative_pairs({"pose": 21}) == [[0, 7], [0, 14], [7, 14]]
    assert relative_pairs({"extra": 2, "pose": 14}) == [[2, 9]]
    for sizes in ({"pose": 7}, {"pose": 20}, {"obs": 21}):
        assert relative_pairs(sizes) == []
    model = make_world_model("simple", POSES, ACTIONS)
    # Relative twice, the opening once more, and a sine and a cosine of three wavelengths.
    assert model.feature_size == 2 * 21 + 2 * 9 + 1 + 2 * 3 * 9
    assert make_world_model("simple", POSES, ACTIONS, relative=[]).feature_size == 42
    assert make_world_model("simple", POSES, ACTIONS, fine=0.0, wavelengths=()).feature_size == 51
    assert make_world_model("simple", box(21), ACTIONS).feature_size == 42


def test_moving_everything_sideways_changes_no_prediction(buffer, data):
    """What a gripper does to an object depends on where it is relative to it."""
    invariant = make_world_model("simple", POSES, ACTIONS, **SMALL)
    fit(invariant, buffer, 50)
    state = observed(invariant, data)
    shift = torch.zeros(21)
    shift[[0, 7, 14]] = 0.3
    shift[[1, 8, 15]] = -0.2
    moved = {key: value + shift for key, value in state.items()}
    lifted = {key: value + 0.3 * (shift > 0).roll(2) for key, value in state.items()}
    actions = torch.zeros(4, 3, 7)
    here = invariant.imagine(state, actions).steps_to_go
    assert torch.allclose(invariant.imagine(moved, actions).steps_to_go, here, atol=1e-3)
    assert not torch.allclose(invariant.imagine(lifted, actions).steps_to_go, here, atol=1e-3)


def test_keys_are_concatenated_in_the_order_of_the_space():
    space = spaces.Dict(
        {
            "task": spaces.Box(0, 1, (2,), np.float32),
            "pose": spaces.Box(-1, 1, (7,), np.float32),
        }
    )
    model = make_world_model("simple", space, ACTIONS)
    obs = {key: torch.full((1, *box.shape), float(i)) for i, (key, box) in enumerate(space.items())}
    state = model.observe(model.initial(1), obs, torch.zeros(1, 7), torch.ones(1, dtype=torch.bool))
    assert state["obs"].tolist() == [torch.cat([obs[k][0] for k in space.spaces]).tolist()]


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (spaces.Dict({"image": spaces.Box(0, 255, (64, 64, 3), np.uint8)}), "'image'.*shape"),
        (spaces.Discrete(3), "need a Box"),
        (spaces.Dict({"d": spaces.Discrete(3)}), "'d' is a Discrete"),
    ],
)
def test_other_observations_are_refused(space, message):
    with pytest.raises(ValueError, match=message):
        make_world_model("simple", space, ACTIONS)


def test_bfloat16_networks_keep_float32_states(buffer, data):
    model = make_world_model("simple", POSES, ACTIONS, dtype="bfloat16", **SMALL)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    fit(model, buffer, 20)
    rollout = model.imagine(observed(model, data), torch.zeros(4, 3, 7))
    assert rollout.features.dtype == rollout.steps_to_go.dtype == torch.float32
    assert rollout.reward.isfinite().all()


def test_failures_may_count_as_the_longest_way(data):
    batch = data.windows(data.steps[:8], 3, 1)
    unknown = torch.full_like(batch.steps_to_go, torch.nan)
    failed = type(batch)(**{**vars(batch), "steps_to_go": unknown})
    for count, zero in ((False, True), (True, False)):
        settings = {"failures_count": count, "bootstrap": False, **SMALL}
        model = make_world_model("simple", POSES, ACTIONS, **settings)
        loss, parts = model.compute_loss(failed)
        assert loss.isfinite()
        assert (parts["steps"] == 0).item() is zero


def transitions(count: int = 3) -> RecordedEpisodes:
    """One episode in which nothing looks like anything else."""
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=(count, 21)).astype(np.float32).cumsum(0)
    actions = rng.uniform(-1, 1, (count - 1, 7)).astype(np.float32)
    rewards = np.arange(1, count, dtype=np.float32)
    made = Episode({"pose": numbers}, actions, actions, rewards, True, True)
    return RecordedEpisodes([made], ActionCodec(ACTIONS))


def test_the_loss_pairs_each_action_with_the_step_it_led_through():
    """Dynamics that know the episode have no error, with any other pairing they have."""
    data = transitions(8)
    model = make_world_model("simple", POSES, ACTIONS, ensemble=1, **SMALL).eval()
    model.fit_statistics(data.windows(data.steps, 2, 1))
    batch = data.windows(data.steps, 3, 1)
    poses, actions = data.obs["pose"], data.prev_action

    class Known(torch.nn.Module):
        """Reads the action and gives the change of the pose that it led to."""

        def each(self, inputs):
            action = inputs[..., -7:]
            row = (action[..., None, :] - actions[1:]).abs().sum(-1).argmin(-1)
            return model.delta_normaliser((poses[1:] - poses[:-1])[row])

    model.dynamics = Known()
    _, parts = model.compute_loss(batch)
    assert parts["dynamics"].item() == pytest.approx(0.0, abs=1e-5)
    shifted = replace(batch, prev_action=batch.prev_action.roll(1, 1))
    assert model.compute_loss(shifted)[1]["dynamics"] > 0.05

    class Rewards(torch.nn.Module):
        """Gives the reward of the pose that was reached, and certainty that the episode ends."""

        def each(self, features):
            expected = model.features({"obs": poses[1:], "prev_obs": poses[:-1]})
            row = (features[..., None, :] - expected).abs().sum(-1).argmin(-1)
            reward = model.reward_normaliser(data.reward[1:][row][..., None])
            ends = torch.where(data.terminal[1:][row], -20.0, 20.0)[..., None]
            return torch.cat([reward, ends], -1)

    model.outcome = Rewards()
    _, parts = model.compute_loss(batch)
    assert parts["reward"].item() == pytest.approx(0.0, abs=1e-5)
    assert parts["continue"].item() == pytest.approx(0.0, abs=1e-5)


def test_each_member_keeps_its_own_share_of_a_training_batch():
    data = transitions(13)
    model = make_world_model("simple", POSES, ACTIONS, ensemble=3, **SMALL)
    model.fit_statistics(data.windows(data.steps, 2, 1))
    batch = data.windows(data.steps, 2, 1)
    seen = []
    model.dynamics.each = lambda inputs: seen.append(inputs) or torch.zeros(*inputs.shape[:2], 21)
    for training in (True, False):
        seen.clear()
        model.train(training)
        model.compute_loss(batch)
        assert seen[0].shape[:2] == (3, 4 if training else 12)
        distinct = {tuple(row.tolist()) for row in seen[0].flatten(0, 1)}
        assert len(distinct) == 12


def test_discrete_actions_are_one_hot_inputs():
    rng = np.random.default_rng(0)
    numbers = rng.integers(0, 4, (40, 1)).astype(np.float32)
    moves = np.array([[1, 0], [-1, 0], [0, 1], [0, -1]], np.float32)
    place = np.concatenate([np.zeros((1, 2)), moves[numbers[:, 0].astype(int)].cumsum(0)])
    made = Episode({"obs": place.astype(np.float32)}, numbers, numbers, np.ones(40), False, False)
    space, actions = spaces.Box(-np.inf, np.inf, (2,), np.float32), spaces.Discrete(4)
    buffer = SequenceBuffer(space, actions, recorded=[made])
    model = make_world_model("simple", space, actions, **SMALL)
    fit(model, buffer, 200, sequence_length=3, batch_size=96, learning_rate=3e-3)
    assert model.actions.discrete
    state = model.observe(
        model.initial(4), {"obs": torch.zeros(4, 2)}, torch.zeros(4, 4), torch.ones(4) > 0
    )
    after = model.decode(model.imagine_step(tree_map(Tensor.detach, state), torch.eye(4)))["obs"]
    assert torch.allclose(after, torch.from_numpy(moves), atol=0.35)


def test_weights_depend_on_the_seed_alone():
    torch.manual_seed(1)
    a = make_world_model("simple", POSES, ACTIONS, seed=5)
    torch.manual_seed(2)
    before = torch.random.get_rng_state()
    b = make_world_model("simple", POSES, ACTIONS, seed=5)
    c = make_world_model("simple", POSES, ACTIONS, seed=6)
    assert torch.equal(before, torch.random.get_rng_state())
    same = [torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True)]
    other = [torch.equal(p, q) for p, q in zip(a.parameters(), c.parameters(), strict=True)]
    assert all(same)
    assert not all(other)
