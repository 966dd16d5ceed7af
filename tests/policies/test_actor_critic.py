"""ActorPrior: what it proposes, its critic in rollouts and searches, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces

from mbrl_agents import make_planner, make_world_model
from mbrl_agents.agents.planning_policy import PlanningPolicy
from mbrl_agents.config import resolve_config
from mbrl_agents.planners.objectives import ReturnObjective
from mbrl_agents.policies.actor_critic import ActorPrior, ActorPriorConfig

SPACE = spaces.Dict({"pose": spaces.Box(-np.inf, np.inf, (21,), np.float32)})
ACTIONS = spaces.Box(-1.0, 1.0, (7,), np.float32)
TINY = {"deter": 32, "hidden": 16, "units": 16, "stoch": 4, "classes": 4}


def test_it_proposes_what_the_actor_would_do():
    model = make_world_model("dreamer_v3", SPACE, ACTIONS, **TINY).eval()
    prior = ActorPrior(ActorPriorConfig(units=16), model.feature_size, 7)
    state = {key: torch.rand_like(value) for key, value in model.initial(3).items()}
    with torch.no_grad():
        plan = prior.propose(model, state, 4)
        after = model.imagine_step(state, plan.mean[:, 0])
        chosen = prior.actor(model.features(after))
    assert torch.allclose(plan.mean[:, 1], chosen.mode, atol=1e-6)
    assert plan.stddev.min() >= prior.config.min_std
    assert plan.stddev.max() <= prior.config.max_std
    # The same seed, the same weights.
    again = ActorPrior(ActorPriorConfig(units=16), model.feature_size, 7)
    assert all(
        torch.equal(a, b) for a, b in zip(prior.parameters(), again.parameters(), strict=True)
    )


def build(progress: bool = False) -> PlanningPolicy:
    settings = {"world_model": {**TINY, "progress": progress}, "policy": {"units": 16}}
    return PlanningPolicy(SPACE, ACTIONS, resolve_config("dreamer-actor-cem", settings))


def test_rollouts_carry_the_critics_estimate():
    policy = build()
    with torch.no_grad():
        for parameter in policy.prior.critic.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
        state = policy.world_model.initial(2)
        rollout = policy.world_model.imagine(state, torch.rand(2, 3, 7))
        assert torch.allclose(rollout.value, policy.prior.value(rollout.features))
    assert rollout.value.abs().sum() > 0
    # With steps to go the method's objective has no use for it.
    assert build(progress=True).world_model.imagine(state, torch.rand(2, 3, 7)).value is None
    # The critic belongs to the prior: it is no part of the world model's file.
    assert not [name for name in policy.world_model.state_dict() if "critic" in name]
    assert [name for name in policy.prior.state_dict() if name.startswith("critic.")]


def test_a_search_by_return_sees_beyond_its_horizon():
    """An untrained model promises no reward; what the critic promises decides."""
    policy = build()
    model = policy.world_model

    def beyond(features: torch.Tensor) -> torch.Tensor:
        return 100.0 * features[..., : model.rssm.deter].sum(-1)

    planner = make_planner("policy-guided-cem", horizon=2, samples=32, pull=0.0)
    scores = []
    for value in (None, beyond):
        model.attach_value(value)
        plan = planner.plan(
            model, model.initial(1), objective=ReturnObjective(), prior=policy.prior,
            generator=torch.Generator().manual_seed(0),
        )  # fmt: skip
        with torch.no_grad():
            scores.append(
                beyond(
                    model.imagine(model.initial(1), plan.actions, keep_features=True).features[
                        :, -1
                    ]
                )
            )
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
        ActorPriorConfig(**settings)


def test_labels_are_needed_for_imitation_only():
    assert ActorPrior(ActorPriorConfig(imitation_weight=0.5), 4, 2).needs_labels
    assert not ActorPrior(ActorPriorConfig(), 4, 2).needs_labels
