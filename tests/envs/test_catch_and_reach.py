"""Catch and Reach: their dynamics to the letter, what chance gives, and the demonstrators."""

from __future__ import annotations

import itertools
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env as gymnasium_check
from stable_baselines3.common.env_checker import check_env as sb3_check
from stable_baselines3.common.vec_env import DummyVecEnv

from mbrl_agents.agents.reference import ExpertAgent
from mbrl_agents.data.collect import Collection, collect
from mbrl_agents.envs.catch import BLIND_RETURN, CELLS, PADDLE, Catch
from mbrl_agents.envs.reach import APART, HOLD, NEAR, STEP, STEPS, Reach

BOTH = ("mbrl/Catch-v0", "mbrl/Reach-v0")


def episode(env, act, seed=None):
    """The return of an episode, its steps, and the last info."""
    _, info = env.reset(seed=seed)
    total, steps, over = 0.0, 0, False
    while not over:
        _, reward, terminated, truncated, info = env.step(act(env))
        total, steps, over = total + reward, steps + 1, terminated or truncated
    return total, steps, info


def expert(env):
    return env.unwrapped.expert_action()


@pytest.mark.parametrize("env_id", BOTH)
@pytest.mark.parametrize("kwargs", [{"size": 32}, {"size": 64}, {"blank": True}])
def test_gymnasium_and_sb3_find_nothing_wrong(env_id, kwargs):
    env = gymnasium.make(env_id, render_mode="rgb_array", disable_env_checker=True, **kwargs)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Stable-Baselines3's default network needs 36 pixels; others do not.
        warnings.filterwarnings("ignore", message="The minimal resolution for an image")
        gymnasium_check(env.unwrapped)
        sb3_check(env)
    side = kwargs.get("size", 64)
    assert env.observation_space.shape == (side, side, 3)
    assert env.spec.make().reset(seed=0)[0].shape == (side, side, 3)


@pytest.mark.parametrize("env_id", BOTH)
def test_a_seed_decides_an_episode(env_id):
    def seen(seed):
        env = gymnasium.make(env_id, size=32)
        frames = [env.reset(seed=seed)[0]]
        for _ in range(6):
            frames.append(env.step(expert(env))[0])
        return np.stack([*frames, env.reset()[0]])

    assert np.array_equal(seen(3), seen(3))
    assert not all(np.array_equal(seen(3), seen(seed)) for seed in range(4, 8))


@pytest.mark.parametrize("env_id", BOTH)
def test_blank_images_show_nothing_and_change_nothing_else(env_id):
    blank = gymnasium.make(env_id, blank=True, render_mode="rgb_array")
    shown = gymnasium.make(env_id, render_mode="rgb_array")
    assert not blank.reset(seed=1)[0].any()
    assert shown.reset(seed=1)[0].any()
    for _ in range(9):
        action = expert(shown)
        left, right = blank.step(action), shown.step(action)
        assert not left[0].any()
        assert left[1:4] == right[1:4]
        assert np.array_equal(blank.render(), shown.render())
        if left[2]:
            break
    assert blank.render().shape == (256, 256, 3)


@pytest.mark.parametrize("make", [Catch, Reach])
def test_wrong_keywords_are_refused(make):
    with pytest.raises(ValueError, match="size must be one of 32, 64, got 48"):
        make(48)
    with pytest.raises(ValueError, match="render_mode must be None or 'rgb_array'"):
        make(render_mode="human")


@pytest.mark.parametrize("env_id", BOTH)
def test_the_demonstrator_in_collections_and_in_tables(env_id):
    (recorded,) = collect(Collection(env_id, {"size": 32}, source="expert", episodes=1))
    assert recorded.rewards.sum() == pytest.approx(recorded.rewards[recorded.rewards > 0].sum())
    assert np.array_equal(recorded.labels, recorded.actions)
    vector = DummyVecEnv([lambda: gymnasium.make(env_id, size=32)] * 2)
    agent = ExpertAgent(vector)
    actions, _ = agent.predict(vector.reset())
    assert actions.shape[0] == 2
    assert all(vector.action_space.contains(action) for action in actions)


# -- Catch --------------------------------------------------------------------------------------


def place(env, column, paddle):
    env.reset(seed=0)
    env._column, env._paddle = column, paddle


@pytest.mark.parametrize("column", range(CELLS))
def test_catch_ends_after_nine_steps_with_what_its_rules_say(column):
    env = Catch(32)
    reached = set()
    for actions in itertools.product((0, 2), repeat=4):
        place(env, column, 4)
        paddle = 4
        for number, action in enumerate((*actions, 1, 1, 1, 1, 1)):
            paddle = min(max(paddle + action - 1, 0), CELLS - PADDLE)
            _, reward, terminated, truncated, info = env.step(action)
            last = number == 8
            assert (terminated, truncated, info) == (last, False, {})
            assert reward == (0 if not last else 1 if column in (paddle, paddle + 1) else -1)
        reached.add(reward)
    assert 1.0 in reached  # every column can be reached in time


def test_catch_is_drawn_cell_by_cell():
    for size, cell, edge in ((32, 3, 1), (64, 6, 2)):
        env = Catch(size)
        place(env, 7, 4)
        image = env._drawn()
        columns = [int(c) for c in np.flatnonzero((image[..., 0] == 255).any(0))]
        rows = [int(r) for r in np.flatnonzero((image[..., 2] == 255).any(1))]
        assert columns == list(range(edge + 7 * cell, edge + 8 * cell))
        assert rows == list(range(edge + 9 * cell, edge + 10 * cell))
        assert ((image[..., 2] == 255).sum(), (image[..., 0] == 255).sum()) == (
            2 * cell * cell,
            cell * cell,
        )


def test_catch_gives_minus_0_6_to_whoever_does_not_look():
    """Wherever the paddle ends, two of ten columns are caught."""
    assert pytest.approx(-0.6) == BLIND_RETURN
    env = Catch(32, blank=True)
    for plan in ([0] * 9, [1] * 9, [2] * 9, [0, 2, 1, 0, 0, 2, 1, 1, 0]):
        returns = []
        for column in range(CELLS):
            place(env, column, 4)
            returns.append(sum(env.step(action)[1] for action in plan))
        assert np.mean(returns) == pytest.approx(BLIND_RETURN)
    # And what is drawn at random comes near it: the standard error is 0.018.
    env, rng = Catch(32), np.random.default_rng(0)
    env.reset(seed=0)
    returns = [episode(env, lambda _: rng.integers(3))[0] for _ in range(2000)]
    assert np.mean(returns) == pytest.approx(BLIND_RETURN, abs=0.07)


def test_catch_is_won_by_its_demonstrator_always():
    env = Catch(32)
    env.reset(seed=0)
    assert {episode(env, expert)[:2] for _ in range(100)} == {(1.0, 9)}


def test_catch_refuses_other_actions_and_steps_after_the_end():
    env = Catch(32)
    with pytest.raises(ResetNeeded):
        env.step(1)
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"action must be 0 \(left\), 1 \(stay\) or 2 \(right\)"):
        env.step(3)
    for _ in range(9):
        env.step(1)
    with pytest.raises(ResetNeeded, match="has landed"):
        env.step(1)


# -- Reach --------------------------------------------------------------------------------------


def test_reach_moves_and_pays_as_its_rules_say():
    env = Reach(32)
    env.reset(seed=0)
    env._point, env._target = np.array([0.95, 0.0]), np.array([0.5, 0.0])
    _, reward, terminated, _, info = env.step(np.array([1.0, 0.5], np.float32))
    assert env._point == pytest.approx([1.0, 0.5 * STEP])  # the edge stops it
    assert reward == pytest.approx(5 * (0.45 - np.hypot(0.5, 0.075)))
    assert (terminated, info) == (False, {"is_success": False})
    # On the way there and back rewards add up to nothing.
    there, back = env.step(np.array([-1.0, 0.0]))[1], env.step(np.array([1.0, 0.0]))[1]
    assert there == pytest.approx(-back)
    assert there > 0


def test_reach_succeeds_after_five_steps_near_the_target_in_a_row():
    env = Reach(32)
    env.reset(seed=0)
    env._target = np.zeros(2)
    still, out, back = np.zeros(2), np.array([1.0, 0.0]), np.array([-1.0, 0.0])
    env._point = np.array([0.9 * NEAR, 0.0])
    for move in (still, still, still, still, out, back):
        _, _, terminated, _, info = env.step(move)
        assert not terminated
        assert not info["is_success"]
    for number in range(HOLD - 1):
        _, reward, terminated, truncated, info = env.step(still)
        last = number == HOLD - 2  # the step back was the first of the five
        assert (terminated, truncated, info["is_success"]) == (last, False, last)
        assert reward == pytest.approx(5.0 if last else 0.0)
    with pytest.raises(ResetNeeded):
        env.step(still)


def test_reach_starts_apart_and_is_cut_off_after_forty_steps():
    env = gymnasium.make("mbrl/Reach-v0", size=32)
    for seed in range(200):
        env.reset(seed=seed)
        assert env.unwrapped._distance() >= APART
    _, steps, info = episode(env, lambda _: np.zeros(2, np.float32))
    assert (steps, info["is_success"]) == (STEPS, False)


def test_reach_is_easy_for_its_demonstrator_and_hard_for_chance():
    env = gymnasium.make("mbrl/Reach-v0", size=32)
    shown = [episode(env, expert, seed) for seed in range(100)]
    assert all(info["is_success"] for *_, info in shown)
    assert max(steps for _, steps, _ in shown) <= 16 + HOLD
    assert min(total for total, *_ in shown) > 5 + 5 * (APART - NEAR)
    rng = np.random.default_rng(0)
    tried = [episode(env, lambda _: rng.uniform(-1, 1, 2), seed) for seed in range(400)]
    assert np.mean([info["is_success"] for *_, info in tried]) < 0.06  # 0.025 in the long run


def test_reach_shows_where_its_points_are_in_fractions_of_a_pixel():
    env = Reach(32)
    env.reset(seed=0)
    env._point = np.array([0.31, -0.47])
    env._scene = env._empty  # the point alone
    red = env._drawn()[..., 0].astype(float) - env._empty[..., 0]
    rows, columns = np.mgrid[:32, :32] + 0.5
    place = (red * columns).sum() / red.sum(), (red * rows).sum() / red.sum()
    assert place == pytest.approx((16 + 0.9 * 16 * 0.31, 16 + 0.9 * 16 * 0.47), abs=0.1)


def test_reach_refuses_actions_that_are_not_two_numbers():
    env = Reach(32)
    env.reset(seed=0)
    for wrong in (np.zeros(3), np.array([np.nan, 0.0])):
        with pytest.raises(ValueError, match="two finite numbers"):
            env.step(wrong)
