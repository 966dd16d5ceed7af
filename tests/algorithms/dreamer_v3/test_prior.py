"""ImaginedPrior: what it proposes, its critic in rollouts and searches, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces

from mbrl_agents import make_planner, make_world_model
from mbrl_agents.agents.policy import AgentPolicy, ValuedModel
from mbrl_agents.algorithms.dreamer_v3 import FittedDreamerV3
from mbrl_agents.algorithms.dreamer_v3.prior import ImaginedPrior, ImaginedPriorConfig
from mbrl_agents.config import resolve_config
from mbrl_agents.planners.objectives import ProgressObjective, ReturnObjective

SPACE = spaces.Dict({"pose": spaces.Box(-np.inf, np.inf, (21,), np.float32)})
ACTIONS = spaces.Box(-1.0, 1.0, (7,), np.float32)
TINY = {"deter": 32, "hidden": 16, "units": 16, "stoch": 4, "classes": 4}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_it_proposes_what_the_actor_would_do():
    model = make_world_model("dreamer_v3", SPACE, ACTIONS, **TINY).eval()
    prior = ImaginedPrior(ImaginedPriorConfig(units=16), model.feature_size, 7)
    state = {key: torch.rand(x.shape, generator=seeded()) for key, x in model.initial(3).items()}
    with torch.no_grad():
        plan = prior.propose(model, state, 4)
        after = model.imagine_step(state, plan.mean[:, 0])
        chosen = prior.actor(model.features(after))
    assert torch.allclose(plan.mean[:, 1], chosen.mode, atol=1e-6)
    assert plan.std.min() >= prior.config.min_std
    assert plan.std.max() <= prior.config.max_std
    # The same seed, the same weights.
    again = ImaginedPrior(ImaginedPriorConfig(units=16), model.feature_size, 7)
    assert all(
        torch.equal(a, b) for a, b in zip(prior.parameters(), again.parameters(), strict=True)
    )


def build(progress: bool = False, actions: spaces.Space = ACTIONS) -> FittedDreamerV3:
    settings = {"world_model": {**TINY, "progress": progress}, "actor": {"units": 16}}
    sections = resolve_config("dreamer-actor-cem", settings).sections
    algorithm = FittedDreamerV3(sections, SPACE, actions, seed=0)
    draw = seeded(1)
    with torch.no_grad():  # a fresh critic gives zeros
        for parameter in algorithm.prior.critic.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=draw))
    return algorithm


def test_the_prior_of_discrete_actions_proposes_probabilities():
    algorithm = build(actions=spaces.Discrete(5))
    plan = algorithm.prior.propose(algorithm.world_model, algorithm.world_model.initial(2), 3)
    assert torch.allclose(plan.mean.sum(-1), torch.ones(2, 3), atol=1e-5)
    assert not plan.std.any()


def test_rollouts_carry_the_critics_estimate_where_it_is_read():
    algorithm = build()
    model, actions = algorithm.world_model, torch.rand(2, 3, 7, generator=seeded())
    with torch.no_grad():
        valued = ValuedModel(model, algorithm.value, ReturnObjective())
        rollout = valued.imagine(model.initial(2), actions)
        assert torch.allclose(rollout.value, algorithm.prior.value(rollout.features))
        assert rollout.value.abs().sum() > 0
        assert model.imagine(model.initial(2), actions).value is None
        # An objective that reads steps to go has no use for it, nor for the features behind it.
        model = build(progress=True).world_model
        valued = ValuedModel(model, algorithm.value, ProgressObjective())
        for number in range(2):
            rollout = valued.imagine(model.initial(2), actions)
            assert rollout.value is None
            assert (rollout.features is None) == (number > 0), "asked for to find out, once"
    # The critic belongs to the prior: it is no part of the world model's file.
    assert not [name for name in algorithm.world_model.state_dict() if "critic" in name]
    assert [name for name in algorithm.modules["policy"].state_dict() if name.startswith("critic.")]


def test_a_policy_searches_by_the_critics_estimate():
    algorithm = build()
    planner = make_planner("policy-guided-cem", horizon=2, samples=8, policy_samples=2)
    policy = AgentPolicy(SPACE, ACTIONS, algorithm, planner, ReturnObjective())
    asked = []

    def value(features: torch.Tensor) -> torch.Tensor:
        asked.append(features.shape)
        return algorithm.prior.value(features)

    assert policy.searched_model is not algorithm.world_model
    algorithm.value = value
    policy.use(planner, ReturnObjective())
    policy.predict({"pose": np.zeros((3, 21), np.float32)})
    assert asked
    algorithm.value = None
    policy.use(planner, ReturnObjective())
    assert policy.searched_model is algorithm.world_model


def test_a_search_by_return_sees_beyond_its_horizon():
    """An untrained model promises no reward; what the critic promises decides."""
    algorithm = build()
    model = algorithm.world_model

    def beyond(features: torch.Tensor) -> torch.Tensor:
        return 100.0 * features[..., : model.rssm.deter].sum(-1)

    planner = make_planner("policy-guided-cem", horizon=2, samples=32, pull=0.0)
    objective, scores = ReturnObjective(), []
    for searched in (model, ValuedModel(model, beyond, objective)):
        plan = planner.plan(
            searched, model.initial(1), objective=objective, prior=algorithm.prior,
            generator=seeded(),
        )  # fmt: skip
        with torch.no_grad():
            rollout = model.imagine(model.initial(1), plan.actions, keep_features=True)
        scores.append(beyond(rollout.features[:, -1]))
    assert scores[1] > scores[0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bins": 10}, "odd"),
        ({"imitation_weight": -1.0}, "negative"),
        ({"min_std": 2.0}, "min_std < max_std"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        ImaginedPriorConfig(**settings)
