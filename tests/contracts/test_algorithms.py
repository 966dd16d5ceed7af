"""Every algorithm behind an agent: it acts, stores, learns, and resumes exactly."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from small_methods import (
    ACTIONS,
    OBSERVATIONS,
    UNREAD,
    normalised,
    observed,
    random_episodes,
    random_observations,
    small_settings,
    world_model_of,
)
from torch import Tensor, nn

from mbrl_agents.agents.parts import build_search
from mbrl_agents.agents.policy import AgentPolicy
from mbrl_agents.config import resolve_config
from mbrl_agents.data.actions import ActionCodec
from mbrl_agents.data.buffer import SequenceBuffer
from mbrl_agents.data.env_workers import EnvWorkers
from mbrl_agents.names import resolve
from mbrl_agents.protocols import (
    ActingPhase,
    ActionPrior,
    Algorithm,
    Phase,
    Schedule,
    WorldModel,
    tree_map,
)
from mbrl_agents.registry import METHODS, AgentMethod
from mbrl_agents.training.trainer import LEARN, Trainer

B = 3
AGENTS = {name: entry for name, entry in METHODS.items() if isinstance(entry, AgentMethod)}
CASES = [
    (name, obs, actions)
    for name, entry in AGENTS.items()
    for obs, actions in (("vectors", "box"), ("vectors", "discrete"), ("images", "box"))
    if not {obs, actions} & set(UNREAD.get(world_model_of(entry), ()))
]


def _learning(name: str) -> tuple[str, tuple[str, ...]]:
    return AGENTS[name].algorithm, tuple(AGENTS[name].sections)


# Of methods that differ in how they search alone, one.
TRAINED = {_learning(name): name for name in reversed(AGENTS)}.values()
LEARNING = [case for case in CASES if case[0] in TRAINED]


class Noise(gymnasium.Env):
    """Episodes of a few steps of random observations."""

    def __init__(self, observations: spaces.Dict, actions: spaces.Space) -> None:
        self.observation_space, self.action_space = observations, actions

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = int(self.np_random.integers(4, 8))
        return self._seen(), {}

    def step(self, action):
        assert self.action_space.contains(action)
        self.left -= 1
        return self._seen(), float(np.sum(action)), self.left == 0, False, {}

    def _seen(self):
        shown = random_observations(self.observation_space, 1, int(self.np_random.integers(1000)))
        return {key: value[0] for key, value in shown.items()}


@dataclass(frozen=True)
class NoiseFactory:
    observations: spaces.Dict
    actions: spaces.Space

    def __call__(self) -> gymnasium.Env:
        return Noise(self.observations, self.actions)


class Made:
    """An algorithm at a small size, and data for it.

    Args:
        case: name of the method, kinds of observations and actions.
    """

    def __init__(self, case: tuple[str, str, str]) -> None:
        self.method, obs, actions = case
        self.observations, self.actions = OBSERVATIONS[obs], ACTIONS[actions]
        self.config = resolve_config(self.method, small_settings(self.method))
        self.settings = self.config.training
        self.size = ActionCodec(self.actions).size
        recipe = AGENTS[self.method]
        sections = {name: self.config.sections[name] for name in recipe.sections}
        self.algorithm: Algorithm = resolve(recipe.algorithm)(
            sections, self.observations, self.actions, seed=0
        )
        self.planner, self.objective = build_search(self.config)
        self.rollouts = EnvWorkers(NoiseFactory(self.observations, self.actions))
        for phase in self.algorithm.phases:
            if isinstance(phase, ActingPhase):
                phase.use(self.rollouts)

    def buffer(self) -> SequenceBuffer:
        """Recorded episodes, labelled, and own experience with the algorithm's extras."""
        buffer = SequenceBuffer(
            self.observations,
            self.actions,
            recorded=random_episodes(self.observations, self.actions),
            extras=self.algorithm.extras,
            capacity=100,
        )
        seen, done = observed(self.observations, 40), normalised(self.actions, 40)
        for step in range(40):
            extras = self.algorithm.extras_of(self.algorithm.initial(1))
            buffer.own.add(
                0,
                {key: value[step].numpy() for key, value in seen.items()},
                done[step].numpy(),
                float(step % 3),
                is_first=step % 8 == 0,
                is_last=step % 8 == 7,
                terminal=step % 16 == 7,
                extras={key: value[0] for key, value in extras.items()},
            )
        return buffer

    def weights(self) -> dict[str, Tensor]:
        return {
            f"{name}.{key}": value
            for name, module in self.algorithm.modules.items()
            for key, value in module.state_dict().items()
        }

    def policy(self, **arguments) -> AgentPolicy:
        return AgentPolicy(
            self.observations,
            self.actions,
            self.algorithm,
            self.planner,
            self.objective,
            **arguments,
        )


@pytest.fixture(params=CASES, ids="-".join)
def made(request) -> Made:
    return Made(request.param)


learning = pytest.mark.parametrize("made", LEARNING, ids="-".join, indirect=True)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def allowed(made: Made, action: Tensor) -> bool:
    """Whether these are normalised actions ``(B, A)``."""
    if action.shape != (B, made.size) or action.dtype != torch.float32:
        return False
    if isinstance(made.actions, spaces.Discrete):
        return bool(((action == 0) | (action == 1)).all() and (action.sum(-1) == 1).all())
    return bool((action.abs() <= 1).all())


def carried(made: Made, steps: int = 2) -> object:
    """What acting carries after some steps, whoever chose the actions."""
    state, policy = None, made.policy()
    for step in range(steps):
        starts = np.full(B, step == 0)
        state = policy.step(observed(made.observations, B, step), state, starts)
    return state.carry


def test_it_is_an_algorithm_of_phases(made):
    algorithm = made.algorithm
    assert isinstance(algorithm, Algorithm)
    assert isinstance(algorithm.world_model, WorldModel)
    assert algorithm.prior is None or isinstance(algorithm.prior, ActionPrior)
    assert algorithm.modules
    assert all(isinstance(module, nn.Module) for module in algorithm.modules.values())
    assert algorithm.world_model in algorithm.modules.values()
    names = [phase.name for phase in algorithm.phases]
    assert names
    assert len(set(names)) == len(names)
    for phase in algorithm.phases:
        assert isinstance(phase, Phase)
        assert isinstance(phase.schedule, Schedule)
        assert phase.schedule.updates >= 1
    # What a planner reads of it.
    features = algorithm.world_model.features(algorithm.world_model.initial(B))
    if algorithm.value is not None:
        assert algorithm.value(features).shape == (B,)
    if made.planner is None:
        assert not AGENTS[made.method].planner


@learning
def test_weights_depend_on_the_seed_alone(made):
    before = torch.random.get_rng_state()
    again = Made((made.method, *_kinds(made)))
    assert torch.equal(torch.random.get_rng_state(), before)
    for key, value in made.weights().items():
        assert torch.equal(value, again.weights()[key]), key


def _kinds(made: Made) -> tuple[str, str]:
    obs = next(key for key, value in OBSERVATIONS.items() if value is made.observations)
    return obs, next(key for key, value in ACTIONS.items() if value is made.actions)


def test_it_acts_by_itself_or_says_that_it_plans(made):
    algorithm, first = made.algorithm, torch.ones(B, dtype=torch.bool)
    nothing, seen = torch.zeros(B, made.size), observed(made.observations, B)
    carry = algorithm.initial(B)
    refusal = ""
    try:
        action, after = algorithm.act(carry, seen, nothing, first)
    except ValueError as error:
        refusal = str(error)
    if refusal:
        assert "through a planner only" in refusal
        assert made.planner is not None
        return
    again, _ = algorithm.act(carry, seen, nothing, first)
    assert allowed(made, action)
    assert torch.equal(action, again), "without a generator nothing is drawn"
    for explore in (False, True):
        draws = [
            algorithm.act(carry, seen, nothing, first, explore=explore, generator=seeded(seed))[0]
            for seed in (1, 1)
        ]
        assert allowed(made, draws[0])
        assert torch.equal(*draws), "the generator decides"
    # Where an episode begins, what came before counts for nothing.
    later, action = observed(made.observations, B, 1), normalised(made.actions, B, seed=4)
    begins = torch.tensor([True, False, True])
    one, left = algorithm.act(after, later, action, begins)
    other, right = algorithm.act(algorithm.initial(B), later, nothing, first)
    assert torch.allclose(one[begins], other[begins], atol=1e-5)
    same = [
        torch.allclose(x[begins].float(), y[begins].float(), atol=1e-5)
        for x, y in zip(leaves(left), leaves(right), strict=True)
    ]
    assert all(same)


def leaves(tree: object) -> list[Tensor]:
    found: list[Tensor] = []
    tree_map(lambda x: found.append(x) or x, tree)
    return found


@pytest.mark.parametrize("way", ["predict", "deterministic", "explore"])
def test_its_policy_acts_in_the_environments_range(made, way):
    policy = made.policy(explore_std=0.5)
    state = None
    for step in range(3):
        seen = observed(made.observations, B, step)
        starts = np.array([step == 0, step == 1, False])
        if way == "predict":
            arrays = {key: value.numpy() for key, value in seen.items()}
            chosen, state = policy.predict(arrays, state, starts)
            assert all(made.actions.contains(action) for action in chosen)
        else:
            state = policy.step(seen, state, starts, **{way: True})
        assert allowed(made, state.action)
        assert all(len(x) == B for x in leaves(state.carry))


@learning
def test_extras_are_what_it_says_they_are(made):
    algorithm = made.algorithm
    for carry in (algorithm.initial(B), carried(made)):
        found = algorithm.extras_of(carry)
        assert set(found) == set(algorithm.extras)
        for name, (shape, dtype) in algorithm.extras.items():
            assert found[name].shape == (B, *shape)
            # As they are stored: within half of a percent, and whole numbers exactly.
            value = found[name].detach().float().numpy()
            stored = value.astype(dtype).astype(np.float32)
            assert np.allclose(stored, value, rtol=5e-3, atol=5e-3)
    if algorithm.extras:
        assert any(value.any() for value in algorithm.extras_of(carried(made)).values())


@learning
def test_every_phase_learns_with_every_part_of_its_modules(made):
    buffer = made.buffer()
    empty = SequenceBuffer(made.observations, made.actions, extras=made.algorithm.extras)
    trained: dict[str, bool] = {}
    for phase in made.algorithm.phases:
        assert phase.ready(buffer)
        gathers = isinstance(phase, ActingPhase) and phase.gathers
        assert gathers or not phase.ready(empty)
        phase.begin(buffer, 3, seed=0, refit=False)
        for _ in range(3):  # behind a layer that begins at zero, gradients begin later
            before = {key: value.detach().clone() for key, value in _parameters(made).items()}
            metrics = phase.update(buffer)
            for name, value in metrics.items():
                assert value.ndim == 0, name
                assert not value.requires_grad, name
                assert value.isfinite(), name
            for key, parameter in _parameters(made).items():
                if parameter.requires_grad:
                    moved = parameter.grad is not None and bool(parameter.grad.any())
                    # What is searched for has no gradient.
                    moved = moved or not torch.equal(parameter, before[key])
                    trained[key] = trained.get(key, False) or moved
        looked = phase.evaluate(buffer)
        ended = phase.end(buffer)
        for found in (looked, ended):
            assert all(isinstance(value, float) for value in found.values())
    idle = [key for key, moved in trained.items() if not moved]
    assert not idle
    assert all(value.isfinite().all() for value in made.weights().values())


def _parameters(made: Made) -> dict[str, nn.Parameter]:
    return {
        f"{name}.{key}": value
        for name, module in made.algorithm.modules.items()
        for key, value in module.named_parameters()
    }


@learning
def test_from_a_checkpoint_the_next_updates_are_the_same(made, tmp_path):
    first = _trained(made, tmp_path / "checkpoint", tmp_path / "steps")
    again = Made((made.method, *_kinds(made)))
    with torch.no_grad():
        for value in again.weights().values():
            value.zero_()  # all of them have to come out of the file
    buffer = again.buffer()
    trainer = Trainer(again.algorithm, again.settings, seed=0)
    _, tensors, meta = trainer.restore(tmp_path / "checkpoint", "this training")
    buffer.restore(tmp_path / "steps", tensors, meta)
    # The last first: what one is trained on, another may have changed.
    for old, new in reversed(list(zip(made.algorithm.phases, again.algorithm.phases, strict=True))):
        for _ in range(2):
            expected, found = old.update(first), new.update(buffer)
            assert found.keys() == expected.keys()
            for name, value in expected.items():
                assert torch.equal(value, found[name]), name
        assert new.evaluate(buffer) == old.evaluate(first)
    restored = again.weights()
    for key, value in made.weights().items():
        assert torch.equal(value, restored[key]), key


def _trained(made: Made, file: Path, folder: Path) -> SequenceBuffer:
    """Begin every phase, and write a checkpoint in the middle of its turn."""
    buffer = made.buffer()
    trainer = Trainer(made.algorithm, made.settings, seed=0)
    trainer.stage = LEARN
    for phase in made.algorithm.phases:
        phase.begin(buffer, 6, seed=0, refit=False)
        for _ in range(2):
            phase.update(buffer)
    tensors, meta = buffer.save(folder)
    trainer.save(file, "this training", {}, copy.deepcopy(tensors), meta)
    return buffer
