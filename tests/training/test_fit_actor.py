"""An action prior trained by imagination from the latents of recorded episodes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces

import toy_grasp
from mbrl_agents import make_planner, make_world_model
from mbrl_agents.nn.symlog import symexp_bins, two_hot
from mbrl_agents.planners.objectives import ReturnObjective
from mbrl_agents.policies.actor import Actor, ActorConfig
from mbrl_agents.policies.actor_critic import ActorPrior, ActorPriorConfig
from mbrl_agents.training.batches import EpisodeTensors
from mbrl_agents.training.fit_actor import encode_states, fit_actor, fit_prior
from mbrl_agents.training.fitting import filtered
from mbrl_agents.training.imagination import ImaginationConfig
from mbrl_agents.training.optimise import TrainingConfig

SPACE = spaces.Dict({"pose": spaces.Box(-np.inf, np.inf, (21,), np.float32)})
ACTIONS = spaces.Box(-1.0, 1.0, (7,), np.float32)
TINY = {"deter": 32, "hidden": 16, "units": 16, "stoch": 4, "classes": 4}
CONFIG = TrainingConfig(
    policy_steps=60,
    policy_batch_size=64,
    policy_learning_rate=3e-3,
    evaluate_every=20,
    checkpoint_every=20,
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
def data():
    episodes = toy_grasp.demonstrations(4)
    return EpisodeTensors(episodes[:3]), EpisodeTensors(episodes[3:])


def build():
    model = make_world_model("dreamer_v3", SPACE, ACTIONS, **TINY)
    model.reward = Pays(model.rssm.deter)
    model.requires_grad_(False)
    draw = torch.Generator().manual_seed(1)
    actor = Actor(ActorConfig(), model.feature_size, 7, units=16, discrete=False, generator=draw)
    return model.eval(), actor


def test_states_of_all_rows_are_those_of_filtering(data):
    train, _ = data
    model, _ = build()
    states = encode_states(model, train, chunk=2)
    found = filtered(model, train.whole(torch.arange(3)))
    for episode in range(3):
        rows = int(train.first[episode]) + torch.arange(int(train.length[episode]))
        features = model.features({key: value[rows] for key, value in states.items()})
        assert torch.allclose(features, found[episode, : len(rows)], atol=1e-5)
    # What an episode ended with has a state too.
    assert states["deter"][train.first + train.length].abs().sum() > 0


def test_it_learns_what_pays_and_guides_a_search(data):
    model, actor = build()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    result = fit_actor(actor, model, *data, CONFIG, behaviour=SHORT)
    returns = [row["held_out/imagined_reward"] for row in result.history]
    assert returns[-1] > returns[0] + 0.1
    assert result.metrics["train/gradient_norm"] > 0
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    planner = make_planner("policy-guided-cem", horizon=3, samples=8, elites=2, policy_samples=2)
    with torch.no_grad():
        plan = planner.plan(
            model, model.initial(2), objective=ReturnObjective(), prior=actor,
            generator=torch.Generator().manual_seed(0),
        )  # fmt: skip
    assert plan.actions.shape == (2, 3, 7)
    assert plan.actions.isfinite().all()


def test_labels_hold_it_where_demonstrations_are(data):
    errors = {}
    for weight in (0.0, 1.0):
        model, actor = build()
        fit_actor(actor, model, *data, CONFIG, behaviour=SHORT, imitation=weight)
        train = data[0]
        rows = train.steps
        states = encode_states(model, train)
        found = actor(model.features({key: value[rows] for key, value in states.items()}))
        errors[weight] = (found.mode - train.label[rows]).abs().mean().item()
    assert errors[1.0] < 0.85 * errors[0.0]


def test_an_interrupted_fit_resumes_exactly(data, tmp_path):
    def stop(phase, done, total, row):
        if done == 40:
            raise KeyboardInterrupt

    model, whole = build()
    fit_actor(whole, model, *data, CONFIG, behaviour=SHORT)
    model, killed = build()
    file = tmp_path / "policy.checkpoint.safetensors"
    with pytest.raises(KeyboardInterrupt):
        fit_actor(killed, model, *data, CONFIG, behaviour=SHORT, checkpoint=file, progress=stop)
    model, resumed = build()
    fit_actor(resumed, model, *data, CONFIG, behaviour=SHORT, checkpoint=file)
    left, right = whole.state_dict(), resumed.state_dict()
    assert all(torch.equal(left[key], right[key]) for key in left)


def test_a_prior_is_trained_with_its_critic_and_resumes_exactly(data, tmp_path):
    def stop(phase, done, total, row):
        if done == 40:
            raise KeyboardInterrupt

    def fit(**arguments):
        model, _ = build()
        prior = ActorPrior(ActorPriorConfig(units=16, imitation_weight=0.1), model.feature_size, 7)
        try:
            result = fit_prior(prior, model, *data, CONFIG, behaviour=SHORT, **arguments)
        except KeyboardInterrupt:
            result = None
        return prior, result

    whole, result = fit()
    assert result.metrics["held_out/label_error"] > 0
    assert any(parameter.abs().max() > 0 for parameter in whole.critic.network[-1].parameters())
    file = tmp_path / "policy.checkpoint.safetensors"
    assert fit(checkpoint=file, progress=stop)[1] is None
    resumed, again = fit(checkpoint=file)
    left, right = whole.state_dict(), resumed.state_dict()
    assert all(torch.equal(left[key], right[key]) for key in left)
    assert again.history == result.history


def test_what_it_cannot_learn_is_refused(data):
    model, _ = build()
    draw = torch.Generator()
    wrong = Actor(ActorConfig(), model.feature_size, 3, units=4, discrete=False, generator=draw)
    with pytest.raises(ValueError, match="3 actions"):
        fit_actor(wrong, model, *data, CONFIG)
    unlabelled = EpisodeTensors(toy_grasp.demonstrations(1))
    unlabelled.label.fill_(torch.nan)
    actor = Actor(ActorConfig(), model.feature_size, 7, units=4, discrete=False, generator=draw)
    with pytest.raises(ValueError, match="labels"):
        fit_actor(actor, model, unlabelled, None, CONFIG, imitation=1.0)
