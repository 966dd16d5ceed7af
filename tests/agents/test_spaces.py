"""Which spaces a method takes, and numbers that are observed as one-hot vectors."""

from __future__ import annotations

import types

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

import mbrl_agents
from mbrl_agents.agents.suitability import check_suits
from mbrl_agents.data.collect import Collection, collect
from mbrl_agents.data.episode import same_observations
from mbrl_agents.data.observations import ObservationCodec
from mbrl_agents.errors import UsageError
from mbrl_agents.export.recipe import package_of, targets
from mbrl_agents.export.sources import standalone
from mbrl_agents.registry import METHODS

VECTOR = spaces.Box(-1, 1, (3,), np.float32)
IMAGE = spaces.Box(0, 255, (64, 64, 3), np.uint8)
PUSH, CHOOSE = spaces.Box(-1, 1, (2,), np.float32), spaces.Discrete(2)
LAKE = "FrozenLake-v1"
DREAMER = {
    "world_model": {"deter": 16, "hidden": 8, "units": 8, "stoch": 2},
    "actor_critic": {"imagination": 3},
    "training": {
        "batch_size": 2, "sequence_length": 6, "learning_starts": 20, "train_ratio": 1,
    },
}  # fmt: skip
SIMPLE = {
    "world_model": {"hidden": [8], "head_hidden": [8], "outcome_hidden": [8], "ensemble": 2},
    "planner": {"horizon": 3, "samples": 8, "elites": 2, "iterations": 1, "hold": 1, "replan": 1},
    "training": {"model_steps": 4},
}


@pytest.mark.parametrize(
    ("method", "seen", "acted", "words"),
    [
        ("sb3-sac", VECTOR, CHOOSE, r"sac needs a Box of actions, not Discrete\(2\); .*sb3-dqn"),
        ("sb3-dqn", VECTOR, PUSH, r"needs a Discrete of actions, not Box.*sb3-sac"),
        ("simple-cem", IMAGE, PUSH, "reads vectors, and .* 'obs' is not one; .*dreamer-cem"),
        ("iris", VECTOR, CHOOSE, "learns from images, .* none .*; for these spaces take dreamer"),
        ("dreamer", VECTOR, spaces.MultiDiscrete([2, 2]), "or a Discrete of actions, not Multi"),
        ("dreamer", VECTOR, spaces.Box(-np.inf, np.inf, (2,)), "must be bounded"),
        ("dreamer", spaces.Box(0, 1, (4, 4)), PUSH, r"'obs' is a Box of shape \(4, 4\) and dtype"),
        ("dreamer", spaces.Tuple([CHOOSE]), PUSH, "is a Tuple; no method takes such spaces"),
        ("sb3-ppo", spaces.MultiBinary(3), CHOOSE, "not MultiBinary"),
    ],
)  # fmt: skip
def test_spaces_that_do_not_fit_are_told_with_a_method_that_does(method, seen, acted, words):
    with pytest.raises(UsageError, match=words):
        check_suits(method, seen, acted)


@pytest.mark.parametrize("method", [m.name for m in METHODS.values() if m.train])
def test_a_method_named_instead_takes_the_spaces(method):
    for seen in (VECTOR, IMAGE, spaces.Dict({"a": VECTOR, "b": IMAGE}), spaces.Discrete(4)):
        for acted in (PUSH, CHOOSE):
            try:
                check_suits(method, seen, acted)
            except UsageError as error:
                named = str(error).rsplit(" take ", 1)[1].replace(" or ", ", ").split(", ")
                assert 1 <= len(named) <= 3
                for other in named:
                    check_suits(other, seen, acted)


@pytest.mark.parametrize("method", ["dreamer", "simple-cem", "sb3-sac"])
def test_agents_check_when_they_are_made(method):
    class Strange(gymnasium.Env):
        observation_space, action_space = VECTOR, spaces.MultiDiscrete([2, 3])

    with pytest.raises(UsageError, match=f"{method} needs a Box"):
        mbrl_agents.make_agent(method, Strange())


class TestOneHot:
    def test_numbers_become_vectors_and_the_rest_stays(self):
        codec = ObservationCodec(
            spaces.Dict({"place": spaces.Discrete(3, start=5), "speed": VECTOR})
        )
        assert codec.space["place"] == spaces.Box(0.0, 1.0, (3,), np.float32)
        assert codec.space["speed"] is VECTOR
        speed = np.ones((2, 3), np.float32)
        found = codec.arrays({"place": np.array([5, 7]), "speed": speed})
        np.testing.assert_array_equal(found["place"], [[1, 0, 0], [0, 0, 1]])
        assert found["speed"] is speed
        assert codec.arrays({"place": 6})["place"].tolist() == [0, 1, 0]
        tensors = codec.tensors({"place": torch.tensor([5, 7]), "speed": torch.ones(2, 3)})
        np.testing.assert_array_equal(tensors["place"].numpy(), found["place"])
        with pytest.raises(ValueError, match="numbers from 8 to 8, but the environment shows Disc"):
            codec.arrays({"place": np.array([8])})

    def test_a_space_without_numbers_is_left_alone(self):
        for space in (VECTOR, spaces.Dict({"a": VECTOR})):
            assert ObservationCodec(space).space is space

    def test_as_many_places_are_not_the_same_as_more(self):
        assert same_observations(spaces.Discrete(4), spaces.Discrete(4))
        assert not same_observations(spaces.Discrete(4), spaces.Discrete(9))
        assert not same_observations(spaces.Discrete(4), spaces.Box(-1, 1, ()))

    def test_own_experience_saving_and_acting(self, tmp_path):
        env = make_vec_env(LAKE, 2, seed=0)
        agent = mbrl_agents.make_agent("dreamer", env, seed=0, **DREAMER)
        agent.learn(40)
        held = agent.buffer.newest(1)[0].observations["obs"]
        assert held.shape[1:] == (16,)
        np.testing.assert_array_equal(held.sum(-1), 1.0)
        agent.save(tmp_path / "agent")
        single = gymnasium.make(LAKE)
        again = mbrl_agents.load(tmp_path / "agent", single)
        assert again.observation_space == spaces.Discrete(16)
        start, _ = single.reset(seed=0)
        chosen = [a.predict(start, deterministic=True)[0] for a in (agent, again)]
        assert chosen[0] == chosen[1]
        assert single.action_space.contains(int(chosen[0]))
        returns, _ = evaluate_policy(again, single, n_eval_episodes=1, return_episode_rewards=True)
        assert returns[0] in (0.0, 1.0)
        with pytest.raises(ValueError, match=r"Discrete\(16\).*shows .*Discrete\(64\)"):
            again.set_env(gymnasium.make("FrozenLake8x8-v1"))

    def test_recorded_episodes(self):
        collection = Collection(LAKE, {}, source="random", episodes=4)
        episodes = collect(collection)
        assert episodes[0].observations["obs"].ndim == 1
        agent = mbrl_agents.make_agent("simple-cem", LAKE, seed=0, **SIMPLE)
        agent.fit(episodes)
        assert agent.recordings()[0].obs["obs"].shape[1:] == (16,)
        assert agent.recordings(episodes)[0].obs["obs"].shape[1:] == (16,)

    def test_an_exported_agent_reads_numbers_as_well(self):
        agent = mbrl_agents.make_agent("dreamer", LAKE, seed=0, **DREAMER)
        package = package_of(agent)
        text = standalone(targets(package["recipe"]), "alone", "Alone", "A test.")
        module = types.ModuleType("alone")
        exec(text, module.__dict__)
        alone, state = module.Alone(package), None
        for place in (0, 4, 8, 9):
            expected, state = agent.predict(np.array(place), state, deterministic=True)
            assert int(alone.act(place)) == int(expected)
