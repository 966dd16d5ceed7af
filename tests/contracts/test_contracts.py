"""One contract per protocol, held against every registered implementation."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor

import toy_grasp
from mbrl_agents import make_planner, make_world_model, methods
from mbrl_agents.protocols import (
    ActionPrior,
    Objective,
    Planner,
    WorldModel,
    tree_map,
)
from mbrl_agents.registry import METHODS, OBJECTIVES, PLANNERS, POLICIES, WORLD_MODELS, resolve
from mbrl_agents.training.batches import EpisodeTensors
from mbrl_agents.training.checkpoints import load_tensors, save_tensors

ACTIONS = spaces.Box(-1.0, 1.0, (7,), np.float32)
POSES = spaces.Dict({"pose": spaces.Box(-np.inf, np.inf, (21,), np.float32)})
B, K, H = 3, 2, 4
# Settings a model needs to serve every objective.
SETTINGS = {"dreamer_v3": {"progress": True}}


@pytest.fixture(scope="module")
def data() -> EpisodeTensors:
    return EpisodeTensors(toy_grasp.demonstrations(3))


@pytest.fixture(scope="module", params=WORLD_MODELS)
def model(request, data):
    model = make_world_model(request.param, POSES, ACTIONS, **SETTINGS.get(request.param, {}))
    if hasattr(model, "fit_statistics"):
        model.fit_statistics(data.sequences(data.steps, 2, 1))
    return model.eval()


@pytest.fixture(scope="module")
def state(model, data):
    batch = data.sequences(data.first[:B], 2, 0)
    state = model.initial(B)
    for t in range(2):
        obs = {key: value[:, t] for key, value in batch.obs.items()}
        state = model.observe(state, obs, batch.prev_action[:, t], batch.is_first[:, t])
    return tree_map(Tensor.detach, state)


def leaves(tree) -> list[Tensor]:
    found: list[Tensor] = []
    tree_map(lambda x: found.append(x) or x, tree)
    return found


def policies(model):
    for component in POLICIES.values():
        cls, config = component.load()
        yield cls(config(), model.feature_size, model.action_size)


class TestWorldModel:
    def test_it_is_one(self, model):
        assert isinstance(model, WorldModel)
        assert isinstance(model, torch.nn.Module)
        assert model.action_size == 7
        assert sum(p.numel() for p in model.parameters()) > 0

    def test_states_are_batch_first_and_never_changed_in_place(self, model, state):
        before = [x.clone() for x in leaves(state)]
        action = torch.zeros(B, 7)
        after = model.imagine_step(state, action)
        model.imagine(state, torch.zeros(B, H, 7))
        model.observe(state, {"pose": torch.zeros(B, 21)}, action, torch.ones(B, dtype=torch.bool))
        assert all(torch.equal(a, b) for a, b in zip(before, leaves(state), strict=True))
        assert all(len(x) == B for x in [*leaves(model.initial(B)), *leaves(after)])

    def test_an_episodes_beginning_forgets_the_state(self, model, state):
        obs, action = {"pose": torch.randn(B, 21)}, torch.randn(B, 7)
        first = torch.ones(B, dtype=torch.bool)
        torch.manual_seed(0)
        a = model.observe(state, obs, action, first)
        torch.manual_seed(0)
        b = model.observe(model.initial(B), obs, torch.zeros(B, 7), first)
        for x, y in zip(leaves(a), leaves(b), strict=True):
            assert torch.allclose(x, y)

    def test_rollouts_have_their_shapes_and_ranges(self, model, state):
        rollout = model.imagine(state, torch.rand(B, H, 7) * 2 - 1)
        assert rollout.features.shape == (B, H, model.feature_size)
        assert model.features(state).shape == (B, model.feature_size)
        assert rollout.reward.shape == rollout.continues.shape == (B, H)
        assert ((rollout.continues >= 0) & (rollout.continues <= 1)).all()
        for name in ("value", "disagreement", "steps_to_go"):
            entry = getattr(rollout, name)
            assert entry is None or entry.shape == (B, H)
        for name in ("disagreement", "steps_to_go"):
            entry = getattr(rollout, name)
            assert entry is None or (entry >= 0).all()

    def test_imagining_is_stepping(self, model, state):
        actions = torch.rand(B, H, 7) * 2 - 1
        rollout = model.imagine(state, actions)
        for t in range(H):
            state = model.imagine_step(state, actions[:, t])
            assert torch.allclose(rollout.features[:, t], model.features(state), atol=1e-4)

    def test_rows_of_a_batch_are_independent(self, model, state):
        actions = torch.rand(B, H, 7)
        whole = model.imagine(state, actions)
        one = model.imagine(tree_map(lambda x: x[1:2], state), actions[1:2])
        assert torch.allclose(whole.reward[1:2], one.reward, atol=1e-4)
        assert torch.allclose(whole.features[1:2], one.features, atol=1e-4)

    def test_the_loss_trains_everything_and_masked_steps_nothing(self, model, data):
        batch = data.sequences(data.steps[:16], 4, getattr(model, "context", 1))
        model = copy.deepcopy(model)
        # Behind a layer that starts at zero everything gets its gradient from the second step on.
        first = torch.optim.SGD(model.parameters(), 1e-3)
        model.loss(batch)[0].backward()
        first.step()
        model.zero_grad()
        loss, parts = model.loss(batch)
        loss.backward()
        assert all(not value.requires_grad for value in parts.values())
        idle = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
        assert not idle
        spoilt = batch.reward.masked_fill(~batch.mask, 1e6)
        again, _ = model.loss(type(batch)(**{**vars(batch), "reward": spoilt}))
        assert torch.allclose(loss, again)

    def test_weights_survive_a_file(self, model, tmp_path):
        save_tensors(tmp_path / "m.safetensors", model.state_dict())
        name = next(n for n, c in WORLD_MODELS.items() if isinstance(model, c.load()[0]))
        other = make_world_model(name, POSES, ACTIONS, seed=8, **SETTINGS.get(name, {}))
        other.load_state_dict(load_tensors(tmp_path / "m.safetensors")[0])
        for key, value in model.state_dict().items():
            assert torch.equal(value, other.state_dict()[key]), key


class TestActionPrior:
    def test_every_policy_proposes_bounded_plans(self, model, state):
        for policy in policies(model):
            assert isinstance(policy, ActionPrior)
            plan = policy.propose(model, state, H)
            assert plan.mean.shape == plan.stddev.shape == (B, H, 7)
            assert plan.mean.abs().max() <= 1
            assert plan.stddev.min() > 0


class TestObjective:
    @pytest.mark.parametrize("name", OBJECTIVES)
    def test_every_objective_scores_every_rollout(self, model, state, name):
        objective = OBJECTIVES[name].load()[0]()
        assert isinstance(objective, Objective)
        score = objective.score(model.imagine(state, torch.zeros(B, H, 7)))
        assert score.shape == (B,)
        assert score.isfinite().all()


class TestPlanner:
    @pytest.mark.parametrize("objective", OBJECTIVES)
    @pytest.mark.parametrize("name", PLANNERS)
    def test_every_planner_plans_for_every_environment(self, model, state, name, objective):
        planner = make_planner(name, horizon=H)
        assert isinstance(planner, Planner)
        score, prior = OBJECTIVES[objective].load()[0](), next(policies(model))
        plan = None
        for step in range(2):
            plan = planner.plan(
                model,
                state,
                objective=score,
                prior=prior,
                warm_start=plan,
                is_first=torch.tensor([step == 0, True, False]),
                generator=torch.Generator().manual_seed(step),
            )
            assert plan.actions.shape == plan.mean.shape == plan.std.shape == (B, H, 7)
            assert plan.score.shape == (B,)
            assert plan.actions.abs().max() <= 1
            assert all(x.isfinite().all() for x in (plan.actions, plan.mean, plan.std))
            assert (plan.std >= 0).all()


def test_every_registered_name_resolves():
    for table in (WORLD_MODELS, POLICIES, PLANNERS, OBJECTIVES):
        for component in table.values():
            cls, config = component.load()
            assert isinstance(cls, type)
            assert config()
    for method in METHODS.values():
        assert callable(resolve(method.target))
        assert method.summary
        for name, table in (
            (method.world_model, WORLD_MODELS),
            (method.policy, POLICIES),
            (method.planner, PLANNERS),
            (method.objective, OBJECTIVES),
        ):
            assert not name or name in table
    assert methods()[:3] == ["simple-cem", "simple-policy", "simple-policy-cem"]
