"""Atari: frames are AtariPreprocessing's, and both protocols play as their papers say."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from gymnasium.wrappers import AtariPreprocessing
from stable_baselines3.common.env_checker import check_env as sb3_check

import mbrl_agents.envs  # noqa: F401  registers
from mbrl_agents.data.conditions import conditions_of

ale_py = pytest.importorskip("ale_py", reason='needs ale-py: pip install "mbrl-agents[atari]"')
ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
gymnasium.register_envs(ale_py)


def make(**kwargs):
    return gymnasium.make("mbrl/Atari-v0", disable_env_checker=True, **kwargs)


def original(env_id, *, sticky, grey):
    env = gymnasium.make(env_id, frameskip=1, repeat_action_probability=sticky)
    return AtariPreprocessing(env, screen_size=64, grayscale_obs=grey, grayscale_newaxis=grey)


@pytest.mark.parametrize(
    ("protocol", "sticky", "grey"), [("100k", 0.0, False), ("dreamerv2", 0.25, True)]
)
def test_frames_and_rewards_are_those_of_atari_preprocessing(protocol, sticky, grey):
    env = make(game="breakout", protocol=protocol, life_ends=False)
    other = original("ALE/Breakout-v5", sticky=sticky, grey=grey)
    assert env.observation_space == other.observation_space
    assert env.action_space == other.action_space
    left, right = env.reset(seed=4)[0], other.reset(seed=4)[0]
    rng, total, lives = np.random.default_rng(0), 0.0, set()
    for _ in range(250):
        assert np.array_equal(left, right)
        action = rng.integers(4)
        left, reward, *ends, info = env.step(action)
        right, *others = other.step(action)
        assert [reward, *ends] == others[:3]
        total, lives = total + reward, lives | {info["lives"]}
        if any(ends):
            left, right = env.reset()[0], other.reset()[0]
    assert len(lives) > 1  # the ball was played, and lost
    assert left.shape == (64, 64, 1 if grey else 3)


def lost(env):
    """Play without ever releasing the ball's fire until an episode is over."""
    steps = 0
    while True:
        steps += 1
        _, _, terminated, truncated, info = env.step(1)
        if terminated or truncated:
            return terminated, info["lives"], steps


def test_a_lost_life_ends_an_episode_and_the_game_goes_on():
    env = make(game="breakout", protocol="100k")
    env.reset(seed=0)
    before = env.unwrapped.ale.getEpisodeFrameNumber()
    for lives in (4, 3, 2, 1, 0):
        terminated, left, steps = lost(env)
        assert (terminated, left) == (True, lives)
        assert steps > 5
        frames = env.unwrapped.ale.getEpisodeFrameNumber()
        assert frames > before
        _, info = env.reset()
        if lives:  # four frames without an action, and the same game
            assert env.unwrapped.ale.getEpisodeFrameNumber() == frames + 4
            assert info["lives"] == lives
        else:
            assert env.unwrapped.ale.getEpisodeFrameNumber() <= 30
            assert info["lives"] == 5
        before = env.unwrapped.ale.getEpisodeFrameNumber()


def test_a_seed_begins_a_new_game_after_a_lost_life_too():
    env = make(game="breakout", protocol="100k")
    first = env.reset(seed=7)[0]
    lost(env)
    again, info = env.reset(seed=7)
    assert info["lives"] == 5
    assert np.array_equal(first, again)


def test_whole_games_test_what_was_trained_with_lives():
    env = make(game="breakout", protocol="100k", life_ends=False)
    env.reset(seed=0)
    assert lost(env)[:2] == (True, 0)
    limits = {
        kwargs["protocol"]: make(game="pong", **kwargs).unwrapped.conditions["frames"]
        for kwargs in ({"protocol": "100k"}, {"protocol": "dreamerv2"})
    }
    assert limits == {"100k": 20_000, "dreamerv2": 108_000}
    assert env.unwrapped.conditions["frames"] == 108_000


def test_the_limit_of_frames_cuts_a_game_off(monkeypatch):
    monkeypatch.setattr("mbrl_agents.envs.atari.WHOLE_GAME", 80)
    env = make(game="pong", life_ends=False)
    env.reset(seed=0)
    ends = []
    while not ends or not any(ends[-1]):
        ends.append(env.step(0)[2:4])
    assert ends[-1] == (False, True)
    assert len(ends) <= 20


def test_sb3_finds_nothing_wrong_and_the_spec_builds_the_same_game():
    env = make(game="MsPacman", protocol="dreamerv2", render_mode="rgb_array")
    sb3_check(env)
    again = gymnasium.make(env.spec)
    assert np.array_equal(again.reset(seed=2)[0], env.reset(seed=2)[0])
    assert env.render().shape == (210, 160, 3)
    told = conditions_of(env)
    assert (told["game"], told["protocol"]) == ("ms_pacman", "dreamerv2")
    assert make(game="ms_pacman").action_space.n == 9
    assert make(game="ms_pacman", full_action_space=True).action_space.n == 18


def test_wrong_keywords_are_refused():
    with pytest.raises(ValueError, match="unknown game 'brekout', did you mean 'breakout'"):
        make(game="brekout")
    with pytest.raises(ValueError, match="unknown protocol '200m'; valid: 100k, dreamerv2"):
        make(protocol="200m")
    with pytest.raises(ValueError, match="render_mode must be"):
        make(render_mode="human")
