"""Every registered world model: what the protocol says, and that nothing else is asked of it."""

from __future__ import annotations

import inspect
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from small_methods import (
    ACTIONS,
    MARKOV,
    OBSERVATIONS,
    SETTINGS,
    UNREAD,
    combinations,
    normalised,
    observed,
    random_episodes,
    random_observations,
    shrunk,
)
from torch import Tensor

from mbrl_agents import make_planner, make_world_model
from mbrl_agents.agents.policy import AgentPolicy, ValuedModel
from mbrl_agents.data.actions import ActionCodec
from mbrl_agents.data.recorded import RecordedEpisodes
from mbrl_agents.evaluation.imagined import imagine_windows, summarise_windows
from mbrl_agents.policies.cloned import ClonedPolicy, ClonedPolicyConfig
from mbrl_agents.protocols import ActionPrior, Objective, Planner, WorldModel, tree_map
from mbrl_agents.registry import OBJECTIVES, PLANNERS, WORLD_MODELS
from mbrl_agents.training.checkpoints import load_tensors, save_tensors
from mbrl_agents.training.cloning import encode

B, H = 3, 4
DECLARED = {
    name for name in (*WorldModel.__annotations__, *vars(WorldModel)) if not name.startswith("_")
}


class OnlyDeclared:
    """A world model that gives what the protocol `WorldModel` declares, and nothing else.

    It raises no AttributeError: whoever asks by ``hasattr`` is found out as well.
    """

    def __init__(self, model: Any) -> None:
        self.__model = model

    def __getattr__(self, name: str) -> Any:
        assert name in DECLARED, f"WorldModel does not declare {name!r}"
        value = getattr(self.__model, name)
        if not inspect.isfunction(getattr(WorldModel, name, None)):
            return value
        declared = inspect.signature(getattr(WorldModel, name))

        def called(*arguments: Any, **named: Any) -> Any:
            declared.bind(self, *arguments, **named)
            return value(*arguments, **named)

        return called

    def __setattr__(self, name: str, value: Any) -> None:
        assert name.startswith("_OnlyDeclared"), f"somebody sets {name!r} on a world model"
        super().__setattr__(name, value)


def small_model(name: str, obs: str, actions: str, seed: int = 0) -> Any:
    settings = shrunk(WORLD_MODELS[name].load()[1], "world_model")
    return make_world_model(name, OBSERVATIONS[obs], ACTIONS[actions], seed=seed, **settings)


@pytest.fixture(scope="module", params=combinations(), ids="-".join)
def made(request) -> SimpleNamespace:
    """A model that was fitted a little, its spaces, and states that it came to."""
    name, obs, actions = request.param
    model = small_model(name, obs, actions)
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():  # fresh heads often give zeros
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=draw))
    model.eval()
    states = model.initial(B)
    with torch.no_grad():
        for step in range(2):
            states = model.observe(
                states,
                observed(OBSERVATIONS[obs], B, step),
                normalised(ACTIONS[actions], B, seed=step),
                torch.full((B,), step == 0),
            )
    return SimpleNamespace(
        name=name,
        kinds=request.param,
        model=model,
        only=OnlyDeclared(model),
        observations=OBSERVATIONS[obs],
        actions=ACTIONS[actions],
        state=tree_map(Tensor.detach, states),
        size=ActionCodec(ACTIONS[actions]).size,
    )


def leaves(tree: Any) -> list[Tensor]:
    found: list[Tensor] = []
    tree_map(lambda x: found.append(x) or x, tree)
    return found


def valued(made: SimpleNamespace, objective: Objective) -> ValuedModel:
    return ValuedModel(made.only, lambda features: torch.sigmoid(features.sum(-1)), objective)


def cloned(made: SimpleNamespace) -> ClonedPolicy:
    """A policy for the model, built of what the protocol says of it."""
    model = made.only
    return ClonedPolicy(
        ClonedPolicyConfig(hidden=(8,)),
        model.feature_size,
        model.action_size,
        discrete=model.actions.discrete,
    )


class TestProtocol:
    def test_it_is_a_world_model(self, made):
        assert isinstance(made.model, WorldModel)
        assert isinstance(made.model, torch.nn.Module)
        assert made.model.action_size == made.size
        assert made.model.actions.discrete == (made.kinds[2] == "discrete")
        assert sum(p.numel() for p in made.model.parameters()) > 0

    def test_states_are_batch_first_and_never_changed_in_place(self, made):
        model, state = made.model, made.state
        before = [x.clone() for x in leaves(state)]
        action = normalised(made.actions, B)
        after = model.imagine_step(state, action)
        model.imagine(state, normalised(made.actions, B, H))
        seen = observed(made.observations, B, 5)
        model.observe(state, seen, action, torch.ones(B, dtype=torch.bool))
        model.decode(state)
        assert all(torch.equal(a, b) for a, b in zip(before, leaves(state), strict=True))
        assert all(len(x) == B for x in [*leaves(model.initial(B)), *leaves(after)])
        shapes = [x.shape for x in leaves(state)]
        assert [x.shape for x in leaves(after)] == shapes
        assert [x.shape for x in leaves(model.initial(B))] == shapes

    def test_an_episodes_beginning_forgets_the_state_and_the_action(self, made):
        seen = observed(made.observations, B, 5)
        action, other = (normalised(made.actions, B, seed=seed) for seed in (1, 2))
        first = torch.tensor([True, False, True])
        a = made.model.observe(made.state, seen, action, first)
        b = made.model.observe(made.model.initial(B), seen, other, torch.ones(B) > 0)
        for x, y in zip(leaves(a), leaves(b), strict=True):
            assert torch.allclose(x[first], y[first], atol=1e-6)
        features = made.model.features
        remembers = not torch.allclose(features(a)[1], features(b)[1], atol=1e-4)
        assert remembers == (made.name not in MARKOV)

    def test_without_a_generator_nothing_is_drawn(self, made):
        before = torch.random.get_rng_state()
        actions = normalised(made.actions, B, H)
        seen, first = observed(made.observations, B, 5), torch.zeros(B) > 0
        for _ in range(2):
            state = made.model.observe(made.state, seen, actions[:, 0], first)
            rewards = made.model.imagine(state, actions).reward
            again = made.model.imagine(state, actions).reward
            assert torch.equal(rewards, again)
        assert torch.equal(torch.random.get_rng_state(), before)

    def test_with_a_generator_the_generator_decides(self, made):
        before = torch.random.get_rng_state()
        actions = normalised(made.actions, B, H)

        def imagined(seed: int) -> Tensor:
            draw = torch.Generator().manual_seed(seed)
            state = made.model.observe(
                made.state,
                observed(made.observations, B, 5),
                actions[:, 0],
                torch.zeros(B) > 0,
                generator=draw,
            )
            state = made.model.imagine_step(state, actions[:, 1], generator=draw)
            return made.model.imagine(state, actions, generator=draw).reward

        assert torch.equal(imagined(1), imagined(1))
        assert torch.equal(torch.random.get_rng_state(), before)

    def test_rollouts_have_their_shapes_and_ranges(self, made):
        with torch.no_grad():
            rollout = made.model.imagine(made.state, normalised(made.actions, B, H))
        assert made.model.features(made.state).shape == (B, made.model.feature_size)
        assert rollout.reward.shape == (B, H)
        for name in ("continues", "value", "disagreement", "steps_to_go"):
            entry = getattr(rollout, name)
            assert entry is None or (entry.shape == (B, H) and (entry >= 0).all())
        assert rollout.continues is None or (rollout.continues <= 1).all()

    @pytest.mark.parametrize("gradient", [False, True])
    def test_imagining_is_stepping(self, made, gradient):
        actions, state = normalised(made.actions, B, H), made.state
        with torch.set_grad_enabled(gradient):
            rollout = made.model.imagine(state, actions, keep_features=True)
            assert rollout.features.shape == (B, H, made.model.feature_size)
            for t in range(H):
                state = made.model.imagine_step(state, actions[:, t])
                features = made.model.features(state)
                assert torch.allclose(rollout.features[:, t], features, atol=1e-4)

    def test_rows_of_a_batch_are_independent(self, made):
        actions = normalised(made.actions, B, H)
        with torch.no_grad():
            whole = made.model.imagine(made.state, actions, keep_features=True)
            row = tree_map(lambda x: x[1:2], made.state)
            one = made.model.imagine(row, actions[1:2], keep_features=True)
        assert torch.allclose(whole.reward[1:2], one.reward, atol=1e-4)
        assert torch.allclose(whole.features[1:2], one.features, atol=1e-4)

    def test_states_are_decoded_to_observations(self, made):
        decoded = made.model.decode(made.state)
        assert set(decoded) <= set(made.observations.spaces)
        for key, value in decoded.items():
            assert value.shape == (B, *made.observations[key].shape)
            assert value.dtype == torch.float32
            if made.observations[key].dtype == np.uint8:
                assert value.min() >= 0
                assert value.max() <= 1

    def test_weights_survive_a_file(self, made, tmp_path):
        save_tensors(tmp_path / "m.safetensors", made.model.state_dict())
        other = small_model(*made.kinds, seed=8)
        other.load_state_dict(load_tensors(tmp_path / "m.safetensors")[0])
        for key, value in made.model.state_dict().items():
            assert torch.equal(value, other.state_dict()[key]), key

    def test_weights_depend_on_the_seed_alone(self, made):
        before = torch.random.get_rng_state()
        same, other = (small_model(*made.kinds, seed=seed).state_dict() for seed in (5, 6))
        again = small_model(*made.kinds, seed=5).state_dict()
        assert torch.equal(torch.random.get_rng_state(), before)
        assert all(torch.equal(value, again[key]) for key, value in same.items())
        assert any(not torch.equal(value, other[key]) for key, value in same.items())


class TestNothingElseIsAsked:
    """All that the rest of the library does with a model, through what the protocol declares."""

    def test_the_proxy_finds_out_who_asks_for_more(self, made):
        for name in ("config", "layout", "compute_loss", "parameters", "rssm"):
            with pytest.raises(AssertionError, match="does not declare"):
                hasattr(made.only, name)
        with pytest.raises(AssertionError, match="sets"):
            made.only.action_size = 3
        with pytest.raises(TypeError):
            made.only.imagine(made.state, normalised(made.actions, B, H), attach=True)
        assert {"action_size", "actions", "observe", "imagine", "decode"} <= DECLARED

    @pytest.mark.parametrize("value", [False, True], ids=["own", "valued"])
    @pytest.mark.parametrize("objective", OBJECTIVES)
    @pytest.mark.parametrize("name", PLANNERS)
    def test_planning(self, made, name, objective, value):
        planner = make_planner(name, **shrunk(PLANNERS[name].load()[1], "planner"))
        score = OBJECTIVES[objective].load()[0]()
        assert isinstance(planner, Planner)
        assert isinstance(score, Objective)
        model = valued(made, score) if value else made.only
        prior, plan, horizon = cloned(made), None, SETTINGS["planner"]["horizon"]
        rollout = made.model.imagine(made.state, normalised(made.actions, B, H))
        blind = rollout.steps_to_go is None and rollout.value is None
        if name != "policy" and objective == "progress" and blind and not value:
            with pytest.raises(ValueError, match="needs a model with steps to go or a value"):
                planner.plan(model, made.state, objective=score, prior=prior)
            return
        for step in range(2):
            plan = planner.plan(
                model,
                made.state,
                objective=score,
                prior=prior,
                warm_start=plan,
                is_first=torch.tensor([step == 0, True, False]),
                generator=torch.Generator().manual_seed(step),
            )
            assert plan.actions.shape == plan.mean.shape == plan.std.shape
            assert plan.actions.shape == (B, horizon, made.size)
            assert plan.score.shape == (B,)
            assert plan.actions.abs().max() <= 1
            assert all(x.isfinite().all() for x in (plan.actions, plan.mean, plan.std))
            assert (plan.std >= 0).all()
            if made.only.actions.discrete:
                assert torch.equal(plan.actions.amax(-1), torch.ones(B, horizon))
                assert torch.equal(plan.actions.sum(-1), torch.ones(B, horizon))

    @pytest.mark.parametrize("name", OBJECTIVES)
    def test_scoring_a_valued_rollout(self, made, name):
        objective = OBJECTIVES[name].load()[0]()
        rollout = valued(made, objective).imagine(made.state, normalised(made.actions, B, H))
        known = rollout.steps_to_go is not None
        assert (rollout.value is not None) >= objective.reads_value(steps_to_go=known)
        score = objective.score(rollout)
        assert score.shape == (B,)
        assert score.isfinite().all()

    def test_proposing_with_a_cloned_policy(self, made):
        policy = cloned(made)
        assert isinstance(policy, ActionPrior)
        proposal = policy.propose(made.only, made.state, H)
        assert proposal.mean.shape == proposal.std.shape == (B, H, made.size)
        assert proposal.mean.abs().max() <= 1
        if made.only.actions.discrete:
            assert torch.allclose(proposal.mean.sum(-1), torch.ones(B, H), atol=1e-5)
        else:
            assert proposal.std.min() > 0

    def test_encoding_demonstrations(self, made):
        episodes = random_episodes(made.observations, made.actions)
        data = RecordedEpisodes(episodes, ActionCodec(made.actions))
        features, labels = encode(made.only, data)
        assert features.shape == (sum(map(len, episodes)), made.only.feature_size)
        assert torch.equal(labels, data.labels)
        # The model has seen all that came before: the last row is that of one long filtering.
        state = made.model.initial(1)
        whole = data.whole(torch.tensor([2]))
        for t in range(len(episodes[2])):
            now = whole[:, t]
            state = made.model.observe(state, now.obs, now.prev_action, now.is_first)
        assert torch.allclose(features[-1], made.model.features(state)[0], atol=1e-5)

    def test_imagining_recorded_episodes(self, made):
        codec = ActionCodec(made.actions)
        data = RecordedEpisodes(random_episodes(made.observations, made.actions), codec)
        episodes = [data.whole(torch.tensor([number]))[0] for number in range(3)]
        windows = imagine_windows(made.only, episodes, context=2, horizon=5)
        summary = summarise_windows(windows)
        assert summary["windows"] == len(windows.start) > 0
        for key, box in made.observations.spaces.items():
            if key in windows.imagined:
                assert windows.imagined[key].shape == (len(windows.start), 7, *box.shape)

    @pytest.mark.parametrize("name", PLANNERS)
    def test_acting_through_a_planner(self, made, name):
        planner = make_planner(name, **shrunk(PLANNERS[name].load()[1], "planner"))
        prior = cloned(made)
        algorithm = SimpleNamespace(
            modules={"world_model": made.model, "policy": prior},
            world_model=made.only,
            prior=prior,
            value=lambda features: torch.sigmoid(features.sum(-1)),
            extras={},
            initial=made.only.initial,
        )
        objective = OBJECTIVES["return"].load()[0]()
        policy = AgentPolicy(
            made.observations, made.actions, algorithm, planner, objective, explore_std=0.3
        )
        state = None
        for step, ways in enumerate(({}, {"deterministic": True}, {"explore": True})):
            seen = observed(made.observations, B, step)
            starts = np.array([step == 0, step == 1, False])
            state = policy.step(seen, state, starts, **ways)
            assert state.action.shape == (B, made.size)
            assert state.action.abs().max() <= 1
        arrays = random_observations(made.observations, B, 9)
        chosen, _ = policy.predict(arrays, state, np.zeros(B, bool))
        assert all(made.actions.contains(action) for action in chosen)


@pytest.mark.parametrize("name", WORLD_MODELS)
def test_what_a_model_cannot_read_it_refuses_with_a_reason(name):
    assert set(UNREAD) <= set(WORLD_MODELS)
    for kind in UNREAD.get(name, ()):
        obs, actions = OBSERVATIONS.get(kind, OBSERVATIONS["vectors"]), ACTIONS.get(kind)
        with pytest.raises(ValueError, match=r"\w+ \w+"):
            make_world_model(name, obs, actions or ACTIONS["box"])
