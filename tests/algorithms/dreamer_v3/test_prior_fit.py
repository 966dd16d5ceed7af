"""An action prior trained by imagination from the latents of recorded episodes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces

import toy_grasp
from mbrl_agents import make_planner, make_world_model
from mbrl_agents.algorithms.dreamer_v3.actor_critic import ImaginationConfig
from mbrl_agents.algorithms.dreamer_v3.prior import ImaginedPrior, ImaginedPriorConfig
from mbrl_agents.algorithms.dreamer_v3.prior_fit import ImaginedPriorFit, encode_states
from mbrl_agents.data.buffer import SequenceBuffer
from mbrl_agents.nn.symlog import symexp_bins, two_hot
from mbrl_agents.planners.objectives import ReturnObjective
from mbrl_agents.training import cloning
from mbrl_agents.training.fit import FitSettings

SPACE = spaces.Dict({"pose": spaces.Box(-np.inf, np.inf, (21,), np.float32)})
ACTIONS = spaces.Box(-1.0, 1.0, (7,), np.float32)
TINY = {"deter": 32, "hidden": 16, "units": 16, "stoch": 4, "classes": 4}
STEPS = 60
SETTINGS = FitSettings(
    policy_steps=STEPS, policy_batch_size=64, policy_learning_rate=3e-3, holdout=0.3
)
SHORT = ImaginationConfig(imagination=3)


class Pays(torch.nn.Module):
    """A reward head that pays for what the last action left in ``h``."""

    def __init__(self, deter: int) -> None:
        super().__init__()
        self.probe = torch.randn(deter, generator=torch.Generator().manual_seed(3))

    def forward(self, features):
        paid = 4 * torch.tanh(features[..., : len(self.probe)] @ self.probe)
        return two_hot(paid, symexp_bins()).clamp_min(1e-20).log()


@pytest.fixture(scope="module")
def buffer() -> SequenceBuffer:
    return SequenceBuffer(SPACE, ACTIONS, recorded=toy_grasp.demonstrations(4))


def build(imitation: float = 0.0) -> ImaginedPriorFit:
    model = make_world_model("dreamer_v3", SPACE, ACTIONS, **TINY)
    model.reward = Pays(model.rssm.deter)
    model.requires_grad_(False)
    settings = ImaginedPriorConfig(units=16, imitation_weight=imitation)
    draw = torch.Generator().manual_seed(1)
    prior = ImaginedPrior(settings, model.feature_size, 7, generator=draw)
    return ImaginedPriorFit(prior, model.eval(), SETTINGS, SHORT, seed=0)


def fit(phase: ImaginedPriorFit, buffer: SequenceBuffer, begin: int = 0, end: int = STEPS):
    """Updates from ``begin`` to ``end``; their metrics, and those on held-out data every 20."""
    if begin == 0:
        phase.begin(buffer, STEPS, seed=0, refit=False)
    train, held = [], []
    for done in range(begin + 1, end + 1):
        train.append({name: float(x) for name, x in phase.update(buffer).items()})
        if done % 20 == 0:
            held.append(phase.evaluate(buffer))
    return train, held


def test_states_of_all_rows_are_those_of_filtering(buffer, monkeypatch):
    data = buffer.recorded
    model = build().model
    monkeypatch.setattr("mbrl_agents.algorithms.dreamer_v3.prior_fit.AT_ONCE", 2)
    states = encode_states(model, data)
    found = cloning.filtered(model, data.whole(torch.arange(4)))
    for episode in range(4):
        # What an episode ended with has a state too.
        rows = int(data.first[episode]) + torch.arange(int(data.length[episode]) + 1)
        for key, value in states.items():
            assert torch.allclose(value[rows], found[key][episode, : len(rows)], atol=1e-5)
    assert len(states["deter"]) == data.rows


def test_it_learns_what_pays_and_guides_a_search(buffer):
    phase = build()
    before = {key: value.clone() for key, value in phase.model.state_dict().items()}
    train, held = fit(phase, buffer)
    assert held[-1]["imagined_reward"] > held[0]["imagined_reward"] + 0.1
    assert min(row["gradient_norm"] for row in train) > 0
    assert "label_error" not in held[0]
    assert phase.end(buffer) == {}, "the last weights, not those of the least loss"
    assert all(torch.equal(before[k], value) for k, value in phase.model.state_dict().items())
    planner = make_planner("policy-guided-cem", horizon=3, samples=8, elites=2, policy_samples=2)
    plan = planner.plan(
        phase.model, phase.model.initial(2), objective=ReturnObjective(), prior=phase.prior,
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    assert plan.actions.shape == (2, 3, 7)
    assert plan.actions.isfinite().all()


def test_labels_hold_it_where_demonstrations_are(buffer):
    errors = {}
    data = buffer.recorded
    for weight in (0.0, 1.0):
        phase = build(weight)
        _, held = fit(phase, buffer)
        states = encode_states(phase.model, data)
        rows = data.steps
        found = phase.prior.actor(phase.model.features({k: x[rows] for k, x in states.items()}))
        errors[weight] = (found.mode - data.label[rows]).abs().mean().item()
    assert errors[1.0] < 0.85 * errors[0.0]
    assert held[-1]["label_error"] > 0


@pytest.mark.parametrize("imitation", [0.0, 0.1])
def test_an_interrupted_fit_resumes_exactly_with_its_critic(buffer, imitation):
    whole = build(imitation)
    expected = fit(whole, buffer)
    killed = build(imitation)
    fit(killed, buffer, 0, 40)
    weights = {key: value.clone() for key, value in killed.prior.state_dict().items()}
    tensors, meta = killed.tensors()
    tensors = {key: value.clone() for key, value in tensors.items()}
    fit(killed, buffer, 40, 50)  # of which nothing may come back
    resumed = build(imitation)
    resumed.prior.load_state_dict(weights)
    resumed.restore(tensors, meta)
    train, held = fit(resumed, buffer, 40)
    assert train == expected[0][40:]
    assert held == expected[1][2:]
    left, right = whole.actor_critic.state_dict(), resumed.actor_critic.state_dict()
    assert left.keys() == right.keys()
    for key, value in left.items():
        assert torch.equal(value, right[key]), key
    assert any(
        parameter.abs().max() > 0 for parameter in whole.prior.critic.network[-1].parameters()
    )


def test_a_look_at_held_out_data_changes_nothing(buffer):
    looked, other = build(), build()
    for phase in (looked, other):
        phase.begin(buffer, 10, seed=0, refit=False)
        for _ in range(5):
            if phase is looked:
                phase.evaluate(buffer)
            phase.update(buffer)
    left, right = looked.actor_critic.state_dict(), other.actor_critic.state_dict()
    assert all(torch.equal(value, right[key]) for key, value in left.items())


def test_labels_are_needed_for_imitation_only():
    assert build(0.5).needs_labels
    assert not build().needs_labels
